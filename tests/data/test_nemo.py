"""Manifests of NeMo, plain and tarred, and everything that can be wrong with them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import pytest
import soundfile

from asrctl.data import corpora
from asrctl.data.corpus import CorpusRequest, Match
from asrctl.data.utterance import Utterance
from asrctl.errors import AsrctlError, BadData, UsageError
from asrctl.events import Event, Note, Warned

RATE = 8000


def samples(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-3000, 3000, int(seconds * RATE), dtype=np.int16)


def sound(path: Path, seconds: float = 2.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), samples(seconds), RATE)
    return path


def written(path: Path, *rows: Dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def row(path: Any, text: str = "word", **more: Any) -> Dict[str, Any]:
    return {"audio_filepath": str(path), "text": text, "duration": 2.0, **more}


class Read:
    """What the reader made of a source."""

    def __init__(self, source: Any, splits: Tuple[str, ...] = ("train",), **options: Any) -> None:
        self.emitted: List[Event] = []
        self.hints: Dict[str, str] = {}
        nemo = corpora.find("nemo")
        request = CorpusRequest(
            source=None if source is None else Path(source),
            splits=splits,
            optional_splits=("eval", "test"),
            options=corpora.options(nemo, options),
            emit=self.emitted.append,
            hint=self.hints.__setitem__,
        )
        self.found = list(nemo.utterances(request))
        self.told = {kind: [one.message for one in self.emitted if isinstance(one, kind)] for kind in (Note, Warned)}


def refusal(source: Any, kind: Any = BadData, **more: Any) -> AsrctlError:
    with pytest.raises(kind) as refused:
        Read(source, **more)
    return refused.value


def test_a_manifest_is_read_as_nemo_reads_it(tmp_path: Path) -> None:
    wav = sound(tmp_path / "wavs" / "a.wav")
    path = written(
        tmp_path / "train_manifest.json",
        row("wavs/a.wav", speaker="ann", lang="en", sampling_rate=RATE),
        row(wav, "part", offset=0.5, duration=1.0),
        row("wavs/a.wav", "side", offset=0, duration=1, channel=0),
        row("wavs/a.wav", "bad", _skipme=1),
        {"audio_filename": "wavs/a.wav", "normalized_text": "older", "duration": 2.0, "id": "x"},
    )
    read = Read(path)
    assert read.found == [
        Utterance("wavs/a.wav", str(wav), "word", "train", "ann"),
        Utterance(f"{wav}#0.5-1.5", str(wav), "part", "train", None, 0.5, 1.5),
        Utterance("wavs/a.wav#0-1@0", str(wav), "side", "train", None, 0.0, 1.0, channel=0),
        Utterance("x", str(wav), "older", "train"),
    ]
    assert not read.told[Warned] and any("1 row marked _skipme left out" in line for line in read.told[Note])


def test_each_manifest_is_a_split_by_its_name(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    names = ("train_manifest.json", "an4_val.json", "test_clean.jsonl", "extra.json")
    for name in names:
        written(tmp_path / name, row("a.wav", id=name))
    (tmp_path / "vocab.json").write_text('{"a": 1}', encoding="utf-8")
    (tmp_path / "config.json").write_text('{\n "a": 1\n}', encoding="utf-8")
    splits = {one.id: one.split for one in Read(tmp_path).found}
    assert splits == dict(zip(names, ("train", "eval", "test", "extra")))
    splits = {one.id: one.split for one in Read(tmp_path, ("extra", "an4_val.json")).found}
    assert splits["extra.json"] == "extra" and splits["an4_val.json"] == "an4_val.json"


def test_a_single_manifest_of_any_name_is_for_training(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    path = written(tmp_path / "data" / "all.json", row("../a.wav"))
    assert [one.split for one in Read(path).found + Read(path.parent).found] == ["train", "train"]


def test_manifests_are_named_as_splits(tmp_path: Path) -> None:
    """As NeMo's own training takes them: one for each, wherever it lies. The same name in two folders is no copy."""
    for folder, name in (("one", "train.json"), ("two", "dev.json")):
        sound(tmp_path / folder / "wavs" / "1.wav")
        written(tmp_path / folder / name, row("wavs/1.wav"))
    train, dev = str(tmp_path / "one" / "train.json"), str(tmp_path / "two" / "dev.json")
    read = Read(None, (train, dev))
    assert [(one.id, one.split) for one in read.found] == [("one/wavs/1.wav", train), ("two/wavs/1.wav", dev)]
    assert "nemo needs a source" in refusal(None, UsageError).message


def test_paths_of_another_machine(tmp_path: Path) -> None:
    wav = sound(tmp_path / "wavs" / "a.wav")
    path = written(tmp_path / "train.json", row("/data/an4/wavs/a.wav"), row("D:\\an4\\wavs\\a.wav"))
    assert f"--map /data/an4={tmp_path}" in Read(path).hints["no-audio"]
    read = Read(path, map=[f"/data/an4={tmp_path}", f"D:\\an4={tmp_path}"])
    assert [one.audio for one in read.found] == [str(wav), str(wav)]
    assert read.found[0].id == "/data/an4/wavs/a.wav"  # where it lies here is no part of what it is


def test_other_texts_and_languages(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    (tmp_path / "a.txt").write_text("from a\nfile\n", encoding="utf-8")
    path = written(
        tmp_path / "train.json",
        row("a.wav", "one", id="1", lang="de", text_itn="1"),
        row("a.wav", "two", id="2", lang="en", text_itn="2"),
        {"audio_filepath": "a.wav", "text_filepath": "a.txt", "id": "3", "lang": "en"},
        {"audio_filepath": "a.wav", "answer": "none", "id": "4", "lang": "en"},
    )
    read = Read(path)
    assert [one.text for one in read.found] == ["one", "two", "from a file", ""]
    assert any("several languages are read (en 3, de 1)" in line for line in read.told[Note])
    assert "--text-field" in read.hints["no-transcript"] and "answer" in read.hints["no-transcript"]
    assert [one.text for one in Read(path, text_field="text_itn", lang=["de"]).found] == ["1"]


def test_a_recording_longer_than_its_row_says_is_told(tmp_path: Path) -> None:
    sound(tmp_path / "long.wav", 4.0)
    read = Read(written(tmp_path / "train.json", row("long.wav"), row("long.wav", id="x", offset=0)))
    (told,) = read.told[Warned]
    assert "long.wav (4.00 s, not 2)" in told and '"offset": 0' in told


# -- tarred -----------------------------------------------------------------------------------------------------------


def shard(folder: Path, number: int, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(str(folder / f"audio_{number}.tar"), "w") as archive:
        for at, name in enumerate(names):
            data = io.BytesIO()
            soundfile.write(data, samples(2.0, 10 * number + at), RATE, format="WAV")
            info = tarfile.TarInfo(name)
            info.size = len(data.getvalue())
            archive.addfile(info, io.BytesIO(data.getvalue()))


def tarred(folder: Path, *, sharded: bool = True, whole: bool = True) -> Path:
    """A tarred dataset of three shards, with two stretches of one recording in each."""
    every = []
    for number in range(3):
        shard(folder, number, f"_x_{number}.wav", f"_y_{number}.wav")
        rows = [
            row(f"_x_{number}.wav", f"x {number}", shard_id=number),
            row(f"_y_{number}.wav", "first", shard_id=number, offset=0.0, duration=1.0),
            row(f"_y_{number}-sub1.wav", "second", shard_id=number, offset=1.0, duration=0.5),
        ]
        every += rows
        if sharded:
            written(folder / "sharded_manifests" / f"manifest_{number}.json", *rows)
    if whole:
        written(folder / "tarred_audio_manifest.json", *every[:3])
        written(folder / "tarred_audio_manifest_version_1.json", *every)
    return folder


def is_right(found: List[Utterance], folder: Path) -> bool:
    return [(one.audio, one.start_s, one.end_s) for one in found] == [
        stretch
        for number in range(3)
        for stretch in (
            (f"{folder}/audio_{number}.tar::_x_{number}.wav", None, None),
            (f"{folder}/audio_{number}.tar::_y_{number}.wav", 0.0, 1.0),
            (f"{folder}/audio_{number}.tar::_y_{number}.wav", 1.0, 1.5),
        )
    ]


@pytest.mark.parametrize(("sharded", "whole"), [(True, True), (False, True), (True, False)])
def test_tarred_datasets_are_read_once(tmp_path: Path, sharded: bool, whole: bool) -> None:
    folder = tarred(tmp_path / "train_tarred", sharded=sharded, whole=whole)
    for source in (folder, tmp_path):
        read = Read(source)
        assert is_right(read.found, folder) and not read.told[Warned]
        assert {one.split for one in read.found} == {"train"} and len({one.id for one in read.found}) == 9
    assert corpora.kind_of(folder) == "nemo"


@pytest.mark.parametrize("pattern", ["{}0..2{}", "_OP_0..2_CL_", "[0..2]", "<0..2>"])
def test_shards_are_named_by_ranges(tmp_path: Path, pattern: str) -> None:
    folder = tarred(tmp_path / "d", whole=False)
    numbers = pattern.format("{", "}")
    manifests = folder / "sharded_manifests" / f"manifest_{numbers}.json"
    elsewhere = tmp_path / "elsewhere"
    assert is_right(Read(manifests).found, folder)
    elsewhere.mkdir()
    for path in folder.glob("*.tar"):
        path.rename(elsewhere / path.name)
    assert "--tars" in refusal(manifests).fix
    assert is_right(Read(manifests, tars=[f"{elsewhere}/audio_{numbers}.tar"]).found, elsewhere)
    refusal(manifests, UsageError, tars=[f"{elsewhere}/sound_{numbers}.tar"])


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    folder = tarred(tmp_path / "d", sharded=False)
    (folder / "audio_1.tar").unlink()
    refused = refusal(folder)
    assert refused.problems[0] == "line 4: there is no archive of shard 1" and len(refused.problems) == 3


# -- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"audio_filepath": "a.wav", "text": "a"}\n{"text": "b"}\n', "line 2: it has no path"),
        ('{"audio_filepath": "a.wav", "text": "a"}\n{"audio_filepath": \n', "line 2: not a JSON object"),
        ('{"audio_filepath": ["a.wav", "b.wav"], "text": "a"}\n', "path must be text"),
        ('{"audio_filepath": "a.wav", "text": {"a": 1}}\n', "text must be text"),
        ('{"audio_filepath": "a.wav", "text": "a", "offset": "x", "duration": 1}\n', "start is 'x'"),
        ('{"audio_filepath": "a.wav", "text": "a", "offset": 1, "duration": 0}\n', "is not after start"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, content: str, told: str) -> None:
    sound(tmp_path / "a.wav")
    (tmp_path / "train.json").write_text(content, encoding="utf-8")
    assert told in refusal(tmp_path / "train.json").problems[0]


def test_what_is_no_manifest(tmp_path: Path) -> None:
    assert "holds no manifest of NeMo" in refusal(tmp_path).message
    assert "there is no manifest" in refusal(tmp_path / "train.json").message
    (tmp_path / "a.json").write_bytes(json.dumps(row("a.wav", "stra\u00dfe"), ensure_ascii=False).encode("latin-1"))
    assert "not UTF-8 but probably Windows-1252 or Latin-1" in refusal(tmp_path / "a.json").message
    (tmp_path / "b.json").write_text(json.dumps([row("a.wav")]), encoding="utf-8")
    assert "one JSON document" in refusal(tmp_path / "b.json").message


def test_what_is_recognized(tmp_path: Path) -> None:
    recognizes = corpora.find("nemo").recognizes
    plain, marked = written(tmp_path / "a.json", row("a.wav")), written(tmp_path / "b.json", row("a.wav", _skipme=0))
    assert (recognizes(plain), recognizes(marked)) == (Match.POSSIBLE, Match.CERTAIN)
    assert corpora.kind_of(plain) == "manifest" and corpora.kind_of(marked) == "nemo"
    (tmp_path / "c.json").write_text('{"path": "a.wav", "text": "a"}\n', encoding="utf-8")
    assert recognizes(tmp_path / "c.json") == recognizes(tmp_path) == Match.NO
