"""Which columns of a data set are the recordings and the transcripts, by name and type; nothing is guessed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from asrctl.data.reading.columnar import is_heavy
from asrctl.data.reading.columns import COLUMNS
from asrctl.data.reading.file_names import is_audio
from asrctl.errors import BadData, UsageError
from asrctl.messages import suggestions

if TYPE_CHECKING:
    import pyarrow

# How recordings stand in a column: as the bytes of a file, as samples, or as the path of a file.
BYTES, SAMPLES, PATH = "bytes", "samples", "path"
_TEXT_WORDS = frozenset(("text", "transcript", "transcripts", "transcription", "transcriptions", "sentence"))
# Beside one of those words: the same text in another form.
_TEXT_FORMS = frozenset(
    (
        "raw", "norm", "normalized", "normalised", "clean", "cleaned", "original", "orig", "plain", "punctuated",
        "cased", "uncased", "lower", "upper", "gold", "human", "reference", "ref", "label", "labels", "unnormalized",
        "verbatim", "orthographic", "full", "asr", "formatted", "processed", "source", "target", "english", "native",
        "annotated",
    )
)  # fmt: skip
_SAMPLE_NAMES = frozenset(("audio", "speech", "array", "samples", "waveform", "wav", "input_values", "signal"))
_RATE_NAMES = ("sampling_rate", "sample_rate", "rate")
_NO_AUDIO = frozenset(("Image", "Video", "Pdf", "Nifti"))
_LONGEST = 60


class Chosen(NamedTuple):
    """audio, text: names of columns. form: BYTES, SAMPLES or PATH. rate_column: where samples have their rate, or rate
    itself, in samples per second. words: what the numbers of the text column stand for."""

    audio: str
    form: str
    text: str
    rate_column: Optional[str] = None
    rate: Optional[int] = None
    words: Tuple[str, ...] = ()


class Table(NamedTuple):
    """What is known of a data set's columns. features: what the datasets library calls them, as far as it is known.
    sample: the first row; of what may be long, only whether it is there."""

    label: str
    schema: "pyarrow.Schema"
    features: Mapping[str, Any]
    sample: Mapping[str, Any]

    def kind(self, name: str) -> str:
        """What the datasets library calls a column: "Audio", "Image", "Value" ..."""
        return type(self.features[name]).__name__ if name in self.features else ""


def choose(table: Table, audio: Optional[str], text: Optional[str]) -> Chosen:
    """The columns, or those that were named. Raises BadData where none or several may be meant, UsageError."""
    for flag, name in (("--audio-column", audio), ("--text-column", text)):
        if name is not None and name not in table.schema.names:
            raise UsageError(
                f"{table.label} has no column {name!r} ({flag})",
                fix=suggestions.one_of(name, table.schema.names),
            )
    chosen, form = _audio(table, audio)
    rate_column, rate = _rate(table, chosen) if form == SAMPLES else (None, None)
    written = _text(table, text, chosen)
    words = tuple(getattr(table.features.get(written), "names", None) or ())
    return Chosen(chosen, form, written, rate_column, rate, words)


def _audio(table: Table, wanted: Optional[str]) -> Tuple[str, str]:
    forms = {name: _form(table, name, wanted == name) for name in table.schema.names}
    if wanted is not None:
        form = forms[wanted]
        if form is None:
            raise BadData(
                f"the column {wanted} of {table.label} holds no audio ({table.schema.field(wanted).type})",
                fix=_one_of("--audio-column", [name for name in forms if forms[name]], "name another column"),
                problems=_told(table),
            )
        return wanted, form
    found = [name for name in forms if forms[name] and table.kind(name) == "Audio"]
    for form in (BYTES, SAMPLES, PATH):
        found = found or [name for name in forms if forms[name] == form]
    if len(found) == 1:
        return found[0], forms[found[0]] or ""
    if not found:
        raise BadData(
            f"{table.label} has no column of audio",
            fix="choose a data set of speech, or another --config; --audio-column names a column",
            problems=_told(table),
        )
    raise BadData(
        f"{table.label} has several columns that could be the audio: {', '.join(found)}",
        fix=_one_of("--audio-column", found),
        problems=_told(table),
    )


def _form(table: Table, name: str, is_named: bool) -> Optional[str]:
    """How recordings stand in a column; None where there are none. is_named: whether somebody says that it has such."""
    import pyarrow

    types, kind = pyarrow.types, table.schema.field(name).type
    feature = table.kind(name)
    if feature in _NO_AUDIO:
        return None
    if types.is_struct(kind):
        inner = {kind.field(index).name: kind.field(index).type for index in range(kind.num_fields)}
        if "bytes" in inner and _is_binary(inner["bytes"]):
            return BYTES
        return SAMPLES if "array" in inner and _is_array(inner["array"]) else None
    if _is_binary(kind):
        return BYTES if is_named or feature == "Audio" or name.lower() in _SAMPLE_NAMES | set(COLUMNS["path"]) else None
    if _is_array(kind):
        return SAMPLES if is_named or name.lower() in _SAMPLE_NAMES else None
    if is_string(kind):
        value = table.sample.get(name)
        is_path = isinstance(value, str) and is_audio(value)
        return PATH if feature == "Audio" or (is_path and (is_named or name.lower() in COLUMNS["path"])) else None
    return None


def _is_binary(kind: "pyarrow.DataType") -> bool:
    import pyarrow

    return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)


def _is_array(kind: "pyarrow.DataType") -> bool:
    """Whether values are lists of numbers, or lists of such."""
    import pyarrow

    types = pyarrow.types
    for _ in range(2):
        if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
            kind = kind.value_type
            if types.is_floating(kind) or types.is_integer(kind):
                return True
    return False


def is_string(kind: "pyarrow.DataType") -> bool:
    import pyarrow

    types = pyarrow.types
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return types.is_string(kind) or types.is_large_string(kind)


def _rate(table: Table, audio: str) -> Tuple[Optional[str], Optional[int]]:
    """Where samples have their rate: nowhere else than in their cell, in a column, or in what is said of the column."""
    import pyarrow

    kind = table.schema.field(audio).type
    if pyarrow.types.is_struct(kind) and any(kind.field(at).name == "sampling_rate" for at in range(kind.num_fields)):
        return None, None
    for name in _RATE_NAMES:
        if name in table.schema.names and pyarrow.types.is_integer(table.schema.field(name).type):
            return name, None
    told = getattr(table.features.get(audio), "sampling_rate", None)
    if told:
        return None, int(told)
    raise BadData(
        f"nothing says how many samples a second the column {audio} of {table.label} has",
        fix="add a column sampling_rate to the data set",
        problems=_told(table),
    )


def _text(table: Table, wanted: Optional[str], audio: str) -> str:
    if wanted is not None:
        kind = table.schema.field(wanted).type
        if not is_string(kind) and table.kind(wanted) != "ClassLabel":
            fix = _one_of("--text-column", _strings(table, audio), "name a column of text")
            message = f"the column {wanted} of {table.label} holds no text ({kind})"
            raise BadData(message, fix=fix, problems=_told(table))
        return wanted
    strings = _strings(table, audio)
    found = [name for name in strings if _says_text(name)] or _unnamed(strings)
    if len(found) == 1:
        return found[0]
    if found:
        message = f"{table.label} has several columns that could be the text: {', '.join(found)}"
        raise BadData(message, fix=_one_of("--text-column", found), problems=_told(table))
    raise BadData(
        f"{table.label} has no column that is surely the text",
        fix=_one_of("--text-column", strings, "choose a data set with transcripts"),
        problems=_told(table),
    )


def _strings(table: Table, audio: str) -> List[str]:
    return [field.name for field in table.schema if field.name != audio and is_string(field.type)]


def _says_text(name: str) -> bool:
    tokens = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)
    words = {token.lower() for token in tokens if not token.isdigit()}
    return bool(words & _TEXT_WORDS) and words <= _TEXT_WORDS | _TEXT_FORMS


def _unnamed(strings: Sequence[str]) -> List[str]:
    """The only column of text that is called after nothing else; nothing where there are several."""
    others = {name for field, names in COLUMNS.items() if field != "text" for name in names}
    rest = [name for name in strings if name.lower() not in others]
    return rest if len(rest) == 1 else []


def _one_of(flag: str, names: Sequence[str], otherwise: str = "") -> str:
    if not names:
        return otherwise
    return f"choose one: {' or '.join(f'{flag} {name}' for name in names[:5])}"


def _told(table: Table) -> List[str]:
    """A line on each column, with what the first row holds of it."""
    return [f"{field.name}: {_plain(field.type)}{_example(table, field)}" for field in table.schema]


def _plain(kind: "pyarrow.DataType") -> str:
    text = str(kind)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _example(table: Table, field: "pyarrow.Field") -> str:
    value: Any = table.sample.get(field.name)
    if value is None or is_heavy(field.type):
        return ""
    shown = " ".join(str(value).split())
    return f", such as {shown if len(shown) <= _LONGEST else shown[: _LONGEST - 3] + '...'}"


def light(schema: "pyarrow.Schema") -> List[str]:
    """The columns whose cells are short."""
    return [field.name for field in schema if not is_heavy(field.type)]


def features_of(schema: "pyarrow.Schema", told: Mapping[str, Any]) -> Dict[str, Any]:
    """{column: what the datasets library calls it}, by what the repository says or the file itself."""
    if told:
        return dict(told)
    if b"huggingface" not in (schema.metadata or {}):
        return {}
    import datasets

    try:
        return dict(datasets.Features.from_arrow_schema(schema))
    except Exception:  # what an older or newer library wrote: types alone tell enough
        return {}
