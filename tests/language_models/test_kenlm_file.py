"""KenLM's binary files, made by its build_binary from kenlm/tiny.arpa: scores as of that, and damage of every kind."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asrctl.errors import BadData, MissingDependency
from asrctl.language_models import arpa, kenlm_file
from asrctl.language_models.kenlm_file import KenlmModel
from asrctl.language_models.word_scores import WordScores

HERE = Path(__file__).parent / "kenlm"
KINDS = ("probing", "trie", "array-trie", "quantized-trie")


@pytest.fixture(scope="module")
def library() -> None:
    pytest.importorskip("kenlm")


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_arpa_file(library: None, kind: str) -> None:
    """Step by step, and as many at once, with words that it does not know. Quantized ones are coarser."""
    wanted, found = arpa.read(HERE / "tiny.arpa"), KenlmModel(HERE / f"{kind}.bin")
    assert set(found.words) == set(wanted.words) and found.order == wanted.order
    words = np.random.default_rng(7).choice([*wanted.words[3:], "never"], (200, 6))
    mine, theirs = (np.full(len(words), model.begin) for model in (wanted, found))
    most = 0.2 if kind.startswith("quantized") else 1e-4
    for column in [*words.T, np.full(len(words), "</s>")]:
        logs, mine = wanted.score(mine, np.array([wanted.id(word) for word in column]))
        others, theirs = found.score(theirs, np.array([found.id(word) for word in column]))
        assert np.abs(logs - others).max() < most
        assert len(set(zip(mine.tolist(), theirs.tolist()))) == len(set(mine.tolist())), "KenLM has no more states"


def test_a_search_asks_it_as_it_asks_others(library: None) -> None:
    wanted, found = (WordScores(m) for m in (arpa.read(HERE / "tiny.arpa"), KenlmModel(HERE / "trie.bin")))
    for scores in (wanted, found):
        assert scores.begins_a_word("ab") and not scores.begins_a_word("bb")
        assert [known for _, _, known in scores.of([(scores.model.begin, "ab"), (scores.model.begin, "bb")])] == [1, 0]
    assert found.ends([found.model.begin]) == pytest.approx(wanted.ends([wanted.model.begin]), abs=1e-4)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(MissingDependency) as refused:
        kenlm_file.check(HERE / "trie.bin")
    assert "asrctl[kenlm]" in refused.value.fix


def used(path: Path) -> None:
    scores = WordScores(KenlmModel(path))
    words = ["ab", "ca", "b", "abc", "bca", "zz"]
    states = [scores.model.begin]
    for _ in range(3):
        states = [state for _, state, _ in scores.of([(state, word) for state in states[:40] for word in words])]
    scores.ends(states)


@pytest.mark.parametrize("kind", ["probing", "trie"])
def test_a_cut_file_is_refused_wherever_it_was_cut(library: None, tmp_path: Path, kind: str) -> None:
    whole = (HERE / f"{kind}.bin").read_bytes()
    for length in (0, 20, 33, 60, 90, 100, 120, 140, len(whole) // 2, len(whole) - 60, len(whole) - 20, len(whole) - 1):
        (tmp_path / "cut.bin").write_bytes(whole[:length])
        with pytest.raises(BadData) as refused:
            used(tmp_path / "cut.bin")
        assert refused.value.fix


@pytest.mark.parametrize("kind, seed", [("probing", 0), ("trie", 1), ("array-trie", 2), ("quantized-trie", 3)])
def test_a_damaged_file_never_ends_the_process(library: None, tmp_path: Path, kind: str, seed: int) -> None:
    """KenLM's library reads beyond its memory there."""
    whole, generator = (HERE / f"{kind}.bin").read_bytes(), np.random.default_rng(seed)
    refused = 0
    for share in (0.002, 0.02, 0.5):
        damaged = np.frombuffer(whole, np.uint8).copy()
        places = 0x58 + generator.permutation(len(whole) - 0x58)[: max(1, int(share * len(whole)))]
        damaged[places] = generator.integers(0, 256, len(places))
        (tmp_path / "damaged.bin").write_bytes(damaged.tobytes())
        try:
            used(tmp_path / "damaged.bin")
        except BadData as error:
            refused += bool(error.fix)
    assert refused


@pytest.mark.parametrize(
    "content, said",
    [
        (b"\\data\\\nngram 1=3\n", "no binary file"),
        (b"mmap lm http://kheafield.com/code format version 4\n\0".ljust(200, b"\0"), "another kind"),
        (b"mmap lm http://kheafield.com/code incomplete\n".ljust(200, b"\0"), "another kind"),
        (bytes(1000), "no binary file"),
    ],
)
def test_what_is_none_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "other.bin").write_bytes(content)
    with pytest.raises(BadData, match=said):
        kenlm_file.check(tmp_path / "other.bin")
    with pytest.raises(BadData, match="without its words"):
        kenlm_file.check(HERE / "no-words.bin")


def test_a_process_that_has_gone_is_told(library: None) -> None:
    model: Any = KenlmModel(HERE / "trie.bin")
    model._process.kill()
    model._process.wait()
    with pytest.raises(BadData, match="is damaged"):
        model.score(np.array([0]), np.array([3]))
