"""Recordings with several channels: each side of a call with its own words, or one channel for all."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import pytest
import soundfile

from asrctl.data.audio import AudioRules, Rejected, decode
from asrctl.data.corpora import find
from asrctl.data.corpus import CorpusRequest
from asrctl.data.reading.channels import channel_of
from asrctl.data.utterance import Utterance
from asrctl.events import Event, Note, Warned

from .test_prepare import corpus, noise, opened, plain_rows


def call(path: Path, seconds: float = 3.0, seed: int = 0) -> np.ndarray:
    """A file of two sides that have nothing in common; its samples, (time, 2) int16."""
    samples = np.stack([noise(seconds, 2 * seed), noise(seconds, 2 * seed + 1)], axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), samples, 16000)
    return samples


def calls(folder: Path, name: str, count: int = 10) -> Tuple[Path, Dict[str, np.ndarray]]:
    """A list of stretches, of one side each, in any form; {id: samples}."""
    rows: List[Dict[str, Any]] = []
    heard = {}
    for number in range(count):
        samples = call(folder / f"{number}.flac", seed=number)
        for channel, side in ((0, "A"), (1, "B")):
            first = 0.5 * (1 + channel)
            rows.append({"id": f"{number}{side}", "audio_filepath": f"{number}.flac", "text": f"side {side.lower()}"})
            rows[-1].update(offset=first, duration=1.0, channel=channel if number % 2 else side)
            heard[f"{number}{side}"] = samples[int(16000 * first) : int(16000 * (first + 1)), channel]
    path = folder / name
    if name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with open(path, "w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t" if name.endswith(".tsv") else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path, heard


@pytest.mark.parametrize("name", ["calls.csv", "calls.jsonl"])
def test_each_side_of_a_call_has_its_own_words(asrctl, tmp_path: Path, workspace: Path, name: str) -> None:
    path, heard = calls(tmp_path / "corpus", name)
    done = asrctl("prepare", "manifest", path, "--json")
    assert "warning" not in done.stderr and done.result["copies"] == {}
    data = opened(workspace)
    found = {item.id: item.pcm for role in data.splits for item in data.split(role)}
    assert found.keys() == heard.keys() and all(np.array_equal(found[side], heard[side]) for side in heard)


def test_a_channel_for_all(asrctl, tmp_path: Path, workspace: Path) -> None:
    """For a list and for a folder; the command that status gives again has it too."""
    path = corpus(tmp_path / "corpus", plain_rows(20))
    heard = {
        f"train{number}.wav": call(tmp_path / "corpus" / f"train{number}.wav", 1.0, number) for number in range(20)
    }
    for name in heard:
        (tmp_path / "corpus" / name).with_suffix(".txt").write_text("word", encoding="utf-8")
    made = {}
    for channel in ("0", "1", "mix", None):
        option = [] if channel is None else ["--channel", channel]
        done = asrctl("prepare", "manifest", path, *option, "--json")
        made[channel] = done.result["id"]
        data = opened(workspace)
        for item in (item for role in data.splits for item in data.split(role)):
            sides = heard[item.id]
            whole = sides[:, int(channel)] if channel in ("0", "1") else sides.mean(axis=1)
            assert np.abs(item.pcm - whole).max() <= 1
    assert made["mix"] == made[None] and len({*made.values()}) == 3
    asrctl("prepare", "folder", path.parent, "--channel", "1", "--json").succeeded()
    path.with_name("train0.txt").write_text("another", encoding="utf-8")
    assert "--channel 1" in asrctl("status").stdout
    failed = asrctl("prepare", "folder", path.parent, "--channel", "both", "--json")
    assert failed.exit_code == 2 and "--channel can not be 'both'" in failed.error["message"]


def test_a_channel_that_a_recording_has_not(asrctl, tmp_path: Path) -> None:
    rows = [dict(row, channel=1) for row in plain_rows(20)]
    path = corpus(tmp_path / "corpus", rows)
    failed = asrctl("prepare", "manifest", path, "--json")
    assert failed.exit_code == 5 and failed.error["problems"][0].startswith("18 x no-channel")
    assert "the first channel of a recording is 0" in failed.error["fix"]
    failed = asrctl("prepare", "manifest", corpus(tmp_path / "other", plain_rows(20)), "--channel", 2, "--json")
    assert failed.exit_code == 5 and "--channel mix" in failed.error["fix"]
    call(tmp_path / "corpus" / "train0.wav", 1.0)
    done = asrctl("prepare", "manifest", path, "--max-rejects", "0.99", "--json")
    assert sum(split["utterances"] for split in done.result["splits"].values()) == 1


@pytest.mark.parametrize(
    ("sides", "copies"), [((0, 1), {}), ((0, 0), {"train test": 1}), ((1, None), {"train test": 1})]
)
def test_two_sides_of_a_call_are_no_copies(asrctl, tmp_path: Path, sides: Any, copies: Dict[str, int]) -> None:
    rows = [dict(row, split="train") for row in plain_rows(4)]
    for name, split, channel in zip("ab", ("train", "test"), sides):
        rows.append({"path": "call.wav", "id": name, "text": "word", "split": split, "channel": channel})
    path = corpus(tmp_path / "corpus", rows)
    call(tmp_path / "corpus" / "call.wav")
    assert asrctl("prepare", "manifest", path, "--json").result["copies"] == copies


def test_channels_that_cancel_are_noticed_only_where_they_are_mixed(tmp_path: Path) -> None:
    remarks: List[str] = []
    samples = noise(1.0)
    path = tmp_path / "a.wav"
    soundfile.write(str(path), np.stack([samples, -samples], axis=1), 16000)
    assert np.array_equal(decode(path, AudioRules(), remark=lambda name, _: remarks.append(name)), samples)
    assert remarks == ["one-channel"]
    for channel in (0, 1):
        found = decode(path, AudioRules(), remark=lambda name, _: remarks.append(name), channel=channel)
        assert np.array_equal(found, samples if channel == 0 else -samples)
    assert remarks == ["one-channel"]


def test_what_is_on_other_channels_does_not_count(tmp_path: Path) -> None:
    """Neither what is no number, nor what is too loud."""
    samples = noise(1.0).astype(np.float32) / 32768
    for number, bad in enumerate((np.full_like(samples, np.nan), np.full_like(samples, 3e4))):
        path = tmp_path / f"{number}.wav"
        soundfile.write(str(path), np.stack([samples, bad], axis=1), 16000, subtype="FLOAT")
        assert np.array_equal(decode(path, AudioRules(), channel=0), noise(1.0))
    with pytest.raises(Rejected) as refused:
        decode(path, AudioRules(), channel=2)
    assert refused.value.reason == "no-channel"


def test_a_side_of_a_long_recording_is_read_without_the_rest(tmp_path: Path) -> None:
    """What comes after a stretch is damaged, which nobody notices who does not read it."""
    path = tmp_path / "long.flac"
    samples = call(path, 60.0)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    path.write_bytes(bytes(data))
    found = decode(path, AudioRules(), 10.0, 12.0, channel=1)
    assert np.array_equal(found, samples[160000:192000, 1])


def read(rows: List[Dict[str, Any]], folder: Path) -> Tuple[List[Utterance], List[Event]]:
    path = folder / "list.jsonl"
    path.write_text("".join(json.dumps({"path": "a.wav", "text": "a", **row}) + "\n" for row in rows), encoding="utf-8")
    emitted: List[Event] = []
    return list(find("manifest").utterances(CorpusRequest(source=path, emit=emitted.append))), emitted


def test_ids_of_rows_without_one_hold_the_channel(tmp_path: Path) -> None:
    found, emitted = read([{"channel": 1}, {"channel": "A"}, {"channel": None}, {"channel": 0, "end": 2}], tmp_path)
    assert [(item.id, item.channel) for item in found] == [
        ("a.wav@1", 1),
        ("a.wav@0", 0),
        ("a.wav", None),
        ("a.wav#0-2@0", 0),
    ]
    assert not emitted and "channel" not in found[2].as_dict()


@pytest.mark.parametrize("other", ["Some Station", 97.3, [0, 1], True, {"a": 1}, -1])
def test_a_column_that_names_no_channel_is_told(tmp_path: Path, other: Any) -> None:
    found, emitted = read([{"channel": other}], tmp_path)
    assert found[0].channel is None and [type(event) for event in emitted] == [Note]
    assert "1 row says no channel" in emitted[0].message and "mixed" in emitted[0].message
    _, emitted = read([{"channel": 0}, {"channel": other, "id": "b"}], tmp_path)
    assert [type(event) for event in emitted] == [Warned]


@pytest.mark.parametrize(
    ("value", "channel"), [(1, 1), ("1", 1), (1.0, 1), ("B", 1), ("left", 0), ([2], 2), ("", None), ("١", None)]
)
def test_how_a_channel_may_be_written(value: Any, channel: Any) -> None:
    assert channel_of(value) == channel
