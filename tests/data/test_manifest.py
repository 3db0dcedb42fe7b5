"""Lists of utterances: CSV, TSV and JSON lines, and everything that can be wrong with them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import List, Optional

import pytest

from asrctl.data.corpora import find
from asrctl.data.corpus import CorpusRequest
from asrctl.data.utterance import Utterance
from asrctl.errors import BadData, UsageError


def read(path: Path, root: Optional[Path] = None) -> List[Utterance]:
    return list(find("manifest").utterances(CorpusRequest(source=path, root=root)))


def written(folder: Path, name: str, content: str, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(content.encode(encoding))
    return path


def refusal(path: Path, root: Optional[Path] = None) -> BadData:
    with pytest.raises(BadData) as refused:
        read(path, root)
    return refused.value


ROWS = [
    Utterance("a", "one.wav", "hello, world", "train", "ann", 0.5, 1.5),
    Utterance("b", "sub/two.wav", "ça va", "eval", "bob"),
]


def expected(folder: Path) -> List[Utterance]:
    return [Utterance(**{**row.as_dict(), "audio": str(folder / row.audio)}) for row in ROWS]


HEADER = "id path text split speaker start end"
FORMS = [
    ("a.csv", ",", HEADER, ['a,one.wav,"hello, world",train,ann,0.5,1.5', "b,sub/two.wav,ça va,dev,bob,,"]),
    ("a.csv", ";", HEADER, ["a;one.wav;hello, world;TRAIN;ann;0.5;1.5", "", "b;sub/two.wav;ça va;Validation;bob;;"]),
    (
        "a.tsv",
        "\t",
        "id file_name sentence subset client_id offset duration",
        ["a\tone.wav\thello, world\ttraining\tann\t0.5\t1.0", "b\tsub/two.wav\tça va\tvalid\tbob\t\t"],
    ),
    (
        "a.csv",
        "\t",
        "speaker end start split transcription audio id",
        ["ann\t1.5\t0.5\ttrain\thello, world\tone.wav\ta", "bob\t\t\teval\tça va\tsub/two.wav\tb"],
    ),
    (
        "a.jsonl",
        "",
        "",
        [
            '{"id": "a", "audio_filepath": "one.wav", "text": "hello, world", "speaker": "ann",'
            ' "offset": 0.5, "duration": 1}',
            "",
            '{"id": "b", "path": "sub/two.wav", "text": "\\u00e7a va", "split": "dev", "speaker": "bob",'
            ' "start": null, "duration": 3.2}',
        ],
    ),
]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(("name", "delimiter", "header", "rows"), FORMS)
def test_the_usual_forms_mean_the_same(
    tmp_path: Path, name: str, delimiter: str, header: str, rows: List[str], mark: str, end: str
) -> None:
    lines = ([delimiter.join(header.split())] if header else []) + rows
    content = mark + "".join(line + end for line in lines)
    assert read(written(tmp_path, name, content)) == expected(tmp_path)


def test_ids_come_from_paths_and_stretches(tmp_path: Path) -> None:
    found = read(written(tmp_path, "a.csv", "path,text,start,end\na.wav,x,,\na.wav,y,1,2.5\na.wav,z,3,\n"))
    assert [utterance.id for utterance in found] == ["a.wav", "a.wav#1-2.5", "a.wav#3-"]
    assert {utterance.split for utterance in found} == {"train"}


def test_an_unknown_split_keeps_its_name(tmp_path: Path) -> None:
    assert [row.split for row in read(written(tmp_path, "a.csv", "path,text,split\na,b,Dialect 3\n"))] == ["Dialect 3"]


def test_a_tsv_takes_quotes_as_they_are(tmp_path: Path) -> None:
    assert read(written(tmp_path, "a.tsv", 'path\ttext\na.wav\t"he said\nb.wav\tyes"\n'))[0].text == '"he said'


@pytest.mark.parametrize("text", ['he said "hi"', '"hi" he said', '"', '""', "plain", 'a "b" "c"', '"Hello."'])
def test_a_tsv_of_csvs_own_making_is_read_as_it_was_meant(tmp_path: Path, text: str) -> None:
    with open(tmp_path / "a.tsv", "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, delimiter="\t").writerows([["path", "text"], ["a.wav", text], ["b.wav", "next"]])
    assert [row.text for row in read(tmp_path / "a.tsv")] == [text, "next"]


@pytest.mark.parametrize(
    "text", ['"Hello."', '"he said', 'said"', '"', '""', '"a" and "b"', '"he said "hi""', '"a"" b', 'a ""b""', '"a"b""']
)
def test_quotes_in_a_tsv_that_csv_would_not_write_are_text(tmp_path: Path, text: str) -> None:
    assert [row.text for row in read(written(tmp_path, "a.tsv", f"path\ttext\na.wav\t{text}\nb.wav\tnext\n"))] == [
        text,
        "next",
    ]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (",hello", "line 2: the path is empty"),
        ("a.wav,x,abc,2", "line 2: start is 'abc', not a number of seconds"),
        ("a.wav,x,nan,2", "line 2: start is nan, not a time in a file"),
        ("a.wav,x,-1,2", "line 2: start is -1, not a time in a file"),
        ("a.wav,x,2,1", "line 2: end (1) is not after start (2)"),
        ("a.wav,x,1,2,3", "line 2: 5 columns where the first line names 4"),
        ("a\0.wav,x,1,2", "line 2: path holds characters that no text has"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path: Path, row: str, problem: str) -> None:
    error = refusal(written(tmp_path, "a.csv", f"path,text,start,end\n{row}\nb.wav,fine,,\n"))
    assert list(error.problems) == [problem] or "NUL" in error.message  # csv of Python 3.10 and older


def test_all_bad_rows_are_named_at_once(tmp_path: Path) -> None:
    error = refusal(written(tmp_path, "a.csv", "path,text,start\n" + "a.wav,x,?\nb.wav,y,1\n" * 3))
    assert [problem.split(":")[0] for problem in error.problems] == ["line 2", "line 4", "line 6"]
    error = refusal(written(tmp_path, "a.csv", "path,text,start\n" + "a.wav,x,?\n" * 500))
    assert len(error.problems) == 20


def test_quoted_commas_and_quotes_are_text(tmp_path: Path) -> None:
    rows = 'a.wav,"one, two"\n"b.wav","he said ""hi"""\n\nc.wav,5" and 6"\nd.wav,"last"'
    found = read(written(tmp_path, "a.csv", "path,text\n" + rows))
    assert [row.text for row in found] == ["one, two", 'he said "hi"', '5" and 6"', "last"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_quote_takes_no_row_after_it_into_its_cell(tmp_path: Path, end: str) -> None:
    rows = ["path,text", "a.wav,one", 'b.wav,"two', "c.wav,three", 'd.wav,"a line', 'break"', 'e.wav,"the end']
    for name, header in (("a.csv", rows[0]), ("b.csv", '"path","text"')):
        error = refusal(written(tmp_path, name, end.join([header, *rows[1:]])))
        opened = "a quote is opened and not closed on the same line"
        assert list(error.problems) == [f"line {number}: {opened}" for number in (3, 5, 7)]
        assert "a line break can be no part of a field" in error.fix
    quoted = '"path"\t"text"' + end + '"a.wav"\t"one' + end + 'b.wav\ttwo"'
    assert [line.split(":")[0] for line in refusal(written(tmp_path, "a.tsv", quoted)).problems] == ["line 2"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("[1, 2]", "not a JSON object"),
        ("{", "not a JSON object on a line of its own"),
        ("[" * 100_000, "not a JSON object on a line of its own"),
        ('{"path": "a.wav"}', "it has no text"),
        ('{"path": ["a.wav"], "text": "x"}', "path must be text"),
        ('{"path": true, "text": "x"}', "path must be text"),
        ('{"path": "\\ud800", "text": "x"}', "path holds characters that no text has"),
        ('{"path": "a", "text": "x", "start": 1e999}', "start is inf, not a time in a file"),
        ('{"path": "a", "text": "x", "start": {}}', "start must be text"),
    ],
)
def test_a_bad_json_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    error = refusal(written(tmp_path, "a.jsonl", f'{{"path": "ok.wav", "text": "fine"}}\n{line}\n'))
    assert list(error.problems) == [f"line 2: {problem}"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no column path and no column text"),
        ("a.wav,hello\n", "no column path and no column text"),
        ("path,words\na.wav,hello\n", "no column text"),
        ("path,text\na.wav," + "x" * 2_000_000, "line 2 is longer than a row can be"),
        ('path,text\na.wav,"' + "x," * 100_000 + '"', "field larger than field limit"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, content: str, message: str) -> None:
    assert message in refusal(written(tmp_path, "a.csv", content)).message


def test_other_encodings_are_refused_by_name(tmp_path: Path) -> None:
    error = refusal(written(tmp_path, "a.csv", "path,text\na.wav,é\n", "latin-1"))
    assert "not UTF-8 but probably Windows-1252 or Latin-1" in error.message
    assert f"iconv -f WINDOWS-1252 -t UTF-8 {tmp_path}/a.csv > {tmp_path}/a-utf8.csv" in error.fix
    error = refusal(written(tmp_path, "a.csv", "path,text\n" + "a.wav,всё это речь о чём-то\n" * 9, "cp1251"))
    assert "not UTF-8 but another encoding" in error.message and "as UTF-8 in the program" in error.fix


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bad", [1, 2, 3, 950, 5000])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_byte_of_another_encoding_is_told_with_its_line(tmp_path: Path, name: str, bad: int, end: str) -> None:
    row = {"a.csv": "a.wav,x", "a.jsonl": '{"path": "a.wav", "text": "x"}'}[name]
    lines = ["path,text" if name == "a.csv" else row, *[row] * 5999]
    lines[bad - 1] = lines[bad - 1].replace("x", "é")
    assert f"(line {bad})" in refusal(written(tmp_path, name, end.join(lines), "latin-1")).message


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_unicode_is_read_in_any_form(tmp_path: Path, name: str, encoding: str) -> None:
    rows = {"a.csv": "path,text\r\na.wav,für ß\r\n", "a.jsonl": '{"path": "a.wav", "text": "für ß"}\n'}
    assert [row.text for row in read(written(tmp_path, name, rows[name], encoding))] == ["für ß"]


def test_audio_outside_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    rows = ["a.wav", "../a.wav", "/etc/passwd", "link/a.wav", "in/../a.wav"]
    path = written(tmp_path / "in", "a.csv", "path,text\n" + "".join(f"{row},x\n" for row in rows))
    error = refusal(path, root=tmp_path / "in")
    assert [problem.split(":")[0] for problem in error.problems] == ["line 3", "line 4", "line 5"]
    assert len(read(path)) == 5


def test_a_missing_list_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    assert "there is no manifest" in refusal(tmp_path / "none.csv").message
    assert "asrctl prepare folder" in refusal(tmp_path).fix
    with pytest.raises(UsageError):
        read(None)  # type: ignore[arg-type]


def test_a_list_of_many_rows_is_read_row_by_row(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '{"path": "ok.wav", "text": "fine"}\n' + json.dumps({"path": "x"}) + "\n")
    rows = find("manifest").utterances(CorpusRequest(source=path))
    assert next(rows).text == "fine"
