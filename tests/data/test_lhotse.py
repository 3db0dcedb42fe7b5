"""Manifests of lhotse in all their forms, its own test files among them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import numpy as np
import pytest
import soundfile

from asrctl.data.corpora import find, kind_of
from asrctl.data.corpus import CorpusRequest
from asrctl.data.utterance import Utterance
from asrctl.errors import BadData

Values = Dict[str, Any]


class Reading:
    def __init__(self, source: Path, **options: Any) -> None:
        self.told: List[str] = []
        self.hints: Dict[str, str] = {}
        request = CorpusRequest(
            source=source,
            splits=("train",),
            options=options,
            emit=lambda event: self.told.append(event.message),
            hint=self.hints.__setitem__,
        )
        self.found: List[Utterance] = list(find("lhotse").utterances(request))


def recording(name: str = "rec", path: str = "audio/rec.wav", **other: Any) -> Values:
    source = {"type": "file", "channels": [0], "source": path}
    return {"id": name, "sources": [source], "sampling_rate": 16000, "num_samples": 64000, "duration": 4.0, **other}


def said(name: str, start: float, duration: float, text: str = "words", **other: Any) -> Values:
    return {
        "id": name,
        "recording_id": "rec",
        "start": start,
        "duration": duration,
        "channel": 0,
        "text": text,
        **other,
    }


def cut(supervisions: List[Values], start: float = 0.0, of: Optional[Values] = None, **other: Any) -> Values:
    values = {"id": "cut", "start": start, "duration": 2.0, "channel": 0, "supervisions": supervisions}
    return {**values, "recording": of or recording(), "type": "MonoCut", **other}


def write(path: Path, values: List[Values]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = json.dumps(values) if path.name.endswith(".json") else "".join(json.dumps(one) + "\n" for one in values)
    opened: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    with opened(str(path), "wt", encoding="utf-8") as stream:
        stream.write(lines)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "audio").mkdir()
    soundfile.write(str(tmp_path / "audio" / "rec.wav"), 0.1 * np.sin(np.arange(64000)), 16000)
    return tmp_path


def rows(found: List[Utterance]) -> List[Any]:
    return [(row.id, row.text, row.split, row.start_s, row.end_s) for row in found]


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".json"])
def test_cuts_and_supervisions_say_the_same(folder: Path, ending: str) -> None:
    supervisions = [said("a", 0.0, 4.0, speaker="s1"), said("b", 1.5, 1.0, "other", language="x")]
    expected = [("a", "words", "train", None, None), ("b", "other", "train", 1.5, 2.5)]
    write(folder / f"recordings{ending}", [recording("no"), recording()])
    pair = write(folder / f"supervisions{ending}", supervisions)
    cuts = write(
        folder / "in" / f"cuts{ending}", [cut([said("a", -1.0, 4.0, speaker="s1"), said("b", 0.5, 1.0, "other")], 1.0)]
    )
    for source in (folder, pair, folder / f"recordings{ending}", cuts, cuts.parent):
        read = Reading(source)
        assert rows(read.found) == expected and [row.speaker for row in read.found] == ["s1", None]
        assert {Path(row.audio).resolve() for row in read.found} == {folder / "audio" / "rec.wav"}
    assert {kind_of(source) for source in (folder, pair, cuts, cuts.parent)} == {"lhotse"}


def test_names_of_manifests_are_splits(folder: Path) -> None:
    for name in ("corpus_cuts_train.jsonl", "corpus_cuts_dev-clean.jsonl.gz", "corpus_cuts_test.json"):
        write(folder / name, [cut([said(name, 0, 1)])])
    assert {row.id: row.split for row in Reading(folder).found} == {
        "corpus_cuts_train.jsonl": "train", "corpus_cuts_dev-clean.jsonl.gz": "eval", "corpus_cuts_test.json": "test",
    }  # fmt: skip


def test_channels_are_those_of_the_file_that_holds_them(folder: Path) -> None:
    stereo = {"type": "file", "channels": [0, 1], "source": "audio/rec.wav"}
    second = {"type": "file", "channels": [2], "source": "audio/other.wav"}
    both = recording(sources=[stereo, second])
    supervisions = [said(str(name), 0, 1, channel=name) for name in (0, 1, 2)]
    read = Reading(write(folder / "cuts.jsonl", [cut([*supervisions, said("m", 0, 1, channel=[0, 1])], of=both)]))
    assert [(Path(row.audio).name, row.channel) for row in read.found] == [
        ("rec.wav", 0), ("rec.wav", 1), ("other.wav", None), ("rec.wav", None),
    ]  # fmt: skip
    assert [row.channel for row in Reading(folder / "cuts.jsonl", channel=1).found] == [0, 1, None, 1]


def test_windows_hold_a_supervision_once(folder: Path) -> None:
    windows = [cut([said("a", 1.5, 1.0)], 0.0), cut([said("a", -0.5, 1.0), said("b", 1.0, 0.5)], 2.0), cut([], 3.0)]
    read = Reading(write(folder / "cuts.jsonl", windows))
    assert rows(read.found) == [("a", "words", "train", 1.5, 2.5), ("b", "words", "train", 3.0, 3.5)]
    assert any("1 cut has no supervision" in line for line in read.told)
    assert any("1 supervision comes again" in line for line in read.told)


def test_what_only_lhotse_can_make_is_rejected_one_by_one(folder: Path) -> None:
    command = recording(sources=[{"type": "command", "channels": [0], "source": "touch hacked"}])
    lines = [
        cut([said("good", 0, 1)]),
        cut([said("command", 0, 1)], of=command),
        cut([said("fast", 0, 1)], of=recording(transforms=[{"name": "Speed"}])),
        {"id": "mixed", "type": "MixedCut", "tracks": []},
        cut([{**said("odd", 0, 1), "duration": "x"}]),
        {**cut([said("none", 0, 1)]), "recording": None},
    ]
    read = Reading(write(folder / "cuts.jsonl", lines))
    assert [row.id for row in read.found] == ["good", "command", "fast", "mixed", "odd", "none"]
    assert not any(Path(row.audio).exists() for row in read.found[1:]) and not (folder / "hacked").exists()
    told = " ".join(read.told)
    for word in ("from a command", "transforms", "a mixture", "not written as lhotse", "not in the manifest"):
        assert word in told
    assert "no-audio" in read.hints


def test_paths_of_elsewhere_are_found_or_mapped(folder: Path) -> None:
    there = write(folder / "data" / "manifests" / "cuts.jsonl", [cut([said("a", 0, 1)])])
    read = Reading(there)
    assert Path(read.found[0].audio) == folder / "audio" / "rec.wav" and "from another folder" in read.told[0]
    far = write(folder / "cuts.jsonl", [cut([said("a", 0, 1)], of=recording(path="/far/away/rec.wav"))])
    assert "--map /far/away=" in Reading(far).hints["no-audio"]
    mapped = Reading(far, map=(("/far/away", str(folder / "audio")),))
    assert Path(mapped.found[0].audio) == folder / "audio" / "rec.wav"


def test_what_is_no_manifest_or_says_nothing_is_refused(folder: Path) -> None:
    for name, content, told in (
        ("cuts.jsonl", "{}\n[1]\n", "line 2 is no object"),
        ("cuts.json", "[{},", "is not valid JSON"),
        ("cuts.jsonl.gz", "", "is damaged"),
        ("cuts.jsonl", json.dumps(cut([])) + "\n", "holds no supervisions: 1 cut has none"),
        ("supervisions.jsonl", json.dumps(said("a", 0, 1)) + "\n", "has no recordings beside it"),
        ("recordings.jsonl", "{}\n", "says nothing of what is spoken"),
    ):
        path = folder / "bad" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(b"{}\n" * 9)[:-9] if name.endswith("gz") else content.encode())
        with pytest.raises(BadData, match=told.replace("(", "[(]")):
            Reading(path)
        path.unlink()
    with pytest.raises(BadData, match="holds no manifest"):
        Reading(folder / "audio")


def test_files_that_lhotse_wrote_are_read(speech: Path) -> None:
    formats = speech / "formats"
    if not formats.is_dir():
        pytest.skip("no files of lhotse here")
    lj = Reading(formats / "ljspeech").found
    assert [row.text for row in lj][0] == "IN EIGHTEEN THIRTEEN" and all(Path(row.audio).is_file() for row in lj)
    libri = Reading(formats / "libri" / "cuts.json").found
    assert rows(libri) == [("sup-1", "EXAMPLE OF TEXT", "train", 0.0, 10.0)] and Path(libri[0].audio).is_file()
    ami = Reading(formats / "ami" / "cuts.json").found
    assert (ami[0].text, ami[0].start_s, ami[0].end_s) == ("I'M ABIGAIL CLAFLIN", 1.46, 2.82)
    mini = Reading(formats / "mini_librispeech" / "lhotse")
    assert len(mini.found) == 38 and "from a command" in mini.told[0]
