"""Splits by the names of folders, wherever these stand."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List

import pytest

from asrctl.data.corpora import find
from asrctl.data.corpus import CorpusRequest
from asrctl.events import Event, Note, Warned


def read(corpus: str, source: Path) -> "tuple":
    """({id: split}, what was told)."""
    emitted: List[Event] = []
    found = find(corpus).utterances(CorpusRequest(source=source, emit=emitted.append))
    return {row.id: row.split for row in found}, emitted


def folders(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "a.wav").write_bytes(b"")
    return root


def by_folder(root: Path) -> Dict[str, str]:
    return {name[: -len("/a.wav")]: split for name, split in read("folder", root)[0].items()}


@pytest.mark.parametrize("above", ["", "data/", "audio-v1/", "my corpus/16k/"])
@pytest.mark.parametrize(
    ("train", "held", "test"),
    [
        ("train", "validation", "test"),
        ("train-clean-100", "dev-other", "test-clean"),
        ("training_set", "eval_set", "test_set"),
        ("trainset", "devset", "testset"),
        ("TRAIN", "VAL", "TEST"),
        ("TrainAudio", "DevAudio", "TestAudio"),
        ("train_de", "dev_de", "test_de"),
        ("libri-train", "libri-valid", "libri-test"),
        ("tr", "cv", "tt"),
        ("train1", "dev93", "eval92"),
    ],
)
def test_splits_are_seen_at_any_depth(tmp_path: Path, above: str, train: str, held: str, test: str) -> None:
    names = [f"{above}{name}{below}" for name in (train, held, test) for below in ("", "/speaker7")]
    found = by_folder(folders(tmp_path, *names))
    roles = ["train", "train", "eval", "eval"] + (["eval"] * 2 if test == "eval92" else ["test"] * 2)
    assert found == dict(zip(names, roles))


@pytest.mark.parametrize(
    "name",
    ["Val", "speakers/Dev", "en/cv", "tr", "devanagari", "contest", "mic-test", "dev-team", "validated", "trains"],
)
def test_names_that_may_mean_something_else_are_for_training(tmp_path: Path, name: str) -> None:
    source = folders(tmp_path, f"all/{name}", "all/Ann", "all/Bob", "all/speakers/Eve")
    found, emitted = read("folder", source)
    assert set(found.values()) == {"train"}
    assert len(emitted) == (name in ("Val", "speakers/Dev", "en/cv", "mic-test", "dev-team"))
    if name == "mic-test":
        may = "such as all/mic-test, and is for training; if it is one, call it train, eval or test"
        assert emitted == [Warned(f"1 recording lies in a folder whose name may be that of a split, {may}")]


@pytest.mark.parametrize("name", ["train-dev", "holdout", "held-out", "HeldOut", "dev_test", "holdout_speakers"])
def test_what_is_a_split_but_not_clear_which_keeps_its_name(tmp_path: Path, name: str) -> None:
    assert by_folder(folders(tmp_path, f"x/{name}", "x/train")) == {f"x/{name}": name, "x/train": "train"}


def test_what_was_taken_for_a_split_is_told(tmp_path: Path) -> None:
    source = folders(tmp_path, "data/test", "train-clean-100", "data/train/test", "dev", "other")
    found, emitted = read("folder", source)
    assert found == {
        "data/test/a.wav": "test",
        "data/train/test/a.wav": "train",
        "dev/a.wav": "eval",
        "other/a.wav": "train",
        "train-clean-100/a.wav": "train",
    }
    assert emitted == [
        Note("folders taken for splits by their names: data/test (test), data/train (train), train-clean-100 (train)"),
        Warned("1 recording lies in folders of two splits: data/train and data/train/test; the first counts"),
        Warned("1 of 5 recordings lies in no folder called after a split, such as other/a.wav, and is for training"),
    ]


def test_a_plain_name_says_more_than_that_of_the_corpus_around_it(tmp_path: Path) -> None:
    source = folders(tmp_path, "test-corpus/train", "test-corpus/dev", "test-corpus/more")
    found, emitted = read("folder", source)
    assert list(found.values()) == ["eval", "test", "train"]
    torn = "2 recordings lie in folders of two splits: test-corpus/dev and test-corpus; the first counts"
    assert Warned(torn) in emitted


def test_folders_above_the_corpus_say_nothing(tmp_path: Path) -> None:
    source = folders(tmp_path / "test" / "mine", "a", "b")
    (source / "metadata.csv").write_text(f"file_name,text\n{source}/a/a.wav,x\nb/a.wav,y\n../../dev/a.wav,z\n")
    found, emitted = read("folder", source)
    assert (set(found.values()), emitted) == ({"train"}, [])


def test_metadata_in_and_above_the_folders_of_splits(tmp_path: Path) -> None:
    source = folders(tmp_path, "data/train", "data/test", "other")
    (source / "other" / "metadata.csv").write_text("file_name,text,split\na.wav,x,dev\n")
    for name in ("train", "test"):
        (source / "data" / name / "metadata.jsonl").write_text('{"file_name": "a.wav", "text": "x"}\n')
    wanted = {"data/test/a.wav": "test", "data/train/a.wav": "train", "other/a.wav": "eval"}
    assert read("folder", source)[0] == wanted
    rows = "".join(f"{name},x\n" for name in wanted)
    (source / "metadata.csv").write_text("file_name,text\n" + rows)
    assert read("folder", source)[0] == dict(wanted, **{"other/a.wav": "train"})


@pytest.mark.parametrize("place", ["", "{here}/"])
@pytest.mark.parametrize(
    ("paths", "told"),
    [
        (["train/1.wav", "train/2.wav", "test/3.wav"], "1 of 3 recordings is called test"),
        (["1.wav", "data/dev-clean/x/2.wav", "data/test-other/3.wav"], "2 of 3 recordings are called eval or test"),
        (["train_1.wav", "test_2.wav", "test_3.wav"], "2 of 3 recordings are called test"),
        (["test/1.wav", "test/2.wav"], ""),
        (["1.wav", "x/2.wav", "train/3.wav"], ""),
    ],
)
def test_a_list_that_names_no_splits_though_its_paths_do(
    tmp_path: Path, place: str, paths: List[str], told: str
) -> None:
    source = tmp_path / "test" / "list.csv"
    source.parent.mkdir()
    rows = "".join(f"{place.format(here=tmp_path / 'test')}{path},x\n" for path in paths)
    source.write_text("path,text\n" + rows)
    found, emitted = read("manifest", source)
    assert set(found.values()) == {"train"}
    assert [event.message[: len(told)] for event in emitted] == ([told] if told else [])  # type: ignore[union-attr]
    source.write_text("path,text,split\n" + rows.replace(",x\n", ",x,train\n"))
    assert read("manifest", source)[1] == []
