"""ARPA files: written and read again, as other tools write them, and damaged."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from asrctl.errors import BadData
from asrctl.language_models import arpa, counts, kneser_ney, stored
from asrctl.language_models.ngram import LN_10, NgramModel
from asrctl.language_models.perplexity import of_text

SENTENCES = [line.split() for line in ("a b c", "a b", "b c a", "c a b c a", "ä b")]
# As SRILM writes one: no <unk>, words before the counts, no back-off weight where there is none.
BY_HAND = """a comment

\\data\\
ngram 1=4
ngram 2=3

\\1-grams:
-0.5 </s>
-99 <s> -0.30103
-0.6 a -0.1
-0.7\tb

\\2-grams:
-0.2 <s> a
-0.3 a b
-0.4 b </s>

\\end\\
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> NgramModel:
    return kneser_ney.estimate(counts.count(SENTENCES, 3, tmp_path_factory.mktemp("counts"))).model


def same(one: NgramModel, other: NgramModel) -> bool:
    return one.words == other.words and all(
        np.array_equal(mine.keys, theirs.keys)
        and np.array_equal(mine.suffix, theirs.suffix)
        and np.allclose(mine.log10, theirs.log10, atol=1e-5)
        and np.allclose(mine.backoff, theirs.backoff, atol=1e-5)
        for mine, theirs in zip(one.tables, other.tables)
    )


@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz"])
def test_written_and_read_again(model: NgramModel, tmp_path: Path, name: str) -> None:
    for attempt in ("one", "two"):
        (tmp_path / attempt).mkdir()
        arpa.write(model, tmp_path / attempt / name, as_gzip=name.endswith(".gz"))
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert same(arpa.read(tmp_path / "one" / name), model)


def test_stored_and_loaded(model: NgramModel, tmp_path: Path) -> None:
    stored.save(model, tmp_path)
    assert same(stored.load(tmp_path), model)
    keys = (tmp_path / "keys-3.bin").read_bytes()
    for left, said in ((-3, "keys-3.bin"), (-8, "the 3-grams in .* do not fit together")):
        (tmp_path / "keys-3.bin").write_bytes(keys[:left])
        with pytest.raises(BadData, match=said):
            stored.load(tmp_path)


def test_as_other_tools_write_them(tmp_path: Path) -> None:
    (tmp_path / "lm.arpa").write_text(BY_HAND, encoding="utf-8")
    found = arpa.read(tmp_path / "lm.arpa")
    logs = [log / LN_10 for log in found.sentence(["a", "b"])]
    assert logs == pytest.approx([-0.2, -0.3, -0.4], abs=1e-6)
    logs = [log / LN_10 for log in found.sentence(["b", "a", "x"])]
    # Backed off: <s> to b; b has no weight to a; a to a word that the model does not have, which costs a lot.
    assert logs[:2] == pytest.approx([-0.30103 - 0.7, -0.6], abs=1e-6) and logs[2] < -9


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("ngram 2=3", "ngram 2=4", "3 of 4 2-grams"),
        ("ngram 2=3", "ngram 2=2", "more n-grams than it says|file was cut"),
        ("ngram 2=3", "ngram 3=3", "does not follow"),
        ("\\data\\", "data", "no ARPA file"),
        ("\\end\\\n", "", "cut"),
        ("-0.3 a b", "-0.3 a z", "no 1-gram"),
        ("-0.3 a b", "x a b", "no number"),
        ("-0.3 a b", "nan a b", "no logarithm"),
        ("-0.3 a b", "-0.3 a b b b", "fields"),
        ("-0.3 a b", "-0.4 b </s>", "twice"),
        ("-0.7\tb", "-0.7\ta", "twice|no 1-gram"),
        ("-0.5 </s>", "-0.5 d", "</s>"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, old: str, new: str, said: str) -> None:
    (tmp_path / "lm.arpa").write_text(BY_HAND.replace(old, new), encoding="utf-8")
    with pytest.raises(BadData, match=said):
        arpa.read(tmp_path / "lm.arpa")


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"RIFF", gzip.compress(BY_HAND.encode())[:-20], b"\x1f\x8b\x01" + bytes(40)]
)
def test_files_that_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lm.arpa").write_bytes(content)
    with pytest.raises(BadData):
        arpa.read(tmp_path / "lm.arpa")


def test_perplexity_is_that_of_the_sentences_one_by_one(model: NgramModel) -> None:
    sentences = [*SENTENCES, ["a", "unheard", "b"], []]
    logs = [log for sentence in sentences for log in model.sentence(sentence)]
    unheard = model.sentence(["a", "unheard", "b"])[1]
    found = of_text(model, sentences)
    assert (found.words, found.unknown) == (sum(map(len, sentences)), 1)
    assert found.perplexity == pytest.approx(np.exp(-(sum(logs) - unheard) / (len(logs) - 1)))
