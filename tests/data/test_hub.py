"""Data sets in folders, as the hub stores them: which rows, which columns, which recordings."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any, List, Tuple

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from asrctl.data.corpora import find, kind_of
from asrctl.data.corpus import CorpusRequest
from asrctl.data.reading.columnar import ColumnarFile
from asrctl.data.reading.embedded import CellReader, wav
from asrctl.data.reading.hub import card as hub_card
from asrctl.data.utterance import Utterance, split_path
from asrctl.errors import AsrctlError, BadData, UsageError
from asrctl.events import Note, Warned

from ..helpers.data_sets import AUDIO, RATE, card, flac, repository, rows, table, write


def read(source: Path, *splits: str, **options: Any) -> List[Utterance]:
    return told(source, *splits, **options)[0]


def told(source: Path, *splits: str, **options: Any) -> Tuple[List[Utterance], List[Any]]:
    """The utterances, and what the reader has told."""
    events: List[Any] = []
    request = CorpusRequest(source=source, splits=splits or ("train",), options=options, emit=events.append)
    return list(find("hub").utterances(request)), events


def refused(source: Path, *splits: str, **options: Any) -> AsrctlError:
    with pytest.raises(AsrctlError) as caught:
        read(source, *splits, **options)
    assert "\n" not in caught.value.message
    assert caught.value.fix
    return caught.value


def content(utterance: Utterance) -> bytes:
    container, member = split_path(utterance.audio)
    return CellReader(Path(container)).read(member or "")


# -- which rows -------------------------------------------------------------------------------------------------------


def test_rows_come_with_their_bytes_ids_and_speakers(tmp_path: Path) -> None:
    found = read(repository(tmp_path / "set"), "train", "validation")
    assert [one.id for one in found] == [f"7-1-{number:04d}" for number in (*range(8), *range(100, 104))]
    assert [one.split for one in found] == ["train"] * 8 + ["validation"] * 4
    assert found[3].text == "word d" and found[3].speaker == "8"
    readers = {one: CellReader(Path(one)) for one in {split_path(item.audio)[0] for item in found}}
    for number, item in zip((*range(8), *range(100, 104)), found):
        container, member = split_path(item.audio)
        assert readers[container].read(member or "") == flac(number)


@pytest.mark.parametrize("order", [(5, 0, 3, 3, 1, 7), (7, 6, 0)])
def test_cells_are_read_in_any_order(tmp_path: Path, order: Tuple[int, ...]) -> None:
    reader = CellReader(write(tmp_path / "a.parquet", rows(8)))
    assert [reader.read(f"audio::{row}") for row in order] == [flac(row) for row in order]


@pytest.mark.parametrize(
    ("typed", "numbers"),
    [
        ("train[:50%]", range(4)),
        ("train[6:]", (6, 7)),
        ("train[-1:]", (7,)),
        ("train[3:5]", (3, 4)),
        ("train[:2]+validation[1:2]", (0, 1, 101)),
        ("validation+train[7:]", (100, 101, 102, 103, 7)),
    ],
)
def test_splits_have_the_librarys_syntax(tmp_path: Path, typed: str, numbers: Any) -> None:
    found = read(repository(tmp_path / "set"), typed)
    assert [one.id for one in found] == [f"7-1-{number:04d}" for number in numbers]
    assert {one.split for one in found} == {typed}


def test_a_part_of_a_split_opens_no_file_beyond_it(tmp_path: Path) -> None:
    folder = repository(tmp_path / "set")
    (folder / "data" / "train-00001-of-00002.parquet").write_bytes(b"cut")
    card(
        folder,
        {"default": {"train": "data/train-*"}},
        more="dataset_info:\n  features: []\n  splits:\n  - name: train\n    num_bytes: 1\n    num_examples: 8",
    )
    assert len(read(folder, "train[:50%]")) == 4
    assert "train-00001-of-00002.parquet" in refused(folder, "train").message


@pytest.mark.parametrize(
    ("typed", "kind"),
    [
        (("train[:60%]", "train[50%:]"), UsageError),
        (("train", "train+validation"), UsageError),
        (("train+train",), UsageError),
        (("train[:x]",), UsageError),
        (("trian",), BadData),
        (("train+nothing",), BadData),
    ],
)
def test_rows_are_named_once_and_there(tmp_path: Path, typed: Tuple[str, ...], kind: type) -> None:
    error = refused(repository(tmp_path / "set"), *typed)
    assert type(error) is kind
    if kind is BadData:
        assert "it has train, validation" in error.message


def test_a_shard_that_is_missing_is_told_by_its_number(tmp_path: Path) -> None:
    folder = repository(tmp_path / "set")
    (folder / "data" / "train-00000-of-00002.parquet").unlink()
    assert "of 2 there is no number 0" in refused(folder).message
    assert len(read(folder, "validation")) == 4


def test_fewer_rows_than_the_repository_tells_of_are_told(tmp_path: Path) -> None:
    folder = repository(tmp_path / "set")
    told_of = "dataset_info:\n  splits:\n  - name: train\n    num_bytes: 1\n    num_examples: 9"
    card(folder, {"default": {"train": "data/train-*"}}, more=told_of)
    assert any("8 rows of the 9" in event.message for event in told(folder)[1] if isinstance(event, Warned))


LAYOUTS = {
    "keywords in names": ["train.parquet", "dev.parquet", "my-test.parquet"],
    "folders": ["train/0.parquet", "train/1.parquet", "validation/0.parquet"],
    "shards of any name": ["data/train.100-00000-of-00001.parquet", "data/odd-00000-of-00001.parquet"],
    "one file": ["speech.parquet"],
}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_files_belong_to_the_splits_that_the_library_says(tmp_path: Path, layout: str) -> None:
    import datasets

    for number, name in enumerate(LAYOUTS[layout]):
        write(tmp_path / "set" / name, rows(2, 10 * number))
    listed = datasets.load_dataset_builder(str(tmp_path / "set"), cache_dir=str(tmp_path)).config.data_files
    for split, paths in listed.items():
        assert len(read(tmp_path / "set", str(split))) == 2 * len(paths)


def test_configurations_are_told_apart(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write(folder / "a" / "train.parquet", rows(2))
    write(folder / "b" / "train.parquet", rows(3))
    card(folder, {"clean": {"train": "a/*.parquet"}, "other": {"train": "b/*.parquet"}})
    assert [len(read(folder, config=config)) for config in ("clean", "other")] == [2, 3]
    assert "several configurations: clean, other" in refused(folder).message
    error = refused(folder, config="claen")
    assert type(error) is UsageError and "did you mean clean" in error.fix


@pytest.mark.parametrize("config", ["clean", "other"])
def test_an_older_library_is_told_what_the_readme_says(tmp_path: Path, config: str) -> None:
    import datasets

    folder = tmp_path / "set"
    for number, name in enumerate(("a/train.parquet", "a/more.parquet", "b/train.parquet", "b/test.parquet")):
        write(folder / name, rows(2, number))
    card(
        folder,
        {"clean": {"train.100": "a/*.parquet", "test": "b/test.parquet"}},
        more="- config_name: other\n  data_files: [a/train.parquet, b/train.parquet]",
    )
    known = hub_card.configurations(folder)
    ours = datasets.load_dataset_builder(str(folder), **known[config], cache_dir=str(tmp_path / "cache"))
    theirs = datasets.load_dataset_builder(str(folder), config, cache_dir=str(tmp_path / "cache"))
    assert dict(ours.config.data_files) == dict(theirs.config.data_files)
    assert list(known) == ["clean", "other"] and hub_card.default(folder, known) is None


def test_what_the_library_has_saved_is_read(tmp_path: Path) -> None:
    import datasets

    made = {split: datasets.Dataset(table(rows(5, first))) for split, first in (("train", 0), ("validation", 50))}
    datasets.DatasetDict(made).save_to_disk(str(tmp_path / "both"), num_shards={"train": 2, "validation": 1})
    made["train"].select([4, 1]).save_to_disk(str(tmp_path / "one"))
    found = read(tmp_path / "both", "train", "validation")
    assert [one.id[-4:] for one in found] == ["0000", "0001", "0002", "0003", "0004", *(f"005{at}" for at in range(5))]
    assert content(found[7]) == flac(52)
    assert [content(one) for one in read(tmp_path / "one")] == [flac(4), flac(1)]
    assert kind_of(tmp_path / "one") == kind_of(tmp_path / "both") == "hub"
    assert type(refused(tmp_path / "one", config="x")) is UsageError


@pytest.mark.parametrize("state", ["[]", '{"_data_files": [3]}', "{", '{"_data_files": [{"filename": "none.arrow"}]}'])
def test_a_saved_data_set_that_is_damaged_is_told(tmp_path: Path, state: str) -> None:
    import datasets

    datasets.Dataset(table(rows(2))).save_to_disk(str(tmp_path / "one"))
    (tmp_path / "one" / "state.json").write_text(state, encoding="utf-8")
    assert (
        "save the data set again" in refused(tmp_path / "one").fix or "none.arrow" in refused(tmp_path / "one").message
    )


def test_a_program_is_never_run(tmp_path: Path) -> None:
    folder = repository(tmp_path / "set")
    (folder / "set.py").write_text("raise SystemExit('it ran')", encoding="utf-8")
    error = refused(folder)
    assert "set.py" in error.message and "refs/convert/parquet" in error.fix


def test_a_folder_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    assert kind_of(repository(tmp_path / "set")) == "hub"
    (tmp_path / "other").mkdir()
    assert kind_of(tmp_path / "other") == "folder"


# -- which columns ----------------------------------------------------------------------------------------------------


def one_file(folder: Path, found: List[dict], **schema: pa.DataType) -> Path:
    write(folder / "train.parquet", found, **schema)
    return folder


def test_two_columns_that_could_be_the_text_are_shown(tmp_path: Path) -> None:
    folder = one_file(tmp_path / "set", rows(3, text=..., raw_text="Word, A!", normalized_text="word a"))
    error = refused(folder)
    assert "several columns that could be the text: raw_text, normalized_text" in error.message
    assert "--text-column raw_text or --text-column normalized_text" in error.fix
    assert "raw_text: string, such as Word, A!" in error.problems
    assert {one.text for one in read(folder, text_column="raw_text")} == {"Word, A!"}


@pytest.mark.parametrize("name", ["text", "sentence", "transcription", "normalized_text", "words"])
def test_the_only_column_of_text_is_found(tmp_path: Path, name: str) -> None:
    folder = one_file(tmp_path / "set", rows(3, **{"text": ..., "path": "a/b.flac", "text_id": 3, name: "a b"}))
    assert {one.text for one in read(folder)} == {"a b"}


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        ({"audio": ...}, {}, "no column of audio"),
        ({"audio": "no recording"}, {}, "no column of audio"),
        ({"text": ...}, {}, "no column that is surely the text"),
        ({"text": 3.5}, {"text_column": "text"}, "the column text of {} holds no text (double)"),
        ({}, {"audio_column": "text"}, "the column text of {} holds no audio (string)"),
        ({}, {"text_column": "txet"}, "{} has no column 'txet' (--text-column)"),
        ({"noisy": lambda number: {"bytes": flac(number), "path": ""}}, {}, "could be the audio: audio, noisy"),
    ],
)
def test_columns_that_can_not_be_meant_are_refused(tmp_path: Path, change: dict, options: dict, says: str) -> None:
    types = {"audio": pa.string()} if isinstance(change.get("audio"), str) else {}
    folder = one_file(tmp_path / "set", rows(3, **change), **types)
    assert says.format(folder) in refused(folder, **options).message


def test_ids_that_come_twice_are_none(tmp_path: Path) -> None:
    found, events = told(one_file(tmp_path / "set", rows(3, id="same")))
    assert [one.id for one in found] == ["train/0", "train/1", "train/2"]
    assert any("the column id is the same" in event.message for event in events if isinstance(event, Note))


def test_columns_that_may_change_the_meaning_are_told(tmp_path: Path) -> None:
    _, events = told(
        one_file(
            tmp_path / "set",
            rows(4, subset=lambda at: ("train", "test")[at % 2], is_valid=lambda at: at > 1, gender="f"),
        )
    )
    warned = [event.message for event in events if isinstance(event, Warned)]
    assert [message.partition(";")[0] for message in warned] == [
        "not used of the data set: subset",
        "not used of the data set: is_valid",
    ]
    assert any(event.message.endswith("not used: gender") for event in events if isinstance(event, Note))


def test_a_class_is_the_word_that_it_stands_for(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(audio=datasets.Audio(decode=False), label=datasets.ClassLabel(names=["yes", "no"]))
    made = [{"audio": row["audio"], "label": at % 2} for at, row in enumerate(rows(3))]
    datasets.Dataset(table(made).cast(features.arrow_schema)).save_to_disk(str(tmp_path / "set"))
    assert [one.text for one in read(tmp_path / "set", text_column="label")] == ["yes", "no", "yes"]


@pytest.mark.parametrize(
    ("times", "length_s", "expected", "says"),
    [
        ((10.0, 10.3), 0.3, (None, None), "where the recordings were cut from"),
        ((0.1, 0.25), 1.0, (0.1, 0.25), "only that part is read"),
        ((10.0, 11.0), 0.3, (None, None), "do not fit the lengths"),
    ],
)
def test_times_are_what_the_recordings_say(
    tmp_path: Path, times: Any, length_s: float, expected: Any, says: str
) -> None:
    recording = lambda number: {"bytes": flac(number, length_s), "path": None}  # noqa: E731
    found, events = told(one_file(tmp_path / "set", rows(3, audio=recording, begin_time=times[0], end_time=times[1])))
    assert {(one.start_s, one.end_s) for one in found} == {expected}
    assert any(says in event.message for event in events)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_channel_is_meant_where_there_are_several(tmp_path: Path, channels: int) -> None:
    cell = lambda number: {"bytes": wav(np.tile(samples(number), (channels, 1)), RATE), "path": None}  # noqa: E731
    folder = one_file(tmp_path / "set", rows(4, audio=cell, channel=lambda number: number % 2))
    assert [one.channel for one in read(folder)] == ([0, 1, 0, 1] if channels == 2 else [None] * 4)
    assert [one.channel for one in read(folder, channel=1)] == ([0, 1, 0, 1] if channels == 2 else [1] * 4)


# -- which recordings -------------------------------------------------------------------------------------------------


def test_bytes_may_stand_alone(tmp_path: Path) -> None:
    folder = one_file(tmp_path / "set", rows(3, audio=flac), audio=pa.large_binary())
    assert [content(one) for one in read(folder)] == [flac(0), flac(1), flac(2)]


@pytest.mark.parametrize("alone", [False, True])
def test_paths_lead_from_the_table_or_the_repository(tmp_path: Path, alone: bool) -> None:
    folder = tmp_path / "set"
    (folder / "clips").mkdir(parents=True)
    for number in range(3):
        (folder / "clips" / f"{number}.flac").write_bytes(flac(number))
    cell = lambda number: f"clips/{number}.flac" if alone else {"bytes": None, "path": f"clips/{number}.flac"}  # noqa: E731
    write(folder / "data" / "train.parquet", rows(3, audio=cell), audio=pa.string() if alone else AUDIO)
    assert [Path(one.audio).read_bytes() for one in read(folder)] == [flac(0), flac(1), flac(2)]


LISTS = {
    "metadata.csv": 'file_name,transcription,speaker\na.flac,one,007\nb.flac,"two, three",8\n',
    "metadata.jsonl": '{"file_name": "a.flac", "transcription": "one", "speaker": "007"}\n'
    '{"file_name": "b.flac", "transcription": "two, three", "speaker": 8}\n'.replace("8}", '"8"}'),
}


@pytest.mark.parametrize("name", list(LISTS))
@pytest.mark.parametrize("layout", ["audiofolder", "list"])
def test_a_list_names_recordings_beside_it(tmp_path: Path, name: str, layout: str) -> None:
    folder = tmp_path / "set" / ("train" if layout == "audiofolder" else "clips")
    folder.mkdir(parents=True)
    for number, recording in enumerate("ab"):
        (folder / f"{recording}.flac").write_bytes(flac(number))
    listed = LISTS[name]
    if layout == "list":
        card(tmp_path / "set", {"default": {"train": f"train{Path(name).suffix}"}})
        listed = listed.replace("a.flac", "clips/a.flac").replace("b.flac", "clips/b.flac")
    place = folder / name if layout == "audiofolder" else tmp_path / "set" / f"train{Path(name).suffix}"
    place.write_text(listed, encoding="utf-8")
    found = read(tmp_path / "set")
    assert [(one.text, one.speaker) for one in found] == [("one", "007"), ("two, three", "8")]
    assert [Path(one.audio).read_bytes() for one in found] == [flac(0), flac(1)]


def samples(number: int) -> np.ndarray:
    return soundfile.read(io.BytesIO(flac(number)), dtype="float32")[0]


ARRAYS = {
    "in the cell": lambda at: {"audio": {"array": samples(at).tolist(), "sampling_rate": RATE}},
    "beside it": lambda at: {"audio": samples(at).tolist(), "sampling_rate": RATE},
    "whole numbers": lambda at: {"audio": (samples(at) * 32768).astype(int).tolist(), "sampling_rate": RATE},
}


@pytest.mark.parametrize("form", list(ARRAYS))
def test_samples_are_recordings_too(tmp_path: Path, form: str) -> None:
    kind = pa.list_(pa.int16() if form == "whole numbers" else pa.float32())
    kind = pa.struct([("array", kind), ("sampling_rate", pa.int64())]) if form == "in the cell" else kind
    found = [{**row, **ARRAYS[form](at)} for at, row in enumerate(rows(3))]
    for number, one in enumerate(read(one_file(tmp_path / "set", found, audio=kind))):
        heard, rate = soundfile.read(io.BytesIO(content(one)), dtype="float32")
        assert rate == RATE
        assert np.array_equal(heard, samples(number))


def test_samples_without_a_rate_are_refused(tmp_path: Path) -> None:
    folder = one_file(tmp_path / "set", rows(3, audio=[0.0, 0.5]), audio=pa.list_(pa.float32()))
    assert "nothing says how many samples a second" in refused(folder).message


@pytest.mark.parametrize("values", [np.zeros((2, 3), np.float64), np.arange(5, dtype=np.int16)])
def test_the_same_samples_are_the_same_file(values: np.ndarray) -> None:
    assert hashlib.sha256(wav(values, 8000)).digest() == hashlib.sha256(wav(values.copy(), 8000)).digest()
    assert soundfile.info(io.BytesIO(wav(values, 8000))).frames == values.shape[-1]


# -- damage -----------------------------------------------------------------------------------------------------------

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda whole: whole[: len(whole) // 2], "cut off"),
        (lambda whole: b"", "empty"),
        (lambda whole: b"<html>" + whole, "no Parquet file"),
        (lambda whole: POINTER, "git-lfs pointer"),
        (lambda whole: whole[:-60] + b"\xff" * 40 + whole[-20:], "damaged"),
    ],
)
def test_a_damaged_shard_is_told_by_its_name(tmp_path: Path, damage: Any, says: str) -> None:
    folder = repository(tmp_path / "set")
    shard = folder / "data" / "train-00001-of-00002.parquet"
    shard.write_bytes(damage(shard.read_bytes()))
    error = refused(folder)
    assert type(error) is BadData
    assert says in error.message and shard.name in error.message


@pytest.mark.parametrize("ending", ["parquet", "arrow", "jsonl"])
def test_damage_anywhere_is_told_and_ends_no_program(tmp_path: Path, ending: str) -> None:
    """In Arrow's own form lengths are taken as they stand, and lead outside of the file."""
    whole, path = damageable(tmp_path, ending), tmp_path / f"damaged.{ending}"
    generator = np.random.default_rng(0)
    for _ in range(150):
        content = bytearray(whole)
        for at in generator.integers(0, len(whole), 3):
            content[at] = generator.integers(0, 256)
        path.write_bytes(content)
        try:
            file = ColumnarFile(path)
            for _, batch in file.batches(file.schema.names):
                batch.to_pydict()
        except BadData as error:
            assert path.name in error.message


def damageable(folder: Path, ending: str) -> bytes:
    path = folder / f"whole.{ending}"
    if ending == "parquet":
        write(path, rows(6))
    elif ending == "arrow":
        made = table(rows(6))
        with pa.OSFile(str(path), "wb") as stream, pa.ipc.new_stream(stream, made.schema) as writer:
            writer.write_table(made)
    else:
        path.write_text(LISTS["metadata.jsonl"], encoding="utf-8")
    return path.read_bytes()


def test_other_columns_in_a_later_shard_are_told(tmp_path: Path) -> None:
    folder = repository(tmp_path / "set")
    write(folder / "data" / "train-00001-of-00002.parquet", rows(4, 4, text=..., words="a"))
    assert "has no column text, unlike the first" in refused(folder).message


def test_a_part_that_can_not_be_read_costs_its_own_rows_only(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", rows(9), group=3)
    whole = path.read_bytes()
    at = whole.index(flac(4)[:60])
    path.write_bytes(whole[: at - 40] + b"\xff" * 60 + whole[at + 20 :])
    reader = CellReader(path)
    lost = []
    for row in range(9):
        try:
            assert reader.read(f"audio::{row}") == flac(row)
        except BadData as error:
            assert "a.parquet is damaged" in error.message
            lost.append(row)
    assert set(lost) <= {3, 4, 5} and lost


def test_lists_in_json_are_read_as_they_are_written(tmp_path: Path) -> None:
    """What looks like a time stays a word, NaN is nothing, and damage ends no program."""
    from asrctl.data.reading.columnar import ColumnarFile

    path = tmp_path / "metadata.jsonl"
    path.write_text('{"file_name": "a.wav", "day": "2020-01-01"}\n\n{"file_name": "b.wav", "said": NaN}\n', "utf-8")
    (_, batch), *_ = ColumnarFile(path).batches(["file_name", "day", "said"])
    assert batch.to_pylist() == [
        {"file_name": "a.wav", "day": "2020-01-01", "said": None},
        {"file_name": "b.wav", "day": None, "said": None},
    ]
    for body, says in (
        ('nullle_name": "a.wav"}\n', "line 1 is not a JSON object"),
        ('{"a": 1}\n{"a": {"b": 2}}\n', "is damaged"),
        ('{"a": 1e400, "b": 99999999999999999999999}\n', "is damaged"),
        ('{"a": "\\ud800"}\n', "is damaged"),
        ("".join(f'{{"{number}": 1}}\n' for number in range(1001)), "more than 1000 columns"),
    ):
        path.write_text(body, encoding="utf-8")
        with pytest.raises(BadData, match=says):
            ColumnarFile(path)
