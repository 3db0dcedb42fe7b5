"""Lists whose paths were written on another system, in another place or for another program."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import pytest

from asrctl.data.corpora import find
from asrctl.data.corpus import CorpusRequest
from asrctl.data.utterance import Utterance
from asrctl.errors import BadData
from asrctl.events import Event

NAME = "rec/gr\u00fcn 1.wav"


def read(
    folder: Path, paths: List[str], root: Optional[Path] = None
) -> Tuple[List[Utterance], List[Event], Dict[str, str]]:
    """(utterances, what was told, hints) of a list with these paths."""
    emitted: List[Event] = []
    hints: Dict[str, str] = {}
    source = folder / "list.tsv"
    source.write_text("path\ttext\n" + "".join(f"{path}\tone\n" for path in paths), encoding="utf-8")
    request = CorpusRequest(source=source, root=root, emit=emitted.append, hint=hints.__setitem__)
    return list(find("manifest").utterances(request)), emitted, hints


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("written", "how"),
    [
        ("rec\\gr\u00fcn 1.wav", "with / in place of \\"),
        (".\\rec\\gr\u00fcn 1.wav", "with / in place of \\"),
        ("Rec/Gr\u00dcn 1.WAV", "by names that differ in case or Unicode form"),
        (unicodedata.normalize("NFD", NAME), "by names that differ in case or Unicode form"),
        ("REC\\GR\u00dcN 1.wav", "by names that differ in case or Unicode form"),
        ("rec/gr\u00fcn 1", "with an ending that they lack"),
        ("rec/gr%C3%BCn%201.wav", "with the characters that % stands for"),
        ("file:///{folder}/rec/gr%C3%BCn%201.wav", "as URLs"),
        ("file://localhost{folder}/rec/gr\u00fcn 1.wav", "as URLs"),
        ("~/rec/gr\u00fcn 1.wav", "in the home folder"),
    ],
)
def test_paths_of_other_systems_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, how: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    make(tmp_path, NAME)
    path = written.replace("{folder}", str(tmp_path)).replace("////", "///")
    (found,), (told,), hints = read(tmp_path, [path])
    assert Path(found.audio).samefile(tmp_path / NAME)
    assert found.id == path
    assert told.message.startswith(f"1 path of the list was found {how}, such as {path} (")  # type: ignore[union-attr]
    assert "no-audio" not in hints


@pytest.mark.parametrize("beside", ["clips", "wavs", "wav", "audio"])
@pytest.mark.parametrize("written", ["a1.mp3", "A1.mp3", "a1"])
def test_recordings_are_found_in_the_folder_beside_the_list(tmp_path: Path, beside: str, written: str) -> None:
    make(tmp_path, f"{beside}/a1.mp3", f"{beside}/a2.mp3")
    (found,), emitted, _ = read(tmp_path, [written])
    assert (Path(found.audio), found.id, len(emitted)) == (tmp_path / beside / "a1.mp3", written, 1)


def test_a_path_that_is_there_is_taken_as_it_is(tmp_path: Path) -> None:
    names = ["a\\b.wav", "a/b.wav", "A/B.wav", "~/x.wav", "x%20y.wav", "x y.wav", "clips/c.wav", "c.wav"]
    make(tmp_path, *names)
    if len(list(tmp_path.iterdir())) < 8:
        pytest.skip("this file system takes such names for one")
    found, emitted, hints = read(tmp_path, names)
    assert [row.audio for row in found] == [str(tmp_path / name) for name in names]
    assert emitted == [] and "no-audio" not in hints


def test_of_two_that_may_be_meant_none_is_taken(tmp_path: Path) -> None:
    make(tmp_path, "rec/A.wav", "rec/a.WAV", "rec/b.wav", "rec/b.flac")
    found, emitted, hints = read(tmp_path, ["rec/a.wav", "rec/b"])
    if len(list((tmp_path / "rec").iterdir())) < 4:
        pytest.skip("this file system takes such names for one")
    assert [row.audio for row in found] == [str(tmp_path / "rec" / "a.wav"), str(tmp_path / "rec" / "b")]
    assert emitted == []
    assert hints["no-audio"] == f"correct the paths, which lead from {tmp_path}: rec/a.wav is not there"


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("D:\\data\\rec\\a.wav", "take D:\\data\\ off the paths: rec/a.wav lies in {folder}"),
        ("/home/bob/data/rec/a.wav", "take /home/bob/data/ off the paths: rec/a.wav lies in {folder}"),
        (
            "C:/x/none.wav",
            "write paths that lead from {folder} rather than paths of Windows: C:/x/none.wav is not there",
        ),
        ("\\\\nas\\x\\n.wav", "write paths that lead from {folder} rather than paths of Windows"),
        ("/x/none.wav", "write paths that lead from {folder} rather than those of another place"),
        ("https://example.org/a.wav", "download the recordings first"),
        ("s3://bucket/a.wav", "download the recordings first"),
        ("'rec/a.wav'", "take the quotes off the paths, such as 'rec/a.wav'"),
        ("rec/b.wav", "correct the paths, which lead from {folder}: rec/b.wav is not there"),
    ],
)
def test_what_is_not_found_is_told_with_the_cause(tmp_path: Path, written: str, hint: str) -> None:
    make(tmp_path, "rec/a.wav")
    _, emitted, hints = read(tmp_path, [written])
    assert emitted == []
    assert hints["no-audio"].startswith(hint.format(folder=tmp_path))


def test_what_is_found_elsewhere_must_lie_under_the_root(tmp_path: Path) -> None:
    make(tmp_path, "out/a.wav", "in/b.wav")
    for written in (f"file://{tmp_path}/out/a.wav", "..\\out\\a.wav", "../OUT/A.wav"):
        assert len(read(tmp_path / "in", [written])[0]) == 1
        with pytest.raises(BadData) as refused:
            read(tmp_path / "in", [written], root=tmp_path / "in")
        assert "lies outside" in refused.value.problems[0]


def test_members_of_an_archive_that_is_found_elsewhere(tmp_path: Path) -> None:
    make(tmp_path, "clips/some.tar.gz")
    (found,), _, _ = read(tmp_path, ["some.tar.gz::x/a.wav"])
    assert found.audio == f"{tmp_path}/clips/some.tar.gz::x/a.wav"


def test_rows_of_hidden_files_of_a_mac_are_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "a.wav", "._a.wav", "__MACOSX/a.wav", ".kept/b.wav")
    found, (told,), _ = read(tmp_path, ["a.wav", "._a.wav", "__MACOSX/a.wav", ".kept/b.wav"])
    assert [row.id for row in found] == ["a.wav", ".kept/b.wav"]
    assert "2 rows name hidden files" in told.message  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "written", ["x" * 300, "a/" * 3000, "~nobody-of-this-name/a.wav", "file:", "%00.wav", "\\", "~"]
)
def test_no_path_is_too_odd_to_look_for(tmp_path: Path, written: str) -> None:
    (found,), _, _ = read(tmp_path, [written])
    assert found.id == written
