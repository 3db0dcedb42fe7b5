"""Lists as spreadsheets, databases and other programs write them: read right, or a sentence with the cure."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import shlex
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import List

import pytest

from asrctl.data.corpora import find
from asrctl.data.corpus import CorpusRequest
from asrctl.data.utterance import Utterance
from asrctl.errors import BadData


def read(path: Path) -> List[Utterance]:
    return list(find("manifest").utterances(CorpusRequest(source=path)))


def texts(folder: Path, *lines: str, name: str = "a.csv") -> List[str]:
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [row.text for row in read(folder / name)]


def refusal(path: Path) -> BadData:
    with pytest.raises(BadData) as refused:
        read(path)
    return refused.value


# -- quotes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ('"THERE\'S \\"IRON\\" THEY"', 'THERE\'S "IRON" THEY'),
        ('"\\"all of it\\""', '"all of it"'),
        ('"he said \\"a, b\\", then"', 'he said "a, b", then'),
        ('"back\\\\slash \\"x\\""', 'back\\\\slash "x"'),
        ('"doubled ""x"" and plain"', 'doubled "x" and plain'),
        ('"Yes" she said', '"Yes" she said'),
        ('5" and 6"', '5" and 6"'),
        ('"quoted" ', "quoted"),
        ('"ends in a backslash\\"', "ends in a backslash\\"),
        ("\\N", ""),
    ],
)
def test_quotes_are_read_as_their_writer_meant_them(tmp_path: Path, cell: str, text: str) -> None:
    assert texts(tmp_path, "path,text,split", f"a.wav,{cell},train", "b.wav,next,dev") == [text, "next"]


def test_a_path_of_windows_keeps_its_backslashes_beside_escaped_quotes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('path,text\nD:\\new\\u1.wav,"he said \\"no\\""\n', encoding="utf-8")
    (row,) = read(tmp_path / "a.csv")
    assert (row.id, row.text) == ("D:\\new\\u1.wav", 'he said "no"')


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ('"he said "hi" to me"', 'a quote within quotes is not doubled ("")'),
        ('"he said "hi", then"', 'a quote within quotes is not doubled ("")'),
        ('5\\" tall', 'a backslash before a quote can be read in two ways: write a quote within quotes as ""'),
        ('"open \\"', None),
        ('"open', "a quote is opened and not closed on the same line"),
    ],
)
def test_what_can_not_be_read_for_sure_is_a_bad_row(tmp_path: Path, cell: str, problem: str) -> None:
    lines = ("path,text", f"a.wav,{cell}", "b.wav,next")
    if problem is None:
        assert texts(tmp_path, *lines) == ["open \\", "next"]
        return
    (tmp_path / "a.csv").write_text("\n".join(lines), encoding="utf-8")
    assert list(refusal(tmp_path / "a.csv").problems) == [f"line 2: {problem}"]


def test_a_space_after_each_comma_is_none_of_the_text(tmp_path: Path) -> None:
    assert texts(tmp_path, "path, text", 'a.wav, "one, two"', 'b.wav, "Yes" she said') == ["one, two", '"Yes" she said']


# -- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        ["sep=;", "path;text", "a.wav;one, two"],
        ["SEP=,", "path,text", 'a.wav,"one, two"'],
        ["", "  ", "path|text", "a.wav|one, two"],
        ["\ufeffsep=\t", "path\ttext", "a.wav\tone, two"],
        ["\ufeff\ufeffpath;text", "a.wav;one, two"],
        ["text;text;path", "one, two;no;a.wav"],
        [";path;text", "0;a.wav;one, two"],
    ],
)
def test_lines_before_the_header_and_odd_headers(tmp_path: Path, lines: List[str]) -> None:
    assert texts(tmp_path, *lines) == ["one, two"]


def test_commas_in_a_tsv(tmp_path: Path) -> None:
    assert texts(tmp_path, "path,text", "a.wav,one", name="a.tsv") == ["one"]


def test_lines_are_counted_from_the_first_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sep=,\n\npath,text\na.wav,x\n,y\n", encoding="utf-8")
    assert list(refusal(tmp_path / "a.csv").problems) == ["line 5: the path is empty"]


# -- other formats ----------------------------------------------------------------------------------------------------

ROWS = [{"path": "a.wav", "text": "one"}, {"path": "b.wav", "text": "two"}]


def _zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("[Content_Types].xml", "<Types/>")
    return stream.getvalue()


def _tarred() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        made.addfile(tarfile.TarInfo("list.csv"), io.BytesIO())
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "what", "cure"),
    [
        ("a.xlsx", _zipped(), "an Excel workbook", "save it as CSV"),
        ("a.ods", _zipped(), "a LibreOffice spreadsheet", "save it as CSV"),
        ("a.numbers", _zipped(), "a Numbers spreadsheet", "save it as CSV"),
        ("a.csv", _zipped(), "a zip archive or a spreadsheet", "unzip"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "an Excel workbook", "save it as CSV"),
        ("a.tar", _tarred(), "a tar archive", "tar -xf"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs", "lfs pull"),
        ("a.wav", b"RIFF\0\0\0\0WAVEfmt ", "a recording", "asrctl prepare folder"),
        ("a.csv", b"<!DOCTYPE html><html>", "a web page", "download the file itself"),
        ("a.db", b"SQLite format 3\0" + bytes(99), "an SQLite database", "as CSV"),
        ("a.pkl", b"\x80\x04\x95" + bytes(9), "a Python pickle", "as CSV"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # an archive holds the time, and workers are to agree
)
def test_files_that_are_no_list_are_called_by_name(
    tmp_path: Path, name: str, data: bytes, what: str, cure: str
) -> None:
    (tmp_path / name).write_bytes(data)
    error = refusal(tmp_path / name)
    assert what in error.message and cure in error.fix


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_the_cure_of_a_packed_list_works_when_typed(tmp_path: Path, suffix: str, pack) -> None:
    folder = tmp_path / "my lists"
    folder.mkdir()
    (folder / f"a.csv.{suffix}").write_bytes(pack(b"path,text\na.wav,one\n"))
    error = refusal(folder / f"a.csv.{suffix}")
    command = error.fix[len("unpack it with ") :].rsplit(" and give ", 1)
    subprocess.run(command[0], shell=True, check=True)
    assert [row.text for row in read(Path(command[1]))] == ["one"]


@pytest.mark.parametrize("kind", ["parquet", "feather", "arrow"])
def test_the_cure_of_an_arrow_table_works_when_typed(tmp_path: Path, kind: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet, feather = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow.feather")
    path = tmp_path / f"my table.{kind}"
    table = pyarrow.Table.from_pylist(ROWS)
    if kind == "arrow":  # as the datasets library saves one
        with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    else:
        (parquet.write_table if kind == "parquet" else feather.write_feather)(table, str(path))
    fix = refusal(path).fix
    subprocess.run(fix[len("make a CSV file of it with ") :].split(" and give that")[0], shell=True, check=True)
    assert [row.text for row in read(path.with_suffix(".csv"))] == ["one", "two"]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=1),
        json.dumps({row["path"]: row for row in ROWS}),
        json.dumps({row["path"]: row for row in ROWS}, indent=2),
        "\ufeff" + json.dumps(ROWS, indent=4),
    ],
)
@pytest.mark.parametrize("name", ["my list.json", "my list.jsonl"])
def test_the_cure_of_one_json_document_works_when_typed(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    error = refusal(tmp_path / name)
    assert "one JSON" in error.message
    command = error.fix[len("write a line for each with ") :].split(" and give that")[0]
    subprocess.run(command, shell=True, check=True)
    assert [row.text for row in read(Path(shlex.split(command)[-1]))] == ["one", "two"]


def test_a_comma_after_each_json_object_is_a_bad_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(",\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    assert list(refusal(tmp_path / "a.jsonl").problems) == ["line 1: not a JSON object on a line of its own"]


def test_recordings_as_the_datasets_library_writes_them(tmp_path: Path) -> None:
    row = {"audio": {"path": "a.wav", "bytes": None}, "sentence": "one"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row), encoding="utf-8")
    assert [(found.id, found.text) for found in read(tmp_path / "a.jsonl")] == [("a.wav", "one")]
