"""Files that are no list of text: what they are by their first bytes, and what makes a list of them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Optional, Tuple

from asrctl.errors import BadData

HEAD_BYTES = 512
_BY_SUFFIX = {
    ".xlsx": "an Excel workbook",
    ".xlsm": "an Excel workbook",
    ".ods": "a LibreOffice spreadsheet",
    ".numbers": "a Numbers spreadsheet",
    ".docx": "a Word document",
    ".odt": "a LibreOffice document",
    ".npz": "a file of NumPy arrays",
}
# (first bytes, what it is, the command that unpacks it in place of {0} and leaves {1})
_PACKED = (
    (b"\x1f\x8b", "packed by gzip", "gunzip -k {0}"),
    (b"BZh", "packed by bzip2", "bunzip2 -k {0}"),
    (b"\xfd7zXZ\0", "packed by xz", "unxz -k {0}"),
    (b"\x28\xb5\x2f\xfd", "packed by Zstandard", "unzstd {0}"),
)
_OTHERS = (
    (b"\xd0\xcf\x11\xe0", "an Excel workbook or another old Office file", "save"),
    (b"RIFF", "a recording", "recording"),
    (b"fLaC", "a recording", "recording"),
    (b"OggS", "a recording", "recording"),
    (b"ID3", "a recording", "recording"),
    (b"%PDF", "a PDF document", "save"),
    (b"{\\rtf", "an RTF document", "save"),
    (b"SQLite format 3\0", "an SQLite database", "export"),
    (b"\x89HDF", "an HDF5 file", "export"),
    (b"\x93NUMPY", "a NumPy array", "export"),
    (b"\x80\x02", "a Python pickle", "export"),
    (b"\x80\x03", "a Python pickle", "export"),
    (b"\x80\x04", "a Python pickle", "export"),
    (b"\x80\x05", "a Python pickle", "export"),
    (b"ORC", "an ORC file", "export"),
    (b"<!DOCTYPE", "a web page", "page"),
    (b"<html", "a web page", "page"),
    (b"<?xml", "an XML document", "export"),
)
_CURES = {
    "save": "open it in the program that wrote it, save it as CSV (UTF-8), and give that file",
    "export": "write its rows as CSV or as a JSON object a line, and give that file",
    "page": "download the file itself, not the page that shows it",
    "recording": "put it into a folder with its transcript beside it, and use asrctl prepare folder FOLDER",
}
_ARROW_TO_CSV = "import sys, {0} as t, pyarrow.csv as c; c.write_csv({1}, sys.argv[2])"


def refuse_other(path: Path, head: bytes) -> None:
    """Raises BadData where a file that begins with these bytes is no text."""
    found = _other(path, head)
    if found is not None:
        what, fix = found
        raise BadData(f"{path} is {what}, not a list", fix=fix)


def _other(path: Path, head: bytes) -> Optional[Tuple[str, str]]:
    """(what a file is, how to make a list of it); None where it may be one."""
    if head.startswith(b"PK\3\4"):
        what = _BY_SUFFIX.get(path.suffix.lower())
        if what is None:
            return (
                "a zip archive or a spreadsheet",
                "unpack it (unzip) and give the list in it, or save it as CSV (UTF-8)",
            )
        return what, _CURES["export" if path.suffix == ".npz" else "save"]
    if head.startswith(b"PAR1"):
        return "a Parquet file", _converted(path, "pyarrow.parquet", "t.read_table(sys.argv[1])")
    if head.startswith(b"\xff\xff\xff\xff"):
        return "an Arrow stream", _converted(path, "pyarrow", "t.ipc.open_stream(sys.argv[1]).read_all()")
    if head.startswith((b"ARROW1", b"FEA1")):
        return "an Arrow file", _converted(path, "pyarrow.feather", "t.read_table(sys.argv[1])")
    for magic, how, command in _PACKED:
        if head.startswith(magic):
            left = path.with_suffix("") if path.suffix.lower() != ".tgz" else path.with_suffix(".tar")
            return how, f"unpack it with {command.format(shlex.quote(str(path)))} and give {left}"
    if head[257:262] == b"ustar":
        return "a tar archive", "unpack it (tar -xf) and give the list in it; asrctl prepare librispeech reads archives"
    return next(((what, _CURES[cure]) for magic, what, cure in _OTHERS if head.startswith(magic)), None)


def _converted(path: Path, module: str, read: str) -> str:
    """The command that makes a CSV file of a table, with what asrctl itself needs anyway."""
    made = path.with_suffix(".csv")
    program = shlex.quote(_ARROW_TO_CSV.format(module, read))
    words = f"{shlex.quote(sys.executable)} -c {program} {shlex.quote(str(path))} {shlex.quote(str(made))}"
    return f"make a CSV file of it with {words} and give that (recordings within it must be files of their own)"
