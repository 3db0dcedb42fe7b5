"""Folders of audio with transcripts beside them, or with a metadata file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import pytest

from asrctl.data.corpora import find
from asrctl.data.corpus import CorpusRequest
from asrctl.data.utterance import Utterance
from asrctl.errors import BadData
from asrctl.events import Event, Warned


def read(folder: Path, root: Optional[Path] = None) -> List[Utterance]:
    return list(find("folder").utterances(CorpusRequest(source=folder, root=root)))


def make(folder: Path, files: Dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def told(folder: Path) -> List[Tuple[str, str, str]]:
    """(id, text, split) of every utterance."""
    return [(utterance.id, utterance.text.strip(), utterance.split) for utterance in read(folder)]


def test_each_audio_file_has_the_text_of_its_stem(tmp_path: Path) -> None:
    make(
        tmp_path,
        {"b.wav": "", "b.txt": "two\n", "a.FLAC": "", "a.txt": "one", "deep/er/c.mp3": "", "deep/er/c.txt": "x"},
    )
    assert told(tmp_path) == [("a.FLAC", "one", "train"), ("b.wav", "two", "train"), ("deep/er/c.mp3", "x", "train")]
    assert read(tmp_path)[1].audio == str(tmp_path / "b.wav")


def notes(folder: Path) -> List[Event]:
    emitted: List[Event] = []
    list(find("folder").utterances(CorpusRequest(source=folder, emit=emitted.append)))
    return emitted


def test_of_several_recordings_of_one_transcript_one_is_read(tmp_path: Path) -> None:
    make(tmp_path, {"a.wav": "", "a.flac": "", "a.strange": "", "a.json": "{}", "a.txt": "one"})
    make(
        tmp_path,
        {"b.wav": "", "b.wav.txt": "two", "b.txt": "three", "b.flac": "", "c.m4a": "", "c.MP3": "", "c.txt": ""},
    )
    make(tmp_path, {"d.WAV": "", "d.WAV.wav": "", "d.TXT": "four", "mute.wav": "", "mute.flac": ""})
    assert told(tmp_path) == [
        ("a.wav", "one", "train"),
        ("b.flac", "three", "train"),
        ("b.wav", "two", "train"),
        ("c.MP3", "", "train"),
        ("d.WAV", "four", "train"),
        ("mute.flac", "", "train"),
        ("mute.wav", "", "train"),
    ]
    why = "as another of their name has the same transcript"
    such = f"such as {tmp_path / 'a.flac'} (a.wav is read)"
    assert notes(tmp_path) == [Warned(f"3 recordings are left out, {why}, {such}")]


def test_what_metadata_names_is_not_read_again_in_another_format(tmp_path: Path) -> None:
    make(tmp_path, {"metadata.csv": "file_name,text\nx/a.wav,one\n", "x/a.wav": "", "x/a.flac": "", "y/a.flac": ""})
    assert told(tmp_path) == [("x/a.wav", "one", "train"), ("y/a.flac", "", "train")]
    assert "(a.wav is read)" in notes(tmp_path)[0].message


BESIDE = ["PHN", "WRD", "pkf", "ass", "TextGrid", "xyz", "reapeaks", "txt~", "wav~", "wav.bak", "f0", "unheard-of"]


@pytest.mark.parametrize("suffix", [".wav", ".FLAC", ".mp3"])
def test_what_lies_beside_a_recording_is_none(tmp_path: Path, suffix: str) -> None:
    make(tmp_path, {f"a.{name}": "" for name in BESIDE})
    make(tmp_path, {f"a{suffix}": "", "a.txt": "one"})
    assert told(tmp_path) == [(f"a{suffix}", "one", "train")]


def test_a_transcript_without_a_recording_makes_none_of_its_annotations(tmp_path: Path) -> None:
    make(tmp_path, {"a.TXT": "one", "a.PHN": "", "a.WRD": "", "a.TXT~": "", "b.raw": "", "b.txt": "two"})
    assert told(tmp_path) == [("b.raw", "two", "train"), ("a", "one", "train")]


def test_names_that_differ_in_case_or_unicode_form_belong_together(tmp_path: Path) -> None:
    names = {"A0.WAV": "a0.txt", "gru\u0308n.wav": "gr\u00fcn.txt", "\uac01.wav": "\u1100\u1161\u11a8.TXT"}
    make(tmp_path, {**dict.fromkeys(names, ""), **dict.fromkeys(names.values(), "one")})
    if len(list(tmp_path.iterdir())) < 6:
        pytest.skip("this file system takes such names for one")
    make(tmp_path, {"b.wav": "", "B.wav": "", "b.txt": "two", "C.wav": "", "c.WAV": "", "c.txT": "3", "Other.txt": "x"})
    found = {row.id: row.text for row in read(tmp_path)}
    wanted = {**dict.fromkeys(names, "one"), "B.wav": "", "b.wav": "two", "C.wav": "", "c.WAV": "3", "Other": "x"}
    assert found == wanted
    assert notes(tmp_path)[0].message.startswith("3 recordings and transcripts whose names differ in case")


HIDDEN = ("._a.wav", ".DS_Store", "__MACOSX/._a.wav", "__MACOSX/a.wav", ".git/a.wav", "@eaDir/a.wav", "Thumbs.db")


def test_hidden_files_and_those_of_other_systems_are_passed_over(tmp_path: Path) -> None:
    make(tmp_path, dict.fromkeys(HIDDEN, ""))
    make(tmp_path, {"a.wav": "", "a.txt": "one", "._a.txt": "no", "._metadata.csv": "no", ".metadata.csv.swp": ""})
    assert told(tmp_path) == [("a.wav", "one", "train")]
    make(tmp_path, {"metadata.csv": "file_name,text\na.wav,two\n"})
    assert told(tmp_path) == [("a.wav", "two", "train")]


def test_workspaces_are_no_part_of_a_corpus(tmp_path: Path) -> None:
    marker = '{"schema": 1}'
    make(tmp_path, {"a.wav": "", "deep/work/workspace.json": marker, "deep/work/cache/demo/b.wav": ""})
    make(tmp_path, {"listed/metadata.csv": "file_name,text\nc.wav,x\n", "listed/c.wav": "", "listed/w/d.wav": ""})
    make(tmp_path, {"listed/w/workspace.json": '{"schema": 9}', "mine/workspace.json": "{}", "mine/e.wav": ""})
    assert [row[0] for row in told(tmp_path)] == ["a.wav", "listed/c.wav", "mine/e.wav"]
    (note,) = notes(tmp_path)
    assert note.message.startswith(f"{tmp_path / 'deep' / 'work'} is a workspace of asrctl")
    assert told(tmp_path / "deep" / "work" / "cache") == [("demo/b.wav", "", "train")]


def test_folders_called_after_splits_are_splits(tmp_path: Path) -> None:
    make(tmp_path, {f"{name}/x/a.wav": "" for name in ("train", "Dev", "validation", "test", "other")})
    assert [(utterance.id.split("/")[0], utterance.split) for utterance in read(tmp_path)] == [
        ("Dev", "eval"),
        ("other", "train"),
        ("test", "test"),
        ("train", "train"),
        ("validation", "eval"),
    ]


def test_one_half_of_a_pair_is_listed_without_the_other(tmp_path: Path) -> None:
    make(tmp_path, {"a.wav": "", "b.txt": "nobody says this", "README.txt": "about", ".hidden.wav": "", "notes.md": ""})
    assert told(tmp_path) == [("a.wav", "", "train"), ("b", "nobody says this", "train")]


def test_text_that_is_not_utf8_or_no_file_counts_as_none(tmp_path: Path) -> None:
    make(tmp_path, {"a.wav": "", "b.wav": "", "c.wav": "", "c.txt": "x" * 2_000_000})
    (tmp_path / "a.txt").write_bytes("é".encode("latin-1"))
    os.mkfifo(tmp_path / "b.txt")
    assert told(tmp_path) == [("a.wav", "", "train"), ("b.wav", "", "train"), ("c.wav", "", "train")]


def test_metadata_names_files_and_what_it_leaves_out_is_listed(tmp_path: Path) -> None:
    make(tmp_path, {"metadata.csv": "file_name,transcription\ntrain/a.wav,one\ntest/b.wav,two\n"})
    make(tmp_path, {"train/a.wav": "", "test/b.wav": "", "test/c.wav": "", "train/a.txt": "not this"})
    assert told(tmp_path) == [
        ("train/a.wav", "one", "train"),
        ("test/b.wav", "two", "test"),
        ("test/c.wav", "", "test"),
    ]


def test_each_folder_may_have_its_own_metadata(tmp_path: Path) -> None:
    make(tmp_path, {"train/metadata.jsonl": '{"file_name": "a.wav", "text": "one"}\n', "train/a.wav": ""})
    make(tmp_path, {"dev/metadata.csv": "file_name,sentence,split\na.wav,two,\na2.wav,three,test\n", "dev/a.wav": ""})
    assert told(tmp_path) == [
        ("dev/a.wav", "two", "eval"),
        ("dev/a2.wav", "three", "test"),
        ("train/a.wav", "one", "train"),
    ]


def test_names_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.wav")
    try:
        (tmp_path / name).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (utterance,) = read(tmp_path)
    assert utterance.id == "caf\\xe9.wav"
    assert Path(utterance.audio).exists()


def test_a_folder_without_audio_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing", make(tmp_path, {"file": ""}) / "file"):
        with pytest.raises(BadData):
            read(folder)


def test_links_to_folders_are_followed_each_folder_once(tmp_path: Path) -> None:
    source = make(tmp_path / "mine", {"b/one.wav": "", ".kept/two.wav": "", "z/three.wav": ""})
    make(tmp_path, {"disk/four.wav": "", "disk/deep/five.wav": "", "listed/six.wav": "", "listed/seven.wav": ""})
    make(tmp_path, {"listed/metadata.csv": "file_name,text\nsix.wav,six\n"})
    for link, target in {
        "a": source / "b",  # is read as b
        "c": source / ".kept",
        "dev": tmp_path / "disk" / "deep",
        "e": tmp_path / "disk",
        "f": tmp_path / "disk",
        "g": tmp_path / "listed",
        "h": tmp_path,
        "b/loop": source / "b",
    }.items():
        (source / link).symlink_to(target)
    (tmp_path / "disk" / "loop").symlink_to(tmp_path / "disk")
    (tmp_path / "listed" / "back").symlink_to(source)
    (tmp_path / "listed" / "deep").symlink_to(tmp_path / "disk" / "deep")
    (source / "nowhere").symlink_to(tmp_path / "nowhere")
    (source / "self").symlink_to(source / "self")
    emitted: List[Event] = []
    request = CorpusRequest(source=source, emit=emitted.append)
    assert [(row.id, row.split, row.text) for row in find("folder").utterances(request)] == [
        ("b/one.wav", "train", ""),
        ("c/two.wav", "train", ""),
        ("dev/five.wav", "eval", ""),
        ("e/four.wav", "train", ""),
        ("g/six.wav", "train", "six"),
        ("g/seven.wav", "train", ""),
        ("z/three.wav", "train", ""),
    ]
    why = "(what it leads to holds this corpus, or is read without it)"
    told = f"7 links to folders are not followed, such as {source / 'a'} {why}"
    mixed = "6 of 7 recordings lie in no folder called after a split, such as b/one.wav, and are for training"
    assert emitted == [Warned(told), Warned(mixed)]


def test_a_folder_may_be_named_by_a_link(tmp_path: Path) -> None:
    make(tmp_path, {"real/sub/a.wav": ""})
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "sub" / "up").symlink_to(tmp_path / "link")
    assert told(tmp_path / "link") == [("sub/a.wav", "", "train")]


def test_links_to_folders_out_of_the_root_are_refused(tmp_path: Path) -> None:
    make(tmp_path, {"outside/a.wav": "", "top/shared/c.wav": "", "top/in/b.wav": ""})
    source = tmp_path / "top" / "in"
    (source / "link").symlink_to(tmp_path / "top" / "shared")
    assert [row.id for row in read(source, root=tmp_path / "top")] == ["b.wav", "link/c.wav"]
    (source / "out").symlink_to(tmp_path / "outside")
    assert len(read(source)) == 3
    for root in (tmp_path / "top", source):
        with pytest.raises(BadData, match="outside"):
            read(source, root=root)


def test_links_out_of_the_root_are_refused(tmp_path: Path) -> None:
    make(tmp_path, {"outside/a.wav": "", "in/b.wav": ""})
    assert len(read(tmp_path / "in", root=tmp_path / "in")) == 1
    (tmp_path / "in" / "a.wav").symlink_to(tmp_path / "outside" / "a.wav")
    assert len(read(tmp_path / "in")) == 2
    with pytest.raises(BadData, match="outside"):
        read(tmp_path / "in", root=tmp_path / "in")
