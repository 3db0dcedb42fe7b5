"""A line of a table -> its cells. Quotes as csv writes them, as others escape them, and as plain characters."""

from __future__ import annotations

import csv
import re
from typing import Any, Iterator, List, Optional, Union

OPEN_QUOTE = "a quote is opened and not closed on the same line"
STRAY_QUOTE = 'a quote within quotes is not doubled ("")'
TWO_READINGS = 'a backslash before a quote can be read in two ways: write a quote within quotes as ""'
# How databases write a cell without a value.
_NULL = "\\N"
_ESCAPED_QUOTE = re.compile(r'(?<!\\)((?:\\\\)*)\\"')


class Cells:
    """Takes lines apart.

    width: columns that the header names. plain: a quote is only a character, unless the cell is quoted for its quotes'
    sake. spaced: a space after each delimiter is no part of the cell.
    """

    def __init__(self, delimiter: str, width: int, *, plain: bool, spaced: bool) -> None:
        self._delimiter = delimiter
        self._width = width
        self._plain = plain
        self._spaced = spaced
        self._trailing = re.compile(f'"[ \\t]+(?={re.escape(delimiter)}|[\r\n]*$)')

    def __call__(self, line: str) -> Union[List[str], str]:
        """The cells of a line, or what is wrong with it. Raises csv.Error for what can be no row at all."""
        cells = self._plainly(line) if self._plain else self._quoted(line)
        return [("" if cell == _NULL else cell) for cell in cells] if isinstance(cells, list) else cells

    def _plainly(self, line: str) -> List[str]:
        return [_unquoted(cell) for cell in self._parsed(line, csv.QUOTE_NONE)]

    def _quoted(self, line: str) -> Union[List[str], str]:
        cells = self._strictly(line)
        if '\\"' in line:
            # MySQL, R, Java and others write \" within quotes where csv writes "".
            other = self._strictly(_ESCAPED_QUOTE.sub(r'\1""', line))
            if cells is None or (other is not None and len(cells) > self._width):
                cells = other
            elif other is not None and other != cells and len(other) <= self._width:
                return TWO_READINGS
        if cells is None:
            cells = self._strictly(self._trailing.sub('"', line))
        return self._literally(line) if cells is None else cells

    def _literally(self, line: str) -> Union[List[str], str]:
        """The cells of a line that no csv wrote, where its quotes can only be text: "Yes" she said."""
        try:
            self._parsed(line, csv.QUOTE_MINIMAL)
        except _OpenQuote:
            return OPEN_QUOTE
        cells = self._parsed(line, csv.QUOTE_NONE)
        is_clear = len(cells) == self._width and not any(_may_be_quoted(cell) for cell in cells)
        return cells if is_clear else STRAY_QUOTE

    def _strictly(self, line: str) -> Optional[List[str]]:
        """The cells as csv writes them; None where it would not write this."""
        try:
            return self._parsed(line, csv.QUOTE_MINIMAL, strict=True)
        except _OpenQuote:
            return None
        except csv.Error:
            self._parsed(line, csv.QUOTE_NONE)  # raises what has nothing to do with quotes
            return None

    def _parsed(self, line: str, quoting: Any, strict: bool = False) -> List[str]:
        reader = csv.reader(
            _only(line), delimiter=self._delimiter, quoting=quoting, strict=strict, skipinitialspace=self._spaced
        )
        return next(reader, None) or []


class _OpenQuote(Exception):
    """A row that would go on in the next line."""


def _only(line: str) -> Iterator[str]:
    # Otherwise a quote that somebody forgot to close takes all the rows up to the next quote into its own cell.
    yield line
    raise _OpenQuote


def _may_be_quoted(cell: str) -> bool:
    return cell.strip().endswith('"') and cell.strip().startswith('"')


def _unquoted(cell: str) -> str:
    """The text of a cell that csv has quoted because there are quotes in it; any other cell as it is."""
    # csv doubles the inner ones. Where none is doubled, csv would not have quoted the cell: "Hello." is a quotation.
    inner = cell[1:-1]
    is_quoted = len(cell) > 2 and cell[0] == cell[-1] == '"'
    return inner.replace('""', '"') if is_quoted and '""' in inner and '"' not in inner.replace('""', "") else cell
