"""Manifests of lhotse: a CutSet, or recordings and supervisions; JSON lines, packed or not, or one JSON array.

Or, as `lhotse:NAME`, a corpus that lhotse has a recipe for (lhotse_recipes.py).

Manifests need no lhotse, whose formats are plain JSON (docs/datasets.rst, docs/cuts.rst): the times of a supervision
are those of its recording, or within a cut those after the cut's start. An utterance is a supervision with its stretch
of the recording, also where the cut around it has several. What only lhotse can make (mixtures, recordings changed by
speed or other transforms, audio from commands) is listed as rejected.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from asrctl.data.corpus import Corpus, CorpusOption, CorpusRequest, Match, named_as_folder
from asrctl.data.reading import lhotse_recipes, path_map
from asrctl.data.reading.channels import OPTION as CHANNEL
from asrctl.data.reading.json_objects import objects_of
from asrctl.data.reading.split_names import split_named
from asrctl.data.reading.tally import Tally
from asrctl.data.utterance import Utterance
from asrctl.errors import BadData
from asrctl.events import Note, Warned
from asrctl.messages import amounts
from asrctl.storage import files

_NAME = re.compile(
    r"(?P<before>.*?)[_-]?(?P<kind>cuts|recordings|supervisions)[_-]?(?P<part>.*?)\.jsonl?(\.gz)?", re.IGNORECASE
)
_HEAD = 1 << 16
_OF_LHOTSE = re.compile(rb'"(supervisions|recording_id)"\s*:')
_ANCESTORS = 4
_WHOLE_S = 0.01
_LONGEST_S = 1e7


_RECIPE = CorpusOption("--recipe", "The folder is the corpus itself, read by this recipe of lhotse's.", metavar="NAME")
_ARGUMENT = CorpusOption(
    "--recipe-option", "An argument of the recipe, such as languages=en.", metavar="KEY=VALUE", repeatable=True
)


class _Manifest(NamedTuple):
    """before, part: what stands in the file's name before and behind its kind."""

    path: Path
    kind: str
    before: str
    part: str

    @property
    def split(self) -> str:
        found = split_named(self.part) or split_named(self.before)
        return found.split if found is not None else "train"


class _Unusable(Exception):
    """Why a recording can not be read: one of _CURES."""


_CURES = {
    "command": "comes from a command, which is not run: make files of them with lhotse (cuts.save_audios)",
    "url": "is fetched from elsewhere: download the recordings, and write their paths",
    "memory": "lies in the manifest itself: make files of them with lhotse (cuts.save_audios)",
    "transform": "is changed by lhotse before use (transforms): make files of them with cuts.save_audios",
    "mixed": "is a mixture that only lhotse can make: make files of them with cuts.save_audios",
    "missing": "is not in the manifest: give the one of recordings too, beside that of supervisions",
    "shape": "is not written as lhotse writes it: make the manifest again",
}


def utterances(request: CorpusRequest) -> Iterator[Utterance]:
    """A supervision each. Raises BadData."""
    source = CORPUS.needed(request)
    reader = _Reader(request)
    recipe = request.options.get(_RECIPE.key)
    if recipe is not None:
        request.emit(Note(f"lhotse lists {source} by its recipe {recipe}"))
        yield from _of_recipe(reader, recipe, source, request.options.get(_ARGUMENT.key) or ())
    else:
        yield from _of_manifests(reader, source, request)
    reader.tell(source)


def _of_manifests(reader: "_Reader", source: Path, request: CorpusRequest) -> Iterator[Utterance]:
    for manifest in _manifests(source):
        request.before_reading(str(manifest.path))
        if manifest.kind == "cuts":
            yield from reader.of_cuts(manifest, objects_of(manifest.path))
        else:
            recordings = _beside(manifest)
            request.before_reading(str(recordings))
            yield from reader.of_supervisions(manifest, objects_of(recordings), objects_of(manifest.path))


def _of_recipe(reader: "_Reader", recipe: str, source: Path, arguments: Sequence[str]) -> Iterator[Utterance]:
    if not source.is_dir():
        raise BadData(f"there is no folder {source}", fix="give the folder of the corpus")
    with lhotse_recipes.parts(recipe, source, arguments) as found:
        for part in found:
            # Relative paths would be of the folder that the recipe was given.
            manifest = _Manifest(source / recipe, next(iter(part.manifests)), "", part.name.rpartition("/")[2])
            if "cuts" in part.manifests:
                yield from reader.of_cuts(manifest, part.manifests["cuts"])
            else:
                recordings = part.manifests.get("recordings", iter(()))
                yield from reader.of_supervisions(manifest, recordings, part.manifests["supervisions"])


def _manifests(source: Path) -> List[_Manifest]:
    """Cuts, and supervisions (which name recordings). Raises BadData."""
    if source.is_file():
        found = _named(source)
        kind = found.kind if found is not None else "cuts"
        if kind == "recordings":
            others = [one for one in _in_folder(source.parent) if one.kind == "supervisions" and _pair(one, found)]
            if not others:
                fix = "put that of supervisions beside it, or give cuts"
                raise BadData(f"{source} says nothing of what is spoken", fix=fix)
            return others[:1]
        return [found or _Manifest(source, kind, "", "")]
    if not source.is_dir():
        raise BadData(f"there is no {source}", fix="give a manifest of lhotse, or the folder of them")
    there = _in_folder(source)
    cuts = [one for one in there if one.kind == "cuts"]
    supervised = [one for one in there if one.kind == "supervisions"]
    if not cuts and not supervised:
        fix = "give the folder of cuts.jsonl.gz, or of recordings.jsonl.gz and supervisions.jsonl.gz"
        raise BadData(f"{source} holds no manifest of cuts or supervisions", fix=fix)
    return cuts or supervised


def _named(path: Path) -> Optional[_Manifest]:
    found = _NAME.fullmatch(path.name)
    return _Manifest(path, found["kind"].lower(), found["before"], found["part"]) if found is not None else None


def _in_folder(folder: Path) -> List[_Manifest]:
    named = (_named(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name[0] != ".")
    return [one for one in named if one is not None]


def _pair(one: _Manifest, other: Optional[_Manifest]) -> bool:
    return other is not None and (one.before, one.part) == (other.before, other.part)


def _beside(manifest: _Manifest) -> Path:
    """The recordings of supervisions. Raises BadData."""
    there = _in_folder(manifest.path.parent)
    found = next((one.path for one in there if one.kind == "recordings" and _pair(one, manifest)), None)
    if found is None:
        wanted = manifest.path.name.replace("supervisions", "recordings")
        raise BadData(f"{manifest.path} has no recordings beside it", fix=f"put {wanted} there, or give cuts")
    return found


class _Reader:
    """Makes utterances of supervisions, and keeps account of what can not be used."""

    def __init__(self, request: CorpusRequest) -> None:
        self._request = request
        self._map = path_map.PathMap(request)
        self._unusable: Dict[str, Tally] = {}
        self._seen: Set[bytes] = set()
        self._again, self._silent, self._moved, self._lost = Tally(), Tally(), Tally(), Tally()
        self._count = 0

    def of_cuts(self, manifest: _Manifest, cuts: Iterable[Mapping[str, Any]]) -> Iterator[Utterance]:
        for cut in cuts:
            yield from self._of_cut(manifest, cut)

    def _of_cut(self, manifest: _Manifest, cut: Mapping[str, Any]) -> Iterator[Utterance]:
        name = str(cut.get("id", ""))
        if cut.get("type") == "MixedCut" or "tracks" in cut:
            yield self._rejected(manifest, name, "", "mixed")
            return
        supervisions = cut.get("supervisions")
        if not isinstance(supervisions, list) or not supervisions:
            self._silent.add(f"{name} of {manifest.path}")
            return
        for one in supervisions:
            if self._is_new(one):
                yield from self._one(manifest, one, cut.get("recording"), cut.get("start", 0.0))

    def _is_new(self, one: Any) -> bool:
        """Whether a supervision comes for the first time: cut into windows, it is in each that it touches."""
        if not isinstance(one, dict) or not isinstance(one.get("id"), str):
            return True
        key = hashlib.blake2b(one["id"].encode("utf-8", "surrogatepass"), digest_size=8).digest()
        if key in self._seen:
            self._again.add(one["id"])
            return False
        self._seen.add(key)
        return True

    def of_supervisions(
        self, manifest: _Manifest, recordings: Iterable[Any], supervisions: Iterable[Any]
    ) -> Iterator[Utterance]:
        # Without a name, SQLite makes a file of its own that no killed program leaves behind.
        with closing(sqlite3.connect("", isolation_level=None)) as database:
            database.execute("CREATE TABLE recordings (id TEXT PRIMARY KEY, value TEXT)")
            rows = ((str(one.get("id", "")), json.dumps(one)) for one in recordings)
            database.executemany("INSERT OR REPLACE INTO recordings VALUES (?, ?)", rows)
            for one in supervisions:
                row = database.execute(
                    "SELECT value FROM recordings WHERE id = ?", (str(one.get("recording_id", "")),)
                ).fetchone()
                yield from self._one(manifest, one, files.parse_json(row[0]) if row is not None else None, 0.0)

    def _one(self, manifest: _Manifest, one: Any, recording: Any, offset: Any) -> Iterator[Utterance]:
        if not isinstance(one, dict):
            yield self._rejected(manifest, "", "", "shape")
            return
        name, text = str(one.get("id", "")), one.get("text")
        text = text.strip() if isinstance(text, str) else ""
        times = [offset, one.get("start", 0.0), one.get("duration")]
        if not name or not all(map(_is_time, times)):
            yield self._rejected(manifest, name, text, "shape")
            return
        start, end = times[0] + times[1], times[0] + times[1] + times[2]
        try:
            audio, channel, length = self._audio(manifest, recording, one.get("channel", 0))
        except _Unusable as problem:
            yield self._rejected(manifest, name, text, str(problem))
            return
        self._count += 1
        is_whole = start <= _WHOLE_S and length is not None and end >= length - _WHOLE_S
        speaker = one.get("speaker")
        yield Utterance(
            name,
            audio,
            text,
            manifest.split,
            speaker=str(speaker) if speaker not in (None, "") else None,
            start_s=None if is_whole else round(max(0.0, start), 6),
            end_s=None if is_whole else round(end, 6),
            channel=channel,
        )

    def _audio(self, manifest: _Manifest, recording: Any, wanted: Any) -> Tuple[str, Optional[int], Optional[float]]:
        """(path, channel, seconds of the recording). Raises _Unusable."""
        if not isinstance(recording, dict):
            raise _Unusable("missing")
        if recording.get("transforms"):
            raise _Unusable("transform")
        sources = recording.get("sources")
        if not isinstance(sources, list) or not all(isinstance(one, dict) for one in sources) or not sources:
            raise _Unusable("shape")
        channels = wanted if isinstance(wanted, list) else [wanted]
        held = [(one, one.get("channels") if isinstance(one.get("channels"), list) else [0]) for one in sources]
        source, inside = next(((one, of) for one, of in held if channels and channels[0] in of), held[0])
        kind = source.get("type")
        if kind != "file" or not isinstance(source.get("source"), str):
            raise _Unusable(kind if isinstance(kind, str) and kind in _CURES else "shape")
        # All channels that the file has are its mixture, which needs no word.
        alone = channels[0] if len(channels) == 1 and len(inside) > 1 and channels[0] in inside else None
        if alone is None and len(inside) > 1:
            alone = self._request.options.get(CHANNEL.key)
        length = recording.get("duration")
        return (
            self._found(manifest.path.parent, source["source"]),
            inside.index(alone) if alone is not None else None,
            length if isinstance(length, (int, float)) else None,
        )

    def _found(self, folder: Path, written: str) -> str:
        """Where a recording is. lhotse writes paths as they were given, often from a folder above the manifest."""
        mapped = Path(self._map(written))
        parts = mapped.parts
        bases = (folder, *list(folder.absolute().parents)[:_ANCESTORS])
        places = [base / mapped for base in bases] + [folder.joinpath(*parts[at:]) for at in range(1, len(parts))]
        for at, path in enumerate(places):
            if files.is_file(path):
                if at:
                    self._moved.add(f"{written} ({path})")
                return str(path)
        self._lost.add(path_map.proposal(written, None, str(folder)))
        return str(places[0])

    def _rejected(self, manifest: _Manifest, name: str, text: str, why: str) -> Utterance:
        """A path that can not exist: the utterance is rejected for want of audio."""
        self._count += 1
        name = name or f"{manifest.path.name}-{self._count}"
        self._unusable.setdefault(why, Tally()).add(name)
        return Utterance(name, f"{manifest.path}/{name}", text, manifest.split)

    def tell(self, source: Path) -> None:
        """Raises BadData where there is nothing."""
        if not self._count:
            why = f": {amounts.count(self._silent.count, 'cut has', 'cuts have')} none" if self._silent else ""
            raise BadData(f"{source} holds no supervisions{why}", fix="give cuts or supervisions with a text")
        emit, hint = self._request.emit, self._request.hint
        self._map.tell()
        if self._silent:
            count = amounts.count(self._silent.count, "cut has", "cuts have")
            emit(Note(f"{count} no supervision, such as {self._silent.first}"))
        if self._again:
            count = amounts.count(self._again.count, "supervision comes", "supervisions come")
            emit(Note(f"{count} again in another cut, and is taken once, such as {self._again.first}"))
        if self._moved:
            count = amounts.count(self._moved.count, "path leads", "paths lead")
            emit(Note(f"{count} from another folder than that of the manifest, such as {self._moved.first}"))
        if self._lost:
            hint("no-audio", self._lost.first)
        for why, tally in self._unusable.items():
            count = amounts.count(tally.count, "recording", "recordings")
            emit(Warned(f"{count} can not be used, such as that of {tally.first}, which {_CURES[why]}"))
        if self._unusable and not self._lost:
            why = max(self._unusable, key=lambda one: self._unusable[one].count)
            hint("no-audio", _CURES[why].partition(": ")[2])


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LONGEST_S


def _recognizes(path: Path) -> Match:
    """Certain where the first kilobytes of what is called as a manifest have lhotse's keys."""
    if path.is_dir():
        there = _in_folder(path)
        return Match.CERTAIN if any(_looks(one.path) for one in there if one.kind != "recordings") else Match.NO
    is_json = path.is_file() and path.name.endswith((".jsonl", ".jsonl.gz", ".json"))
    return Match.CERTAIN if is_json and _looks(path) else Match.NO


def _looks(path: Path) -> bool:
    try:
        with gzip.open(str(path)) if path.suffix == ".gz" else open(path, "rb") as stream:
            return bool(_OF_LHOTSE.search(stream.read(_HEAD)))
    except (EOFError, zlib.error, OSError):
        return False


CORPUS = Corpus(
    name="lhotse",
    help="Manifests of lhotse: cuts, or recordings with supervisions; lhotse:NAME reads a corpus by its recipe.",
    read=utterances,
    source="MANIFEST",
    examples=("cuts.jsonl.gz", "manifests --map /data/corpora=/mnt/corpora", "TIMIT --recipe timit"),
    options=(CHANNEL, path_map.OPTION, _RECIPE, _ARGUMENT),
    variant=_RECIPE.key,
    recognizes=_recognizes,
    default_name=named_as_folder,
)
