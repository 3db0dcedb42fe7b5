"""What the columns of a list mean, by their names; and which of those that are not used somebody may miss."""

from __future__ import annotations

import re
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from asrctl.data.corpus import SPLIT_NAMES
from asrctl.events import Emit, Note, Warned

# Field -> names of its column in the wild, the best known first.
COLUMNS: Mapping[str, Tuple[str, ...]] = {
    "path": (
        "path", "audio", "audio_path", "audio_filepath", "audio_file", "file", "file_name", "filename", "wav",
        "wav_filename", "wav_path", "wav_file", "audio_filename", "filepath", "file_path",
    ),
    "text": ("text", "transcript", "transcription", "sentence"),
    "split": ("split", "subset", "partition"),
    "speaker": ("speaker", "speaker_id", "spk", "client_id"),
    "id": ("id", "utterance_id", "utt_id", "utterance", "key"),
    "start": ("start", "start_s", "offset"),
    "end": ("end", "end_s"),
    "duration": ("duration", "duration_s"),
    "channel": ("channel", "channel_id", "channel_index", "channel_idx", "audio_channel", "chan"),
    "confidence": ("confidence",),
}  # fmt: skip
REQUIRED = ("path", "text")
FIELD_NAMES = frozenset(name for names in COLUMNS.values() for name in names)


class Unit(NamedTuple):
    """Of a time. per_second: None where it follows from the recording's sample rate."""

    name: str
    per_second: Optional[float]


SECONDS = Unit("seconds", 1)
SAMPLES = Unit("samples", None)
_UNITS: Dict[str, Unit] = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), SECONDS),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), Unit("milliseconds", 1e3)),
    **dict.fromkeys(("us", "usec", "micros", "microsecond", "microseconds"), Unit("microseconds", 1e6)),
    **dict.fromkeys(("ns", "nsec", "nanos", "nanosecond", "nanoseconds"), Unit("nanoseconds", 1e9)),
    **dict.fromkeys(("cs", "centiseconds"), Unit("hundredths of a second", 1e2)),
    **dict.fromkeys(("mins", "minute", "minutes"), Unit("minutes", 1 / 60)),
    **dict.fromkeys(("sample", "samples"), SAMPLES),
}
# Each column of a time is called by one of these words, a unit, and words that leave the meaning as it is.
_ROLES: Dict[str, str] = {
    **dict.fromkeys(("start", "starts", "begin", "begins", "beginning", "beg", "onset", "tmin", "xmin"), "start"),
    **dict.fromkeys(("end", "ends", "ending", "stop", "stops", "finish", "tmax", "xmax"), "end"),
    **dict.fromkeys(("duration", "dur"), "duration"),
}
_WHOLE_NAMES = {"tbeg": "start", "tend": "end", "tdur": "duration"}
# Too short or too common to be sure of: "from" and "to" may be languages.
_PERHAPS = {"from": "start", "to": "end", "t0": "start", "t1": "end", "in": "start", "out": "end"}
_OF_A_TIME = frozenset(
    (
        "time", "times", "t", "timestamp", "ts", "stamp", "segment", "seg", "utterance", "utt", "stretch", "chunk",
        "speech", "interval", "span", "position", "pos", "offset", "clip", "hh", "mm", "ss",
    )
)  # fmt: skip
# A duration of one of these is the length of a recording, not of a stretch.
_OF_A_FILE = frozenset(("audio", "wav", "file", "recording", "total"))
_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_NUMBER = re.compile(r"[-+]?(\d+([.,]\d*)?|[.,]\d+)(e[-+]?\d+)?|(\d+:){1,2}\d+([.,]\d+)?")
_BOOLEANS = frozenset(("0", "1", "0.0", "1.0", "true", "false", "t", "f", "yes", "no", "y", "n"))
_CHANNELS = frozenset(("channel", "chan", "ch", "side"))
_CHANNEL_NAMES = frozenset(("a", "b", "l", "r", "c", "left", "right", "center", "center"))
_SPEAKERS = frozenset(("speaker", "spk", "spkr", "reader", "talker", "narrator"))
_MARKS = frozenset(
    (
        "exclude", "excluded", "skip", "skipped", "ignore", "ignored", "invalid", "reject", "rejected", "bad", "drop",
        "discard", "discarded", "deleted", "keep", "use", "used", "include", "included", "valid", "good", "usable",
    )
)  # fmt: skip
_MAX_NAMED = 20
_MAX_PLANS = 1000
_MAX_VALUES = 8


class Column(NamedTuple):
    """name: as it is written; unit: of its times."""

    name: str
    unit: Unit = SECONDS


class ColumnPlan(NamedTuple):
    """What is what in rows with the same columns. others: those that are no field."""

    fields: Mapping[str, Column]
    others: "Sequence[_Seen]"

    @property
    def missing(self) -> List[str]:
        return [field for field in REQUIRED if field not in self.fields]


class Columns:
    """Finds the fields of rows, and keeps account of the columns that are none.

    fields: those that are looked for; all where none are named.
    """

    def __init__(self, fields: Sequence[str] = ()) -> None:
        self._fields = frozenset(fields or COLUMNS)
        self._plans: Dict[Tuple[str, ...], ColumnPlan] = {}
        self._seen: Dict[str, _Seen] = {}
        self.known: Dict[str, Column] = {}  # of the fields that some row had

    def plan(self, names: Iterable[str]) -> ColumnPlan:
        """For rows with these columns."""
        key = tuple(names)
        if key not in self._plans:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            fields = {field: column for field, column in _planned(key).items() if field in self._fields}
            used = {column.name for column in fields.values()}
            others = [name for name in key if name.strip() and name not in used]
            room = _MAX_PLANS - len(self._seen)
            self._seen.update({name: _Seen(name) for name in others[:room] if name not in self._seen})
            self._plans[key] = ColumnPlan(fields, [self._seen[name] for name in others if name in self._seen])
            self.known.update(fields)
        return self._plans[key]

    @staticmethod
    def look_at(plan: ColumnPlan, row: Mapping[str, Any]) -> None:
        """Take account of what a row holds beside its fields."""
        for seen in plan.others:
            if seen.is_open:
                seen.look_at(row[seen.name])

    def tell(self, emit: Emit, where: str = "list", advice: Optional[Mapping[str, str]] = None) -> None:
        """Which columns are not used: a warning where they may change what a row means.

        where: what has the columns. advice: what to do about columns of the kinds "stretch", "channel", "split" and
        "mark", where that is not what helps in a list.
        """
        kinds = {seen.name: self._kind(seen) for seen in self._seen.values() if seen.is_filled}
        for kind, what in {**_KINDS, **(advice or {})}.items():
            if kind in kinds.values():
                named = _named(name for name in kinds if kinds[name] == kind)
                emit(Warned(f"not used of the {where}: {named}; {what}"))
        people = [seen.name for seen in self._seen.values() if seen.is_filled and seen.is_speaker]
        if people and "speaker" not in self.known:
            emit(Note(f"if {_named(people)} says who speaks, call it speaker: then whole speakers are held out"))
        if None in kinds.values():
            named = _named(name for name in kinds if not kinds[name])
            emit(Note(f"columns of the {where} that are not used: {named}"))

    def _kind(self, seen: "_Seen") -> Optional[str]:
        """What a column may say, if no field says it already."""
        kind = seen.kind
        if kind in ("split", "channel") and kind in self.known:
            return None
        has_end = self.known.keys() & {"end", "duration"}
        if kind == "stretch" and (has_end if seen.field in ("end", "duration") else seen.field in self.known):
            return None
        if kind is None and "start" in self.known and not has_end and seen.is_length:
            return "stretch"
        return kind


_KINDS = {
    "stretch": "if they say which part of a recording is meant, call them start and end, in seconds",
    "channel": "if it says which channel of a recording is meant, call it channel (0 is the first): channels are mixed",
    "split": "if it says what a row is for, call it split",
    "mark": "if it says which rows are good, leave the others out: all are read",
}


def _named(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - _MAX_NAMED} more" if len(found) > _MAX_NAMED else ""
    return ", ".join(found[:_MAX_NAMED]) + more


class _Seen:
    """What a column that is not used has held."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_filled = False
        self.is_open = True  # whether another value may still tell something
        self._tokens = frozenset(part for token in _tokens(name) for part in _parted(token))
        self._is_number = self._is_split = self._is_boolean = self._is_channel = True
        self._values: List[str] = []

    def look_at(self, value: Any) -> None:
        if value is None or value == "":
            return
        self.is_filled = True
        word = str(value).strip().lower() if isinstance(value, (str, int, float)) else ""
        is_number = bool(_NUMBER.fullmatch(word)) or _is_span(value)
        self._is_number = self._is_number and is_number
        self._is_boolean = self._is_boolean and word in _BOOLEANS
        self._is_split = self._is_split and word in SPLIT_NAMES
        self._is_channel = self._is_channel and (is_number or word in _CHANNEL_NAMES)
        self.is_open = self._is_number or self._is_split or self._is_boolean or self._is_channel
        if word not in self._values and len(self._values) < _MAX_VALUES:
            self._values.append(word)

    @property
    def field(self) -> Optional[str]:
        """The time that a column is called after: start, end or duration; "start" for one that may be a stretch."""
        roles = [_ROLES[token] for token in sorted(self._tokens) if token in _ROLES]
        return roles[0] if roles else _PERHAPS.get(self.name.lower(), "start")

    @property
    def is_speaker(self) -> bool:
        return bool(self._tokens & _SPEAKERS)

    @property
    def is_length(self) -> bool:
        return self._is_number and bool(self._tokens & {"length", "len", "num", "n", "size", "frames"})

    @property
    def kind(self) -> Optional[str]:
        """What it may say that changes the meaning of rows: a key of _KINDS."""
        varies = len(self._values) > 1
        if self._is_split and len({SPLIT_NAMES[value] for value in self._values}) > 1:
            return "split"
        if self._is_boolean and varies and self._tokens & {"test", "train", "dev", "eval", "validation", "holdout"}:
            return "split"
        if self._is_boolean and varies and self._tokens & _MARKS:
            return "mark"
        if self._is_channel and self._tokens & _CHANNELS and not self._tokens & {"num", "n", "number", "count"}:
            return "channel"
        named = self._tokens & (_ROLES.keys() | {"offset", "first", "last"}) or self.name.lower() in _PERHAPS
        is_plain = bool(self._tokens) and self._tokens <= _OF_A_TIME | {"times", "timestamps", "segments", "timecode"}
        is_time = named or is_plain
        return "stretch" if is_time and self._is_number and not self._tokens & {"duration", "dur"} else None


def _is_span(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(value) <= 100 and all(isinstance(part, (int, float)) for part in value)


def _planned(names: Sequence[str]) -> Dict[str, Column]:
    """{field: its column}."""
    written: Dict[str, str] = {}
    for name in names:
        written.setdefault(name.lower(), name)
    found = {
        field: Column(written[next(name for name in synonyms if name in written)])
        for field, synonyms in COLUMNS.items()
        if any(name in written for name in synonyms)
    }
    # Where "onset" stands beside it, "offset" is the end.
    offset = "end" if any("onset" in _tokens(name) for name in names) else "start"
    if offset == "end" and found.get("start", Column("")).name.lower() == "offset":
        found.setdefault(offset, found.pop("start"))
    for name in names:
        role = _role(name, offset)
        if role is not None:
            found.setdefault(role, Column(name, _unit(name)))
    return found


def _role(name: str, offset: str) -> Optional[str]:
    """The time that a column is surely called after: "segment_start", "end time (ms)", "startSample" ...

    offset: what "offset" means where no other word says it.
    """
    if name.lower() in _WHOLE_NAMES:
        return _WHOLE_NAMES[name.lower()]
    tokens = [part for token in _tokens(name) for part in _parted(token)]
    roles = [_ROLES[token] for token in tokens if token in _ROLES]
    if not roles and len(tokens) > 1:  # "from_time", "to_s": alone they may mean anything
        roles = [_PERHAPS[token] for token in tokens if token in ("from", "to")]
    if not roles and "offset" in tokens:
        roles = [offset]
    known = (_ROLES, _UNITS, _OF_A_TIME, ("from", "to"))
    rest = [token for token in tokens if not any(token in words for words in known)]
    if len(roles) != 1 or sum(token in _UNITS for token in tokens) > 1:
        return None
    return roles[0] if not rest or (roles[0] != "duration" and set(rest) <= _OF_A_FILE) else None


def _unit(name: str) -> Unit:
    return next((_UNITS[part] for token in _tokens(name) for part in _parted(token) if part in _UNITS), SECONDS)


def _parted(token: str) -> List[str]:
    """ "starttime" -> ["start", "time"], "tstart" -> ["t", "start"]."""
    for role in (*_ROLES, "offset"):
        rest = token[len(role) :]
        if token.startswith(role) and (rest in _UNITS or rest in _OF_A_TIME):
            return [role, rest]
        if token.endswith(role) and token[: -len(role)] in _OF_A_TIME:
            return [token[: -len(role)], role]
    return [token]


def _tokens(name: str) -> List[str]:
    return [token.lower() for token in _TOKEN.findall(name)]
