"""Columns that change what a row means are used or named, whatever they are called."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import pytest
import soundfile

from asrctl.data.corpora import find
from asrctl.data.corpus import CorpusRequest
from asrctl.data.utterance import Utterance
from asrctl.errors import BadData
from asrctl.events import Event, Note, Warned

FORMS = ["list.csv", "list.tsv", "list.jsonl", "metadata.csv", "metadata.jsonl"]


def read(source: Path) -> Tuple[List[Utterance], List[Event]]:
    emitted: List[Event] = []
    corpus = find("folder" if source.is_dir() else "manifest")
    return list(corpus.utterances(CorpusRequest(source=source, emit=emitted.append))), emitted


def written(folder: Path, name: str, rows: List[Dict[str, Any]]) -> Path:
    """A list of `rows` in any form; what to read."""
    path = folder / name
    if name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with open(path, "w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t" if name.endswith(".tsv") else ",")
            writer.writeheader()
            writer.writerows(rows)
    return folder if name.startswith("metadata") else path


def rows_with(**columns: Any) -> List[Dict[str, Any]]:
    """Two rows with these columns, or where a value is a list, one of its values each."""
    values = {name: value if isinstance(value, list) else [value, value] for name, value in columns.items()}
    return [
        {"id": f"u{at}", "path": "a.wav", "text": "one", **{name: value[at] for name, value in values.items()}}
        for at in range(2)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    soundfile.write(str(tmp_path / "a.wav"), np.zeros(8000 * 3, dtype=np.int16), 8000)
    return tmp_path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("start", "end"),
    [
        ({"start_time": 0.5}, {"end_time": 1.25}),
        ({"Begin": 0.5}, {"Stop": 1.25}),
        ({"start_ms": 500}, {"end_ms": 1250}),
        ({"startTimeMs": 500}, {"endTimeMs": 1250}),
        ({"segment-start (sec)": 0.5}, {"segment-end (sec)": 1.25}),
        ({"onset": 0.5}, {"offset": 1.25}),
        ({"t_start": 0.5}, {"t_end": 1.25}),
        ({"tmin": 0.5}, {"tmax": 1.25}),
        ({"offset_ms": 500}, {"duration_ms": 750}),
        ({"audio_start": 0.5}, {"duration": 0.75}),
        ({"start_sample": 4000}, {"end_sample": 10000}),
        ({"startsec": "00:00:00.5"}, {"endsec": "0:01.25"}),
        ({"starttime": "0.5"}, {"endtime": "1.25"}),
        ({"start_us": 500000}, {"end_ns": 1250000000}),
        ({"from_time": 0.5}, {"to_time": 1.25}),
        ({"Start (hh:mm:ss)": "00:00:00.500"}, {"End (hh:mm:ss)": "00:00:01.250"}),
    ],
    ids=lambda value: "-".join(value),
)
def test_times_are_used_whatever_they_are_called(
    folder: Path, form: str, start: Dict[str, Any], end: Dict[str, Any]
) -> None:
    found, emitted = read(written(folder, form, rows_with(**start, **end)))
    assert [(row.start_s, row.end_s) for row in found] == [(0.5, 1.25)] * 2
    assert emitted == []


def test_times_in_an_object_of_their_own_are_used(folder: Path) -> None:
    found, _ = read(written(folder, "list.jsonl", rows_with(segment={"start": 0.5, "end": 1.25})))
    assert [(row.start_s, row.end_s) for row in found] == [(0.5, 1.25)] * 2


def test_the_best_known_name_decides(folder: Path) -> None:
    rows = rows_with(start_ms=7, begin=8, start=0.5, end_time=9, end=1.25, audio_duration=3, start_time=5)
    found, emitted = read(written(folder, "list.csv", rows))
    assert (found[0].start_s, found[0].end_s, found[0].id) == (0.5, 1.25, "u0")
    others = "start_ms, begin, end_time, audio_duration, start_time"
    assert emitted == [Note(f"columns of the list that are not used: {others}")]


@pytest.mark.parametrize("form", ["list.csv", "metadata.jsonl"])
@pytest.mark.parametrize(
    ("columns", "named", "kind"),
    [
        ({"start_frame": 50, "end_frame": 125}, "start_frame, end_frame", "start and end, in seconds"),
        ({"frame_offset": 50, "num_frames": 125}, "frame_offset", "start and end, in seconds"),
        ({"start": 0.5, "n_samples": 6000}, "n_samples", "start and end, in seconds"),
        ({"from": 0.5, "to": 1.25}, "from, to", "start and end, in seconds"),
        ({"in": "0:00:00.5", "out": "0:00:01.25"}, "in, out", "start and end, in seconds"),
        ({"first_sample": 50, "last_sample": 125}, "first_sample, last_sample", "start and end, in seconds"),
        ({"time": [1, 2]}, "time", "start and end, in seconds"),
        ({"speaker_channel": ["A", "B"]}, "speaker_channel", "channels are mixed"),
        ({"ch": [1, 1]}, "ch", "channels are mixed"),
        ({"set": ["train", "test"]}, "set", "call it split"),
        ({"usage": ["Training", "validation"]}, "usage", "call it split"),
        ({"is_test": [0, 1]}, "is_test", "call it split"),
        ({"exclude": ["True", "False"]}, "exclude", "leave the others out"),
        ({"is_valid": ["yes", "no"]}, "is_valid", "leave the others out"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_may_change_the_meaning_is_named_in_a_warning(
    folder: Path, form: str, columns: Dict[str, Any], named: str, kind: str
) -> None:
    _, emitted = read(written(folder, form, rows_with(**columns)))
    (warning,) = [event for event in emitted if isinstance(event, Warned)]
    assert warning.message.startswith(f"not used of the list: {named}; ") and kind in warning.message


def test_a_span_in_json_is_named(folder: Path) -> None:
    _, emitted = read(written(folder, "list.jsonl", rows_with(timestamp=[[0.5, 1.25], [0.5, 1.25]])))
    assert [type(event) for event in emitted] == [Warned]


INFORMATIVE = {
    "gender": ["male", ""],
    "accents": "us",
    "age": [31, 25],
    "up_votes": 2,
    "locale": "tr",
    "channels": 2,
    "num_frames": 24000,
    "sample_rate": 8000,
    "duration": 3.0,
    "audio_length": 3.0,
    "end_user": "ann",
    "from": ["en", "de"],
    "segment": "",
    "created_time": "2024-05-01T10:00:00",
    "wav_filesize": 12345,
}


def test_what_only_informs_is_named_once_and_quietly(folder: Path) -> None:
    found, emitted = read(written(folder, "list.csv", rows_with(**INFORMATIVE)))
    assert found == [Utterance(f"u{at}", str(folder / "a.wav"), "one", "train") for at in range(2)]
    names = [name for name in INFORMATIVE if name not in ("segment", "duration")]
    assert emitted == [Note(f"columns of the list that are not used: {', '.join(names)}")]


@pytest.mark.parametrize("name", ["spk_id", "reader", "Speaker Name", "speakerID"])
def test_a_column_that_may_name_speakers_is_told(folder: Path, name: str) -> None:
    found, emitted = read(written(folder, "list.csv", rows_with(**{name: ["ann", "bob"]})))
    assert [row.speaker for row in found] == [None, None]
    told = f"if {name} says who speaks, call it speaker: then whole speakers are held out"
    assert emitted == [Note(told), Note(f"columns of the list that are not used: {name}")]
    assert len(read(written(folder, "list.csv", rows_with(**{name: "a", "speaker": "b"})))[1]) == 1


def test_a_folder_of_many_lists_names_them_once(folder: Path) -> None:
    for name in ("x", "y"):
        (folder / name).mkdir()
        written(
            folder / name,
            "metadata.csv",
            rows_with(speaker_channel=[0, 1], path=["a.wav", "b.wav"], id=[f"{name}0", f"{name}1"]),
        )
    _, emitted = read(folder)
    assert len([event for event in emitted if isinstance(event, Warned)]) == 1


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("begin", "soon", "line 2: begin is 'soon', not a number of seconds"),
        ("start_ms", "1,5", "line 2: start_ms is '1,5', not a number of milliseconds"),
        ("start_time", "-1", "line 2: start_time is -1, not a time in a file"),
        ("start", "1:2:3:4", "line 2: start is '1:2:3:4', not a number of seconds"),
    ],
)
def test_a_time_that_is_none_is_named_by_its_column(folder: Path, column: str, value: str, problem: str) -> None:
    with pytest.raises(BadData) as refused:
        read(written(folder, "list.csv", rows_with(**{column: [value, 0]})))
    assert list(refused.value.problems) == [problem]


def test_samples_of_a_recording_that_can_not_be_read_are_no_bad_row(tmp_path: Path) -> None:
    (found, _), _ = read(written(tmp_path, "list.csv", rows_with(start_sample=1, end_sample=2)))
    assert (found.start_s, found.end_s) == (None, None)


@pytest.mark.parametrize("value", ["NaN", "null"])
def test_nan_in_json_is_nothing(tmp_path: Path, value: str) -> None:
    row = (
        f'{{"path": "a.wav", "text": {value}, "speaker": {value}, "split": {value}, "id": {value}, "start": {value}}}\n'
    )
    (tmp_path / "a.jsonl").write_text(row, encoding="utf-8")
    assert read(tmp_path / "a.jsonl")[0] == [Utterance("a.wav", str(tmp_path / "a.wav"), "", "train")]


def test_nan_is_a_word_in_a_table_and_within_quotes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,text\na.wav,nan\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"path": "a.wav", "text": "NaN"}\n', encoding="utf-8")
    assert [read(tmp_path / name)[0][0].text for name in ("a.csv", "b.jsonl")] == ["nan", "NaN"]


@pytest.mark.parametrize("value", ["Infinity", "-Infinity", "1e999"])
def test_infinity_is_no_word(tmp_path: Path, value: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"path": "a.wav", "text": {value}}}\n', encoding="utf-8")
    with pytest.raises(BadData) as refused:
        read(tmp_path / "a.jsonl")
    assert list(refused.value.problems) == ["line 1: text must be text"]
