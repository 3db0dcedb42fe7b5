"""WebDataset: tar shards in which the members of one recording stand together, KEY.flac and KEY.txt or KEY.json.

As its own reader takes names apart (`base_plus_ext`): the key is the path up to the first dot of the file's name, and
what follows is the ending, so that a.b.flac is "b.flac" of a. Keys need only differ within a shard. Shards are named
one by one, by a pattern (shards-{000000..000012}.tar), or by the folder that they lie in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from asrctl.data.corpus import STREAMING, Corpus, CorpusOption, CorpusRequest, Match
from asrctl.data.reading import archives, channels
from asrctl.data.reading.columns import COLUMNS, Columns
from asrctl.data.reading.encodings import OtherEncoding, decode
from asrctl.data.reading.file_names import is_audio, is_hidden, preference
from asrctl.data.reading.shards import Shard, is_pattern, shards_of
from asrctl.data.reading.tally import Tally
from asrctl.data.utterance import ARCHIVE_SEPARATOR, ARCHIVE_SUFFIXES, Utterance
from asrctl.errors import BadData
from asrctl.events import Note, Warned
from asrctl.messages import amounts
from asrctl.storage import files

_TEXT_ENDINGS = ("txt", "text", "transcript", "transcription")
# What the JSON beside a recording may say of a longer one that it was cut from, of its channels, or of a split.
_NOT_USED = ("start", "end", "channel", "split")
_MOST_TEXT_BYTES = 1 << 20
_SHOWN = 40
_PEEKED = 16


class _Member(NamedTuple):
    """Of a sample. ending: behind the key and a dot, in small letters; data: of texts, None for what is not read."""

    name: str
    ending: str
    data: Optional[bytes]


def utterances(request: CorpusRequest) -> Iterator[Utterance]:
    """A sample each, shard after shard. Raises BadData."""
    source = Path(request.address) if request.address is not None else CORPUS.needed(request)
    reader = _Reader(request)
    for shard in shards_of(source, request):
        yield from channels.chosen(request, reader.read(shard))
    reader.tell(source)


class _Reader:
    """Makes utterances of samples, and keeps account of what people may want to know."""

    def __init__(self, request: CorpusRequest) -> None:
        self._request = request
        self._field = request.options.get("text_field")
        self._columns = Columns()
        self._example: Dict[str, Any] = {}  # fields of the first JSON without a text
        self._endings: Dict[str, None] = {}
        self._unused: Dict[str, None] = {}
        self._spoken, self._worded, self._mute = Tally(), Tally(), Tally()
        self._cut, self._torn, self._odd, self._foreign = Tally(), Tally(), Tally(), Tally()

    def read(self, shard: Shard) -> Iterator[Utterance]:
        key, sample = "", []  # type: str, List[_Member]
        seen = set()
        try:
            for member in archives.members(shard.path):
                parted = _parted(member.name)
                if parted is None:
                    continue
                if parted[0] != key:
                    if sample:
                        yield from self._utterance(shard, key, sample)
                    if parted[0] in seen:
                        self._torn.add(f"{parted[0]} of {shard.path}")
                        raise BadData(
                            f"{shard.path} holds members of {parted[0]} in two places",
                            fix="write the shard again, sorted by name: the members of a recording stand together",
                        )
                    seen.add(parted[0])
                    key, sample = parted[0], []
                self._endings.setdefault(parted[1])
                sample.append(self._member(member, parted[1]))
        except archives.Damaged as error:
            # What was read until then is good; the sample that is cut, and what would follow, is not.
            self._cut.add(error.message)
            name = f"{key or 'its first recording'} (cut)"
            yield Utterance(f"{shard.name}/{name}", f"{shard.path}/{name}", "", shard.split)
            return
        if sample:
            yield from self._utterance(shard, key, sample)

    def _member(self, member: archives.Member, ending: str) -> _Member:
        is_text = ending == "json" or ending == self._field or ending in _TEXT_ENDINGS
        return _Member(member.name, ending, member.read(_MOST_TEXT_BYTES) if is_text else None)

    def _utterance(self, shard: Shard, key: str, sample: List[_Member]) -> Iterator[Utterance]:
        recordings = [member.name for member in sample if member.data is None and is_audio(member.name)]
        name = f"{shard.name}/{key}"
        text, fields = self._text(f"{shard.path}{ARCHIVE_SEPARATOR}{key}", sample)
        if not recordings and not text:
            self._odd.add(name)
            return
        if text:
            self._worded.add(name)
        else:
            self._mute.add(name)
        # Where a sample has no recording, a path that can not exist: it is rejected for want of audio.
        audio = f"{shard.path}/{key}.flac"
        if recordings:
            self._spoken.add(name)
            audio = f"{shard.path}{ARCHIVE_SEPARATOR}{min(recordings, key=preference)}"
        yield Utterance(name, audio, text, shard.split, speaker=self._speaker(fields))

    def _text(self, where: str, sample: List[_Member]) -> Tuple[str, Mapping[str, Any]]:
        """(transcript, fields of the JSON)."""
        plain = {member.ending: self._decoded(where, member.data) for member in sample if member.data is not None}
        fields = self._fields(where, plain.pop("json", None))
        if self._field is not None:
            found = plain[self._field] if self._field in plain else fields.get(self._field)
        else:
            told = self._columns.plan(fields).fields.get("text")
            # A text of its own is the transcript; the JSON beside it may hold the same.
            found = next((plain[ending] for ending in _TEXT_ENDINGS if ending in plain), None)
            found = found if found or told is None else fields.get(told.name)
        if not isinstance(found, (str, int, float)) or isinstance(found, bool):
            self._example = self._example or dict(fields)
            return "", fields
        return str(found).replace("\0", "").strip(), fields

    def _decoded(self, where: str, data: Optional[bytes]) -> str:
        try:
            return decode(data or b"")
        except OtherEncoding as other:
            self._foreign.add(f"{where} ({other.likely})")
            return ""

    def _fields(self, where: str, written: Optional[str]) -> Mapping[str, Any]:
        if written is None:
            return {}
        try:
            found = files.parse_json(written)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            self._foreign.add(f"{where} (its JSON is no object)")
            return {}
        plan = self._columns.plan(found)
        self._columns.look_at(plan, found)
        for field in _NOT_USED:
            if field in plan.fields and found.get(plan.fields[field].name) not in (None, ""):
                self._unused.setdefault(plan.fields[field].name)
        return found

    def _speaker(self, fields: Mapping[str, Any]) -> Optional[str]:
        column = self._columns.plan(fields).fields.get("speaker")
        found = fields.get(column.name) if column is not None else None
        is_one = isinstance(found, (str, int)) and not isinstance(found, bool)
        return (str(found).strip() or None) if is_one else None

    def tell(self, source: Path) -> None:
        """What was left out or can not be used. Raises BadData where nothing can be."""
        if not self._spoken and not self._cut:
            endings = ", ".join(f".{ending}" for ending in list(self._endings)[:20]) or "nothing"
            raise BadData(f"{source} holds no recordings (members end with {endings})", fix="give shards of audio")
        if not self._worded and not self._cut:
            raise self._wordless(source)
        emit, hint = self._request.emit, self._request.hint
        if self._unused:
            why = "each recording is taken whole, with all its channels, for the split of its shard"
            emit(Warned(f"not used of the JSON: {', '.join(self._unused)}; {why}"))
        self._columns.tell(emit)
        if self._cut:
            count = amounts.count(self._cut.count, "shard is", "shards are")
            emit(Warned(f"{count} damaged, and what comes behind that place is lost: {self._cut.first}"))
            hint("no-audio", f"fetch the shard again: {self._cut.first}")
        if self._foreign:
            count = amounts.count(self._foreign.count, "text", "texts")
            emit(Warned(f"{count} can not be read, such as {self._foreign.first}"))
            hint("no-transcript", f"write these texts as UTF-8: {self._foreign.first}")
        elif self._mute:
            hint("no-transcript", f"give each recording a KEY.txt or a text in KEY.json: {self._mute.first} has none")
        if self._odd:
            count = amounts.count(self._odd.count, "sample has", "samples have")
            emit(Note(f"{count} neither a recording nor a text, such as {self._odd.first}"))

    def _wordless(self, source: Path) -> BadData:
        """No sample has a text: what there is instead, so that people can choose."""
        texts = {name: value for name, value in self._example.items() if isinstance(value, str)}
        shown = [f"{name} ({value[:_SHOWN]!r})" for name, value in list(texts.items())[:10]]
        has = (
            f"the JSON has {', '.join(shown)}" if shown else f"members end with .{', .'.join(list(self._endings)[:20])}"
        )
        first = next(iter(texts), "NAME")
        return BadData(
            f"no sample of {source} has a text called {' or '.join(self._field and [self._field] or COLUMNS['text'])}"
            f" ({has})",
            fix=f"name the field or ending of the transcripts, such as --text-field {first}",
        )


def _parted(name: str) -> Optional[Tuple[str, str]]:
    """(key, ending in small letters) of a member; None for what belongs to no sample."""
    folder, slash, file = name.rpartition("/")
    stem, dot, ending = file.partition(".")
    hidden = any(is_hidden(part) for part in name.split("/") if part)
    return (f"{folder}{slash}{stem}", ending.lower()) if stem and dot and not hidden else None


def _recognizes(path: Path) -> Match:
    """Certain where the first members of a shard are a recording and a text of one key."""
    if path.is_dir():
        tars = sorted(inner for inner in path.iterdir() if inner.name.endswith(ARCHIVE_SUFFIXES) and inner.is_file())
        return _recognizes(tars[0]) if tars and not is_hidden(tars[0].name) else Match.NO
    if not path.is_file() or not path.name.endswith(ARCHIVE_SUFFIXES):
        return Match.NO
    endings: Dict[str, List[str]] = {}
    try:
        for count, member in enumerate(archives.members(path)):
            parted = _parted(member.name)
            if parted is not None:
                endings.setdefault(parted[0], []).append(parted[1])
            if count >= _PEEKED:
                break
    except BadData:
        return Match.NO
    return Match.CERTAIN if any(map(_is_sample, endings.values())) else Match.NO


def _is_sample(endings: List[str]) -> bool:
    return any(is_audio(f"a.{ending}") for ending in endings) and bool({"json", *_TEXT_ENDINGS} & set(endings))


CORPUS = Corpus(
    name="webdataset",
    help="WebDataset: tar shards of KEY.flac and KEY.txt or KEY.json, as a file, a pattern or a folder.",
    read=utterances,
    source="SHARDS",
    examples=("shards", "'shards/train-{000000..000012}.tar' --text-field caption"),
    options=(
        CorpusOption(
            "--text-field",
            "Field of the JSON, or ending of the members, that holds the transcript.",
            metavar="NAME",
        ),
        channels.OPTION,
        STREAMING,
    ),
    recognizes=_recognizes,
    is_address=is_pattern,
)
