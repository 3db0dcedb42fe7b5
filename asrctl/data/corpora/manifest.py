"""A list of utterances in CSV, TSV or JSON lines, with paths relative to the list's folder."""

from __future__ import annotations

import functools
import math
import re
import shlex
from collections import deque
from pathlib import Path, PurePosixPath
from typing import Any, Deque, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from asrctl.data.corpus import Corpus, CorpusOption, CorpusRequest, Match, lies_under, named_as_file
from asrctl.data.reading import channels, tables
from asrctl.data.reading.cells import OPEN_QUOTE
from asrctl.data.reading.columns import COLUMNS, ColumnPlan, Columns
from asrctl.data.reading.file_names import is_audio
from asrctl.data.reading.recording_paths import Places
from asrctl.data.reading.split_names import SplitFolders
from asrctl.data.reading.tally import Tally
from asrctl.data.utterance import ARCHIVE_SUFFIXES, Utterance, split_path
from asrctl.errors import BadData
from asrctl.events import Note, Warned
from asrctl.messages import amounts
from asrctl.storage import addresses, files

_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
_CLOCK = re.compile(r"(?:(\d{1,3}):)?(\d{1,3}):(\d{1,2}(?:\.\d+)?)")
_MAX_PROBLEMS = 20
_AHEAD = 32


def utterances(request: CorpusRequest) -> Iterator[Utterance]:
    """The rows of the list. Raises BadData naming every bad row (twenty of them), each with its line."""
    path = CORPUS.needed(request)
    if path.is_dir():
        raise BadData(
            f"{path} is a folder, not a manifest", fix=f"use `asrctl prepare folder {shlex.quote(str(path))}`"
        )
    if not path.is_file():
        raise BadData(f"there is no manifest {path}", fix="check the path")
    account = Account(SplitFolders(path.parent, used=False), Places(remote=request.remote))
    account.least = request.options.get(MIN_CONFIDENCE.key)
    yield from channels.chosen(request, read(path, root=request.root, account=account))
    account.tell(request)


class Account:
    """What is known of lists beyond their rows: kept while they are read, told when all are."""

    def __init__(self, splits: SplitFolders, places: Optional[Places] = None) -> None:
        self.splits = splits
        self.columns = Columns()
        self.places = places or Places()
        self.hidden, self.unsure = Tally(), Tally()
        self.least: Optional[float] = None  # confidence of rows that are used
        self.channels, self.no_channels = Tally(), Tally()  # of cells that name one, and that are something else

    def tell(self, request: CorpusRequest) -> None:
        """What was not used, or found in other places."""
        self.splits.tell(request.emit)
        self.columns.tell(request.emit)
        self.places.tell(request.emit, request.hint)
        if self.hidden:
            ones, many = "row names a hidden file of a Mac and is", "rows name hidden files of a Mac and are"
            request.emit(Note(f"{amounts.count(self.hidden.count, ones, many)} passed over: {self.hidden.first}"))
        if self.unsure:
            rows = amounts.count(self.unsure.count, "row is", "rows are")
            request.emit(Note(f"{rows} left out, with a confidence below {self.least:g}: {self.unsure.first}"))
        self._tell_channels(request)
        if "text" in self.columns.known:
            request.hint("no-transcript", f"fill the column {self.columns.known['text'].name} of these rows")
        times = [column.name for field, column in self.columns.known.items() if field in ("start", "end", "duration")]
        if times:
            cut = "if recordings are cut already, give these columns other names"
            request.hint("outside", f"correct {', '.join(times)}, which say where in its recording a row is; {cut}")

    def _tell_channels(self, request: CorpusRequest) -> None:
        if self.no_channels:
            rows = amounts.count(self.no_channels.count, "row says", "rows say")
            told = f"{rows} no channel (0, 1 ..., A, B, left or right) in {self.no_channels.first}: channels are mixed"
            request.emit(Warned(told) if self.channels else Note(told))
        if self.channels:
            column = self.channels.first
            more = f"if {column} is something else, give the column another name"
            request.hint("no-channel", f"correct {column}: the first channel of a recording is 0; {more}")


def read(
    path: Path,
    *,
    root: Optional[Path] = None,
    inside: Optional[str] = None,
    account: Optional[Account] = None,
    rows: Optional[Iterable[Tuple[int, tables.Row]]] = None,
) -> Iterator[Utterance]:
    """The utterances of the list at `path`; audio must lie under `root` where one is given. Raises BadData.

    inside: where the list's folder lies in a corpus folder; ids begin with it, and folders may tell the split.
    rows: (line, row) of the list, where its reader has made something else of them.
    """
    account = account or Account(SplitFolders(path.parent, used=inside is not None))
    problems: List[str] = []
    make = _Rows(path.parent, root, inside, account)
    checked = functools.partial(_check_columns, path, account.columns)
    found = tables.rows(path, check=checked) if rows is None else rows
    for line, row in make.looked_ahead(found):
        try:
            utterance = make(row)
        except ValueError as problem:
            problems.append(f"line {line}: {problem}")
            if len(problems) >= _MAX_PROBLEMS:
                break
            continue
        if not problems and utterance is not None:
            yield utterance
    if problems:
        count = "a bad row" if len(problems) == 1 else f"{len(problems)} bad rows"
        many = " (and perhaps more)" if len(problems) >= _MAX_PROBLEMS else ""
        fix = "correct the lines named above"
        if any(problem.endswith(OPEN_QUOTE) for problem in problems):
            fix += '; a line break can be no part of a field, and a quote is written "" within quotes'
        raise BadData(f"{path} has {count}{many}", fix=fix, problems=problems)


def _check_columns(path: Path, columns: Columns, names: Sequence[str]) -> None:
    """Raises BadData where a table has no column that it must have."""
    missing = columns.plan(dict.fromkeys(names)).missing
    if missing:
        has = ", ".join(names[:20]) or "nothing"
        raise BadData(
            f"{path} has no column {' and no column '.join(missing)} (its first line names: {has})",
            fix="name the columns in the first line: path and text; "
            "split, speaker, id, start, end and channel if there are such",
        )


class _Rows:
    """A row -> an utterance, or None for one of a hidden file; ValueError says what is wrong with it."""

    def __init__(self, folder: Path, root: Optional[Path], inside: Optional[str], account: Account) -> None:
        self._folder = str(folder)
        self._account = account
        self._inside = inside
        self._root = root.resolve() if root is not None else None

    def __call__(self, row: tables.Row) -> Optional[Utterance]:
        if isinstance(row, str):
            raise ValueError(row)
        plan = self._account.columns.plan(row)
        if plan.missing:
            raise ValueError(f"it has no {' and no '.join(plan.missing)}")
        cells = _Cells(row, plan)
        written = cells.text("path")
        if not written:
            raise ValueError("the path is empty")
        if _is_of_a_mac(written):
            self._account.hidden.add(written)
            return None
        self._account.columns.look_at(plan, row)
        least = self._account.least
        if least is not None and cells.confidence() < least:
            self._account.unsure.add(written)
            return None
        audio = self._account.places.find(self._folder, written)
        if self._root is not None and not lies_under(self._root, audio):
            raise ValueError(f"{written} lies outside {self._root} (--root)")
        start, end = cells.stretch(audio)
        channel = cells.channel(self._account)
        # What is fetched is called as within its bucket: moved to another one, the same speech is the same data.
        named = addresses.parsed(written).plain if addresses.is_known(written) else written
        name = named if self._inside is None else (PurePosixPath(self._inside) / named).as_posix()
        return Utterance(
            id=cells.text("id") or _default_id(name, start, end, channel),
            audio=audio,
            text=cells.text("text"),
            split=self._split(cells.text("split"), name),
            speaker=cells.text("speaker") or None,
            start_s=start,
            end_s=end,
            channel=channel,
        )

    def looked_ahead(self, rows: Iterable[Tuple[int, tables.Row]]) -> Iterator[Tuple[int, tables.Row]]:
        """The same rows; of those that come next, recordings on other machines are on their way."""
        waiting: Deque[Tuple[int, tables.Row]] = deque()
        for line, row in rows:
            column = self._account.columns.plan(row).fields.get("path") if not isinstance(row, str) else None
            written = row.get(column.name) if column is not None and not isinstance(row, str) else None
            if isinstance(written, str):
                self._account.places.ahead(self._folder, written.strip())
            waiting.append((line, row))
            if len(waiting) > _AHEAD:
                yield waiting.popleft()
        yield from waiting

    def _split(self, written: str, name: str) -> str:
        if not written:
            return self._account.splits.of(name)
        self._account.splits.names_split()
        return CORPUS.split_name(written)


def _default_id(written: str, start: Optional[float], end: Optional[float], channel: Optional[int]) -> str:
    stretch = "" if start is None and end is None else f"#{start or 0:g}-{'' if end is None else f'{end:g}'}"
    return f"{written}{stretch}{'' if channel is None else f'@{channel}'}"


def _is_of_a_mac(written: str) -> bool:
    """Whether a path is that of a file that a Mac puts beside every other, and that is never a recording."""
    return written.rpartition("/")[2].startswith("._") or "__MACOSX" in written.split("/")


class _Cells:
    """The fields of a row."""

    def __init__(self, row: Mapping[str, Any], plan: ColumnPlan) -> None:
        self._row = row
        self._fields = plan.fields

    def text(self, field: str) -> str:
        """Without space around it; "" where there is none. Raises ValueError."""
        column = self._fields.get(field)
        value = self._row.get(column.name) if column is not None else None
        if not value and (value is None or value == ""):
            return ""
        if isinstance(value, dict) and field == "path":
            value = value.get("path")  # how the datasets library writes a recording
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not _is_lost(field, value):
            value = str(value)
        if not isinstance(value, str):
            raise ValueError(f"{field} must be text")
        if _NOT_TEXT.search(value):
            raise ValueError(f"{field} holds characters that no text has")
        return value.strip()

    def confidence(self) -> float:
        """Raises ValueError."""
        written = self.text("confidence")
        try:
            return _share(written)
        except ValueError:
            has = f"is {written[:40]!r}, not a number from 0 to 1" if written else "is missing"
            raise ValueError(f"its confidence, which --min-confidence goes by, {has}") from None

    def channel(self, account: Account) -> Optional[int]:
        """Counted from 0; None where the row names none."""
        column = self._fields.get("channel")
        value = self._row.get(column.name) if column is not None else None
        if column is None or value is None or value == "" or value == []:
            return None
        found = channels.channel_of(value)
        if found is None:
            account.no_channels.add(f"{column.name}, such as {str(value)[:40]}")
        else:
            account.channels.add(column.name)
        return found

    def stretch(self, audio: str) -> Tuple[Optional[float], Optional[float]]:
        """(start, end) in seconds, None where that of the recording is meant. Raises ValueError."""
        start, end = self._seconds("start", audio), self._seconds("end", audio)
        duration = self._seconds("duration", audio)
        if end is None and start is not None and duration is not None:
            end = start + duration  # a duration without a start only says how long the file is
        if end is not None and end <= (start or 0.0):
            raise ValueError(f"end ({end:g}) is not after start ({start or 0:g})")
        return start, end

    def _seconds(self, field: str, audio: str) -> Optional[float]:
        written = self.text(field)
        if not written:
            return None
        column = self._fields[field]
        named = field if column.name.lower() in COLUMNS[field] else column.name
        clock = _CLOCK.fullmatch(written)
        try:
            value = float(written) if clock is None else _clock_s(*clock.groups())
        except ValueError:
            raise ValueError(f"{named} is {written[:40]!r}, not a number of {column.unit.name}") from None
        per_second = column.unit.per_second or _rate_hz(audio)
        if per_second is None:
            return None  # of a recording that can not be read: it is rejected for that
        value /= per_second
        if not math.isfinite(value) or value < 0 or value > 1e7:
            raise ValueError(f"{named} is {written[:40]}, not a time in a file")
        return value


def _share(word: str) -> float:
    """Raises ValueError."""
    value = float(word)
    if not 0 <= value <= 1:
        raise ValueError("not from 0 to 1")
    return value


def _is_lost(field: str, value: float) -> bool:
    """Whether a number is none, where it is to be a word. (A time says so itself.)"""
    return not math.isfinite(value) and field not in ("start", "end", "duration")


def _clock_s(hours: Optional[str], minutes: str, seconds: str) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)


@functools.lru_cache(maxsize=16)
def _rate_hz(audio: str) -> Optional[int]:
    """The sample rate of a recording, None where it can not be known. Raises ValueError for a member of an archive."""
    import soundfile

    if split_path(audio)[1] is not None:
        raise ValueError("times in samples can not be used with archives: write seconds")
    try:
        with files.open_regular(Path(audio), fix="") as stream, soundfile.SoundFile(
            stream.fileno(), closefd=False
        ) as found:
            return int(found.samplerate) or None
    except (BadData, OSError, RuntimeError, TypeError, ValueError):
        return None


MIN_CONFIDENCE = CorpusOption(
    "--min-confidence",
    "Leave rows out whose column `confidence` is less, as `asrctl transcribe FILE --format manifest` writes it.",
    metavar="X",
    type=_share,
)


def _recognizes(path: Path) -> Match:
    is_list = path.is_file() and not is_audio(path.name) and not path.name.endswith(ARCHIVE_SUFFIXES)
    return Match.POSSIBLE if is_list else Match.NO


CORPUS = Corpus(
    name="manifest",
    help="A list in CSV, TSV or JSON lines: path, text, and optionally split, speaker, id, start, end, channel.",
    read=utterances,
    source="FILE",
    examples=("utterances.csv", "utterances.csv --preset tiny-cpu"),
    options=(channels.OPTION, MIN_CONFIDENCE),
    recognizes=_recognizes,
    default_name=named_as_file,
)
