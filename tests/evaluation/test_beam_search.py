"""The search against every path there is, on sounds so short that all can be listed."""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path
from typing import Dict, List

import numpy as np
import pytest

from asrctl.data.text import Vocabulary
from asrctl.evaluation.beam_search import BeamRules, BeamSearch
from asrctl.language_models import counts, kneser_ney
from asrctl.language_models.word_scores import WordScores

VOCABULARY = Vocabulary(("|", "a", "b", "[UNK]", "[PAD]"))
EVERYTHING = BeamRules(width=100_000, alpha=0.7, beta=0.4, drop=-np.inf, least=-np.inf, merge=False)


def sound(frames: int, seed: int) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(0, 2, (frames, len(VOCABULARY)))
    return (logits - np.logaddexp.reduce(logits, -1, keepdims=True)).astype(np.float32)


def by_prefix(logs: np.ndarray) -> Dict[str, float]:
    """{labels as one string: probability}, over all paths."""
    found: Dict[str, float] = defaultdict(float)
    for path in itertools.product(range(len(VOCABULARY)), repeat=len(logs)):
        labels = [label for label, _ in itertools.groupby(path)]
        text = "".join("?" if label == 3 else VOCABULARY.tokens[label] for label in labels if label != 4)
        found[text] += float(np.exp(sum(float(row[label]) for row, label in zip(logs, path))))
    return found


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> WordScores:
    text = [line.split() for line in ("a b", "ab a", "b b ab", "a b a", "ab")]
    made = counts.count(text, 3, tmp_path_factory.mktemp("lm"))
    return WordScores(kneser_ney.estimate(made).model)


@pytest.mark.parametrize("seed", range(6))
def test_without_a_language_model_it_is_the_likeliest_text(seed: int) -> None:
    logs = sound(5, seed)
    wanted = by_prefix(logs)
    found = BeamSearch(VOCABULARY, EVERYTHING).hypotheses([logs], most=len(wanted))[0]
    assert len(found) == len(wanted), "each prefix once, however many paths lead to it"
    likeliest = sorted(wanted.values(), reverse=True)
    assert [hypothesis.score for hypothesis in found] == pytest.approx(np.log(likeliest).tolist(), abs=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_with_a_language_model_it_is_the_best_of_all_texts(scores: WordScores, seed: int) -> None:
    logs, rules = sound(5, seed), EVERYTHING
    model = scores.model

    def score(prefix: str, probability: float) -> float:
        words: List[str] = [word.replace("?", "[UNK]") for word in prefix.split("|") if word]
        found = np.log(probability) + rules.alpha * sum(model.sentence(words)) + rules.beta * len(words)
        return float(found) + rules.alpha * rules.unknown * sum(word not in model.ids for word in words)

    wanted = sorted((score(*pair) for pair in by_prefix(logs).items()), reverse=True)
    found = BeamSearch(VOCABULARY, rules, scores).hypotheses([logs], most=20)[0]
    assert [hypothesis.score for hypothesis in found] == pytest.approx(wanted[:20], abs=1e-4)


def test_a_prefix_that_was_dropped_and_comes_again_is_one_prefix() -> None:
    """In a narrow beam, too, no text stands twice."""
    for seed in range(40):
        found = BeamSearch(VOCABULARY, BeamRules(width=3, drop=-np.inf)).hypotheses([sound(30, seed)], most=3)[0]
        assert len({hypothesis.score for hypothesis in found}) == len(found) == 3


def test_the_same_sound_gives_the_same_text_whatever_came_before(scores: WordScores) -> None:
    search, fresh = (BeamSearch(VOCABULARY, BeamRules(width=5), scores) for _ in range(2))
    search.texts([sound(40, seed) for seed in range(5)])
    assert search.hypotheses([sound(40, 9)], 5) == fresh.hypotheses([sound(40, 9)], 5)


def test_utterances_side_by_side_are_as_each_alone(scores: WordScores) -> None:
    """Of many lengths, none among them, in any order, and more than are searched at once."""
    logs = [sound(length, seed) for seed, length in enumerate((7, 0, 30, 1, 12, 30, 5) * 11)]
    for lm in (None, scores):
        search = BeamSearch(VOCABULARY, BeamRules(width=8), lm)
        alone = [BeamSearch(VOCABULARY, BeamRules(width=8), lm).hypotheses([one], 3)[0] for one in logs]
        for found, wanted in zip(search.hypotheses(logs, 3), alone):
            assert [each.text for each in found] == [each.text for each in wanted]
            assert [each.score for each in found] == pytest.approx([each.score for each in wanted])


def test_no_frames_are_no_text(scores: WordScores) -> None:
    assert BeamSearch(VOCABULARY, BeamRules(), scores).texts([np.zeros((0, 5), dtype=np.float32)]) == [""]


def test_an_unlikely_word_gives_way_to_one_that_is_known(tmp_path: Path, scores: WordScores) -> None:
    """`bb`, which the model does not know, sounds a little likelier than `ab`; it is heard where it is clear."""
    for clear, wanted in ((0.55, "ab"), (0.9999, "bb")):
        logs = np.full((4, 5), 1e-6)
        logs[[0, 1, 2, 3], [2, 4, 2, 4]] = 1.0
        logs[0, 1:3] = (1 - clear, clear)
        found = BeamSearch(VOCABULARY, BeamRules(alpha=0.5), scores).texts([np.log(logs).astype(np.float32)])
        assert found == [wanted]
