"""Hotwords in the search: against every text there is, and at the file's edges."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional, Sequence

import numpy as np
import pytest

from asrctl.data.text import Vocabulary
from asrctl.errors import BadData
from asrctl.evaluation import hotwords
from asrctl.evaluation.beam_search import BeamRules, BeamSearch
from asrctl.evaluation.hotwords import Hotword, HotwordStates
from asrctl.language_models.word_scores import WordScores
from tests.evaluation.test_beam_search import EVERYTHING, VOCABULARY, by_prefix, scores, sound

__all__ = ["scores"]
# One within the other, one that goes on where another breaks off, and one that no language model of the tests knows.
LIST = [Hotword("a", 0.7), Hotword("a b", 1.5), Hotword("b ab", 2.0), Hotword("ab", 0.3), Hotword("bb", 3.0)]


def paid(words: Sequence[str]) -> float:
    """The weights of all hotwords that stand in a text."""
    total = 0.0
    for hotword in LIST:
        parts = hotword.words.split()
        total += hotword.weight * sum(
            list(words[at : at + len(parts)]) == parts for at in range(len(words) - len(parts) + 1)
        )
    return total


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("with_model", [False, True])
def test_each_hotword_counts_as_often_as_it_stands_there(scores: WordScores, seed: int, with_model: bool) -> None:
    logs, rules = sound(5, seed), EVERYTHING
    lm: Optional[WordScores] = scores if with_model else None
    model = scores.model

    def score(prefix: str, probability: float) -> float:
        words: List[str] = [word.replace("?", "[UNK]") for word in prefix.split("|") if word]
        found = float(np.log(probability)) + paid(words)
        if not with_model:
            return found
        found += rules.alpha * sum(model.sentence(words)) + rules.beta * len(words)
        known = {*model.ids, "a", "b", "ab", "bb"}
        return found + rules.alpha * rules.unknown * sum(word not in known for word in words)

    wanted = sorted((score(*pair) for pair in by_prefix(logs).items()), reverse=True)
    search = BeamSearch(VOCABULARY, rules, lm, HotwordStates(LIST, VOCABULARY))
    found = search.hypotheses([logs], most=20)[0]
    assert [hypothesis.score for hypothesis in found] == pytest.approx(wanted[:20], abs=1e-4)


def spoken(text: str, unlike: str, how_clear: float) -> np.ndarray:
    """Log-probabilities of a text of which `unlike`, as long, is heard a little better."""
    tokens = VOCABULARY.tokens
    rows = []
    for right, wrong in zip(text, unlike):
        row = np.full(len(tokens), 1e-6)
        row[tokens.index(wrong)] = how_clear
        row[tokens.index(right)] += 1 - how_clear
        rows += [row, np.eye(len(tokens))[VOCABULARY.blank_id] + 1e-6]
    return np.log(np.array(rows)).astype(np.float32)


@pytest.mark.parametrize("with_model", [False, True])
def test_a_narrow_beam_keeps_a_phrase_until_it_is_whole_and_gives_nothing_for_half(
    scores: WordScores, with_model: bool
) -> None:
    lm = scores if with_model else None
    states = HotwordStates([Hotword("bb|aab".replace("|", " "), 12.0)], VOCABULARY)
    narrow = BeamRules(width=3)
    whole = spoken("bb|aab", "ba|abb", 0.9)
    assert BeamSearch(VOCABULARY, narrow, lm).texts([whole]) != ["bb aab"]
    assert BeamSearch(VOCABULARY, narrow, lm, states).texts([whole]) == ["bb aab"]
    half = spoken("bb|aaa", "ba|aba", 0.9)
    with_list = BeamSearch(VOCABULARY, BeamRules(width=100), lm, states).hypotheses([half], 1)[0][0]
    without = BeamSearch(VOCABULARY, BeamRules(width=100), lm).hypotheses([half], 1)[0][0]
    if not with_model:
        assert with_list.text == without.text and with_list.score == pytest.approx(without.score, abs=1e-3)
    assert "aab" not in with_list.text.split()


def test_a_list_without_weight_changes_no_text() -> None:
    logs = [sound(30, seed) for seed in range(20)]
    states = HotwordStates([Hotword(words.words, 0.0) for words in LIST], VOCABULARY)
    rules = BeamRules(width=8)
    assert BeamSearch(VOCABULARY, rules, None, states).texts(logs) == BeamSearch(VOCABULARY, rules).texts(logs)


def test_a_file_has_a_word_or_phrase_on_each_line(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(
        "\ufeff# people\r\nada lovelace\t12\r\n\r\n  grace   hopper\nnoether\t\nada lovelace\t12\n".encode()
    )
    found = hotwords.read(path, 5.0)
    assert found == [Hotword("ada lovelace", 12.0), Hotword("grace hopper", 5.0), Hotword("noether", 5.0)]


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "holds no hotwords"),
        (b"# nothing\n\n", "holds no hotwords"),
        (b"a\tmuch\n", "line 1: 'much' is no weight"),
        (b"a\nb\t-1\n", "line 2: '-1' is no weight"),
        (b"a\tnan\n", "is no weight"),
        (b"\t3\n", "no word before the tab"),
        (b"a\t1\na\t2\n", "with two weights"),
        (bytes(range(128, 256)), "no text in UTF-8"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(BadData, match=said) as refused:
        hotwords.read(tmp_path / "list.txt")
    assert refused.value.fix


def test_thousands_of_hotwords_are_one_automaton() -> None:
    vocabulary = Vocabulary(("|", *"abcdefghij", "[UNK]", "[PAD]"))
    letters = np.random.default_rng(0).integers(0, 10, (3000, 9))
    found = HotwordStates([Hotword("".join("abcdefghij"[n] for n in row), 1.0) for row in letters], vocabulary)
    assert found.next.shape == (len(found.pending), 13) and found.next.max() < len(found.pending)
    assert (found.pending >= 0).all() and found.paid.max() >= 1.0
