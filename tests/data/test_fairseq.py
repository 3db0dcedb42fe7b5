"""Lists of fairseq, and everything that can be wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import pytest
import soundfile

from asrctl.data import corpora
from asrctl.data.corpus import CorpusRequest, Match
from asrctl.data.utterance import Utterance
from asrctl.errors import BadData
from asrctl.events import Event, Warned

FRAMES = 8000


def speech(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(str(folder / name), np.zeros(FRAMES, np.int16), 16000)
    return folder


def lists(folder: Path, split: str, top: Any, names: List[str], **labels: List[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [str(top), *(f"{name}\t{FRAMES}" for name in names)]
    (folder / f"{split}.tsv").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    for kind, lines in labels.items():
        (folder / f"{split}.{kind}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


class Read:
    """What the reader made of a source."""

    def __init__(self, source: Path, splits: Tuple[str, ...] = ("train",), **options: Any) -> None:
        self.emitted: List[Event] = []
        self.hints: Dict[str, str] = {}
        fairseq = corpora.find("fairseq")
        request = CorpusRequest(
            source=source,
            splits=splits,
            optional_splits=("eval", "test"),
            options=corpora.options(fairseq, options),
            emit=self.emitted.append,
            hint=self.hints.__setitem__,
        )
        self.found = list(fairseq.utterances(request))
        self.warned = [event.message for event in self.emitted if isinstance(event, Warned)]


def refusal(source: Path, **more: Any) -> BadData:
    with pytest.raises(BadData) as refused:
        Read(source, **more)
    return refused.value


WORDS, LETTERS = ["HELLO YOU", "I'M HERE"], ["H E L L O | Y O U |", "I ' M | H E R E |"]


@pytest.mark.parametrize("labels", [{"wrd": WORDS}, {"ltr": LETTERS}, {"wrd": WORDS, "ltr": LETTERS}])
def test_words_and_letters_say_the_same(tmp_path: Path, labels: Dict[str, List[str]]) -> None:
    top = speech(tmp_path / "speech", "a/1.flac", "a/2.flac")
    folder = lists(tmp_path / "list", "train", top, ["a/1.flac", "a/2.flac"], **labels)
    (folder / "dict.ltr.txt").write_text("".join(f"{letter} 1\n" for letter in "|HELOYUI'MR"), encoding="utf-8")
    read = Read(folder)
    assert read.found == [
        Utterance(name, str(top / name), text, "train") for name, text in zip(("a/1.flac", "a/2.flac"), WORDS)
    ]
    assert not read.warned


def test_lists_are_splits_by_their_names(tmp_path: Path) -> None:
    top = speech(tmp_path, "a.wav", "b.wav", "c.wav", "d.wav")
    for split, name in (("train", "a.wav"), ("valid", "b.wav"), ("test_other", "c.wav"), ("lab", "d.wav")):
        lists(tmp_path / "l", split, top, [name], ltr=["A |"])
    (tmp_path / "l" / "table.tsv").write_text("path\ttext\na.wav\tx\n", encoding="utf-8")
    assert [one.split for one in Read(tmp_path / "l").found] == ["lab", "test", "train", "eval"]
    named = Read(tmp_path / "l", ("lab", "test_other.tsv"))
    assert {one.id: one.split for one in named.found} == {
        "a.wav": "train",
        "b.wav": "eval",
        "c.wav": "test_other.tsv",
        "d.wav": "lab",
    }
    assert [one.split for one in Read(tmp_path / "l" / "lab.tsv").found] == ["train"]


@pytest.mark.parametrize("top", ["speech", "/checkpoint/ann/speech"])
def test_the_folder_may_lie_elsewhere(tmp_path: Path, top: str) -> None:
    speech(tmp_path / "speech", "a.wav")
    folder = lists(tmp_path / "l", "train", top, ["a.wav"], wrd=["A"])
    if top.startswith("/"):
        assert "--map" in Read(folder).hints["no-audio"]
        assert Read(folder, map=[f"/checkpoint/ann={tmp_path}"]).found[0].audio == str(tmp_path / "speech" / "a.wav")
    else:
        assert Path(Read(folder).found[0].audio).samefile(tmp_path / "speech" / "a.wav")


def test_what_does_not_fit_together_is_told(tmp_path: Path) -> None:
    top = speech(tmp_path, "a.wav", "b.wav")
    words, letters = ["A B", "<unk> B"], ["A | C |", "B |"]
    folder = lists(tmp_path / "l", "train", top, ["a.wav", "b.wav"], wrd=words, ltr=letters)
    soundfile.write(str(tmp_path / "a.wav"), np.zeros(FRAMES + 1, np.int16), 16000)
    read = Read(folder)
    assert [one.text for one in read.found] == ["A B", "B"]
    assert [word for told in read.warned for word in ("8001, not 8000", ".wrd is read", "<unk>") if word in told] == [
        "8001, not 8000",
        ".wrd is read",
        "<unk>",
    ]
    (folder / "dict.ltr.txt").write_text("| 1\nA 1\nB 1\n", encoding="utf-8")
    read = Read(folder, labels="ltr")
    assert [one.text for one in read.found] == ["A C", "B"]
    assert any("dict.ltr.txt does not" in told and "train.ltr, line 1" in told for told in read.warned)


def test_other_labels_are_words_of_their_own(tmp_path: Path) -> None:
    top = speech(tmp_path, "a.wav")
    folder = lists(tmp_path / "l", "train", top, ["a.wav"], phn=["HH AH"], ltr=["H I |"])
    assert Read(folder, labels="phn").found[0].text == "HH AH"
    pieces = lists(tmp_path / "p", "train", top, ["a.wav"], ltr=["\u2581HE LLO \u2581YOU"])
    assert Read(pieces).found[0].text == "HELLO YOU"


@pytest.mark.parametrize(("extra", "is_bad"), [([], True), (["A", "B"], False), (["A", "B", ""], False), (["A"], True)])
def test_labels_that_are_not_those_of_the_list(tmp_path: Path, extra: List[str], is_bad: bool) -> None:
    top = speech(tmp_path, "a.wav", "b.wav")
    folder = lists(tmp_path / "l", "train", top, ["a.wav", "b.wav"], wrd=extra)
    if is_bad:
        refused = refusal(folder)
        assert "names 2 recordings" in refused.message and f"has {len(extra)} line" in refused.message
    else:
        assert len(Read(folder).found) == 2
        (folder / "train.wrd").write_text("A\nB\nC\n", encoding="utf-8")
        assert "has 3 lines" in refusal(folder).message


def test_an_empty_line_of_labels_is_a_missing_transcript(tmp_path: Path) -> None:
    top = speech(tmp_path, "a.wav", "b.wav", "c.wav")
    names = ["a.wav", "b.wav", "c.wav"]
    assert [one.text for one in Read(lists(tmp_path / "l", "train", top, names, wrd=["A", "", "C"])).found] == [
        "A",
        "",
        "C",
    ]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("b.wav", "it is not PATH, a tab, and a number of frames"),
        ("b.wav\t1\t2", "it is not PATH"),
        ("b.wav\tx", "it is not PATH"),
        ("\t5", "the path is empty"),
        ("x.zip:12:400\t5", "x.zip:12:400 lies within a zip archive"),
        ("\nb.wav\t5", "the line before it is empty"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: str, told: str) -> None:
    top = speech(tmp_path, "a.wav")
    folder = lists(tmp_path / "l", "train", top, ["a.wav"], wrd=["A", "B"])
    with open(folder / "train.tsv", "a", encoding="utf-8") as stream:
        stream.write(f"{row}\n")
    refused = refusal(folder)
    assert told in refused.problems[0] and "PATH, a tab" in refused.fix


@pytest.mark.parametrize("kind", [None, "km"])
def test_lists_without_labels(tmp_path: Path, kind: Optional[str]) -> None:
    top = speech(tmp_path, "a.wav")
    assert "no list of fairseq" in refusal(tmp_path).message
    folder = lists(tmp_path / "l", "train", top, ["a.wav"])
    assert f"no .{kind or 'wrd or .ltr'} beside" in refusal(folder, labels=kind).message if kind else refusal(folder)
    lists(folder, "valid", top, ["a.wav"], wrd=["A"])
    read = Read(folder)
    assert [one.split for one in read.found] == ["eval"] and "1 list has no labels" in read.warned[0]


def test_a_folder_is_recognized(tmp_path: Path) -> None:
    recognizes = corpora.find("fairseq").recognizes
    folder = lists(tmp_path / "l", "train", speech(tmp_path, "a.wav"), ["a.wav"], ltr=["A |"])
    assert recognizes(folder) == recognizes(folder / "train.tsv") == Match.CERTAIN
    assert corpora.kind_of(folder) == "fairseq"
    (folder / "train.tsv").write_text("path\ttext\na.wav\tx\n", encoding="utf-8")
    assert recognizes(folder) == recognizes(folder / "train.tsv") == Match.NO


def test_a_list_that_leads_from_an_odd_name_is_told_of_its_recordings_only(tmp_path: Path) -> None:
    for top in ("n" * 300, "a\0b"):
        lists(tmp_path, "train", top, ["a.wav"], wrd=["ONE"])
        assert [utterance.text for utterance in Read(tmp_path).found] == ["ONE"]
