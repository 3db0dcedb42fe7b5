"""`asrctl eval` tells sentences that were in training from others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List


def hypotheses(result: Dict[str, Any]) -> List[Dict[str, Any]]:
    return [json.loads(line) for line in Path(result["hypotheses"]).read_text(encoding="utf-8").splitlines()]


def test_words_of_seen_and_unseen_sentences_are_counted_apart(asrctl, tones: Path) -> None:
    result = asrctl("eval", "--json").result
    train = {row["reference"] for row in hypotheses(asrctl("eval", "--split", "train", "--json").result)}
    for name, is_seen in (("seen", True), ("unseen", False)):
        meant = [row for row in hypotheses(result) if (row["reference"] in train) == is_seen]
        part = result[name]
        assert part["utterances"] == len(meant) > 1
        assert part["words"] == sum(row["words"] for row in meant)
        assert part["wer"] == sum(row["errors"] for row in meant) / part["words"]
        low, high = part["wer_interval"]
        assert low <= part["wer"] <= high
    shown = asrctl("eval").stdout
    assert "seen in training" in shown and "not seen" in shown


def test_nothing_is_said_where_nobody_knows_or_all_is_seen(asrctl, tones: Path) -> None:
    train = asrctl("eval", "--split", "train", "--json").result
    assert (train["unseen"]["utterances"], train["seen"]["wer"]) == (0, train["wer"])
    assert "not seen" not in asrctl("eval", "--split", "train").stdout
    model = asrctl("eval", "--model", tones / "runs" / "learned" / "model", "--data", "tones", "--json").result
    assert "seen" not in model and "unseen" not in model
