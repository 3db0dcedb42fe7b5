"""Manifests of NeMo: JSON lines with audio_filepath, text, duration, offset and others, of files or of tarred shards.

What rows mean is what docs.nvidia.com/nemo/speech/latest/asr/datasets.html says, and NeMo's own readers do
(nemo/collections/common/data/lhotse/nemo_adapters.py): a row marked `_skipme` is left out; of a tarred dataset,
`audio_filepath` is a member of audio_N.tar, where N is `shard_id`, and several stretches of one member are called
NAME-sub1.EXT, NAME-sub2.EXT and so on.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from asrctl.data.corpora import manifest
from asrctl.data.corpus import Corpus, CorpusOption, CorpusRequest, Match, named_as_file, named_as_folder
from asrctl.data.reading import channels, nemo_manifests, path_map, tables
from asrctl.data.reading.nemo_manifests import PATH_KEYS, Manifests
from asrctl.data.reading.recording_paths import Places
from asrctl.data.reading.split_names import SplitFolders, split_of
from asrctl.data.reading.tally import Tally
from asrctl.data.reading.walk import Walk
from asrctl.data.utterance import ARCHIVE_SEPARATOR, Utterance, split_path
from asrctl.errors import BadData
from asrctl.events import Emit, Note, Warned
from asrctl.messages import amounts
from asrctl.storage import addresses, files

_SUB = re.compile(r"^(.+)-sub\d+(\.\w+)?$")
# What NeMo keeps for its own records, and what is read here already.
_RECORDS = ("shard_id", "source_audio_offset", "abs_audio_filepath", "sampling_rate", "orig_sample_rate", "_skipme")
_TEXTS = ("text", "normalized_text")
_MAX_TEXT_BYTES = 1 << 20
_LONGER_S = 0.5
# Recordings whose lengths are compared with what their rows say.
_COMPARED = 2000
_MOST_LANGUAGES = 10


def utterances(request: CorpusRequest) -> Iterator[Utterance]:
    """The rows of all manifests. Raises BadData, UsageError."""
    reader = _Reader(request)
    yield from channels.chosen(request, reader.read())
    reader.tell()


class _OneSplit(SplitFolders):
    """What a row is for is what its manifest is for."""

    split = "train"

    def of(self, name: str) -> str:
        return self.split

    def tell(self, emit: Emit) -> None:
        """There is nothing to tell."""


class _Reader:
    """Reads manifests, and keeps account of what people may want to know of them."""

    def __init__(self, request: CorpusRequest) -> None:
        self._request = request
        self._walk = Walk(request.source, request.root) if request.source is not None else None
        self._split = _OneSplit(request.source or Path(), used=False)
        self._account = manifest.Account(self._split, Places(path_map.PathMap(request), request.remote))
        self._tars = nemo_manifests.tars(
            [path for pattern in request.options.get("tars", ()) for path in self._here(pattern)]
        )
        self._languages: "Counter[str]" = Counter()
        self._skipped, self._longer, self._no_text = Tally(), Tally(), Tally()
        self._compared = 0

    def read(self) -> Iterator[Utterance]:
        """Raises BadData, UsageError."""
        found = self._found()
        # Manifests of several folders may all name wavs/1.wav.
        base = os.path.commonpath([str(path.absolute().parent) for one in found for path in one.files])
        for manifests in found:
            self._split.split = manifests.split
            for path in manifests.files:
                self._request.before_reading(str(path))
                inside = path.absolute().parent.relative_to(base).as_posix()
                root, account = self._request.root, self._account
                yield from manifest.read(path, root=root, inside=inside, account=account, rows=self._rows(path))

    def tell(self) -> None:
        """What was left out, and what may be meant otherwise."""
        emit = self._request.emit
        if self._walk is not None:
            self._walk.tell(emit)
        self._account.tell(self._request)
        if self._skipped:
            emit(Note(f"{amounts.count(self._skipped.count, 'row')} marked _skipme left out: {self._skipped.first}"))
        if self._longer:
            one, many = (
                "recording is longer than its row says, and is",
                "recordings are longer than their rows say, and are",
            )
            told = f"{amounts.count(self._longer.count, one, many)} read whole, such as {self._longer.first}"
            emit(Warned(f'{told}; if only the beginning is meant, add "offset": 0'))
        if len(self._languages) > 1 and not self._request.options.get("lang"):
            named = ", ".join(f"{name} {count}" for name, count in self._languages.most_common(_MOST_LANGUAGES))
            emit(Note(f"rows of several languages are read ({named}); --lang takes some of them"))
        if self._no_text:
            self._request.hint("no-transcript", f"say which key holds the text (--text-field): {self._no_text.first}")

    def _here(self, pattern: str) -> List[Path]:
        """The files that a pattern stands for, fetched where they lie elsewhere. Raises BadData, MissingArtifact."""
        remote = self._request.remote
        if remote is None or not addresses.is_known(pattern):
            return nemo_manifests.expanded(pattern)
        found = [addresses.parsed(word) for word in nemo_manifests.words(pattern)]
        for address in found:
            remote.ahead(address)
        return [remote.get(address) for address in found]

    # -- which manifests ----------------------------------------------------------------------------------------------

    def _found(self) -> List[Manifests]:
        """Raises BadData, UsageError."""
        wanted = [*self._request.splits, *self._request.optional_splits]
        named = [
            Manifests(word, nemo_manifests.expanded(word), word)
            for word in wanted
            if word.endswith(nemo_manifests.SUFFIXES) and files.is_file(nemo_manifests.expanded(word)[0])
        ]
        if self._request.source is None:
            if not named:
                CORPUS.needed(self._request)
            return named
        taken = {path.resolve() for one in named for path in one.files}
        found = [one for one in self._at(self._request.source) if not taken & {path.resolve() for path in one.files}]
        return named + [self._called(one, wanted) for one in found]

    def _at(self, source: Path) -> List[Manifests]:
        """Raises BadData."""
        if not source.is_dir():
            paths = nemo_manifests.expanded(str(source))
            missing = next((path for path in paths if not files.is_file(path)), None)
            if missing is not None:
                raise BadData(f"there is no manifest {missing}", fix="check the path")
            return [Manifests(source.name, paths, split_of(source.name) or "train")]
        found: List[Manifests] = []
        for folder, names in self._walk.below(source) if self._walk is not None else ():
            name = Path(folder).relative_to(source).as_posix()
            found += nemo_manifests.in_folder(Path(folder), name, names)
        if not found:
            raise BadData(
                f"{source} holds no manifest of NeMo",
                fix='give JSON lines with "audio_filepath", "text" and "duration", or the folder that holds them',
            )
        only = found[0]
        is_unclear = len(found) == 1 and only.split not in ("train", "eval", "test")
        return [only._replace(split="train")] if is_unclear else found

    @staticmethod
    def _called(manifests: Manifests, wanted: List[str]) -> Manifests:
        """The same, with the name that the user has for it as its split."""
        path = Path(manifests.name)
        names = (manifests.name, path.name, path.with_suffix("").as_posix(), path.stem)
        return manifests._replace(split=next((name for name in names if name in wanted), manifests.split))

    # -- rows ---------------------------------------------------------------------------------------------------------

    def _rows(self, path: Path) -> Iterator[Tuple[int, tables.Row]]:
        """Those that are meant, as a list of asrctl's own would have them. Raises BadData."""
        archives: Optional[Dict[int, Path]] = None
        languages = self._request.options.get("lang") or ()
        for number, row in tables.json_rows(path):
            if isinstance(row, str):
                yield number, row
                continue
            made = dict(row)
            if made.get("_skipme"):
                self._skipped.add(f"{path}, line {number}")
                continue
            language = made.pop("lang", None)
            if languages and language not in languages:
                continue
            self._languages[str(language)] += 1
            made["text"] = self._text(made, path)
            shard = made.get(
                "shard_id", nemo_manifests.shard_of(path.name) if path.parent.name == "sharded_manifests" else None
            )
            if shard is not None:
                archives = self._archives(path) if archives is None else archives
                problem = _put_into_archive(made, shard, archives)
                if problem:
                    yield number, problem
                    continue
            else:
                self._compare(made, path)
            for key in _RECORDS:
                made.pop(key, None)
            yield number, made

    def _archives(self, path: Path) -> Dict[int, Path]:
        found = self._tars or nemo_manifests.tars_beside(path)
        if not found:
            raise BadData(
                f"{path} is of a tarred dataset, and no audio_N.tar is beside it",
                fix="say where they are with --tars, such as --tars 'FOLDER/audio_{0..7}.tar'",
            )
        return found

    def _text(self, row: Dict[str, Any], path: Path) -> Any:
        """The text of a row, taken out of it; "" where there is none."""
        field = self._request.options.get("text_field")
        keys = (field,) if field else _TEXTS
        found = next((row.pop(key) for key in keys if row.get(key) is not None), None)
        for key in _TEXTS if found is not None else ():
            row.pop(key, None)
        beside = row.pop("text_filepath", None)
        if found is None and isinstance(beside, str) and not field:
            found = _read_text(path.parent / beside)
        if found is None:
            self._no_text.add(f"{path} has {', '.join(list(row)[:10])}")
        return "" if found is None else found

    def _compare(self, row: Mapping[str, Any], path: Path) -> None:
        """Whether a recording is longer than its row says, where NeMo would read no more than that."""
        from asrctl.data import audio  # brings numpy, which the help must not load

        length_s = row.get("duration")
        written = next((row[key] for key in PATH_KEYS if isinstance(row.get(key), str)), None)
        is_open = row.get("offset") is None and isinstance(length_s, (int, float)) and self._compared < _COMPARED
        if written is None or not is_open or split_path(written)[1] is not None:
            return
        self._compared += 1
        found_s = audio.duration_s(Path(self._account.places.find(str(path.parent), written)))
        if found_s is not None and isinstance(length_s, (int, float)) and found_s > length_s + _LONGER_S:
            self._longer.add(f"{written} ({found_s:.2f} s, not {length_s:g})")


def _put_into_archive(row: Dict[str, Any], shard: Any, archives: Mapping[int, Path]) -> Optional[str]:
    """Make the path of a row that of a member; what is wrong, where that can not be."""
    key = next((key for key in PATH_KEYS if isinstance(row.get(key), str)), None)
    number = int(shard) if str(shard).isdigit() else None
    if key is None:
        return f"it has no {PATH_KEYS[0]}"
    archive = archives.get(number) if number is not None else None
    if archive is None:
        return f"there is no archive of shard {shard}"
    written = row[key]
    row.setdefault("id", f"{shard}/{written}")
    found = _SUB.fullmatch(written)
    member = written if found is None else f"{found.group(1)}{found.group(2) or ''}"
    row[key] = f"{archive.absolute()}{ARCHIVE_SEPARATOR}{member}"
    return None


def _read_text(path: Path) -> Optional[str]:
    try:
        return files.read_bytes(path, fix="", most=_MAX_TEXT_BYTES).decode("utf-8-sig").replace("\n", " ").strip()
    except (BadData, OSError, UnicodeDecodeError):
        return None


def _recognizes(path: Path) -> Match:
    """Certain where only NeMo writes so; else a list of asrctl's own, or a folder, is as likely."""
    if path.is_dir():
        is_tarred = any(nemo_manifests.TARRED.fullmatch(one.name) for one in path.glob("tarred_audio_manifest*"))
        return Match.CERTAIN if is_tarred or (path / nemo_manifests.SHARDS).is_dir() else Match.NO
    row = nemo_manifests.first_row(path) if path.name.lower().endswith(nemo_manifests.SUFFIXES) else {}
    return Match.CERTAIN if "shard_id" in row or "_skipme" in row else Match.POSSIBLE if row else Match.NO


def _default_name(source: str) -> str:
    return named_as_folder(source) if Path(source).is_dir() else named_as_file(source)


def _split_label(split: str) -> str:
    """A manifest that is a split is named by its path, which says where it lies."""
    return Path(split).name if split.endswith(nemo_manifests.SUFFIXES) else split


def _some_pattern(word: str) -> str:
    """Raises ValueError."""
    found = nemo_manifests.expanded(word)
    if not nemo_manifests.tars(found):
        raise ValueError("no such name as audio_0.tar, or audio_{0..7}.tar")
    if not addresses.is_known(word) and not files.is_file(found[0]):
        raise ValueError(f"there is no {found[0]}")
    return word


CORPUS = Corpus(
    name="nemo",
    help="Manifests of NeMo (JSON lines: audio_filepath, text, duration), tarred or not; each is a split by its name.",
    read=utterances,
    source="FILE_OR_FOLDER",
    examples=("manifests", "train.json --map /data=/mnt/data"),
    options=(
        channels.OPTION,
        path_map.OPTION,
        CorpusOption("--text-field", "Key of the text; default: text, else normalized_text.", metavar="KEY"),
        CorpusOption("--lang", "Take the rows of this language.", metavar="LANG", repeatable=True),
        CorpusOption(
            "--tars",
            "Archives of a tarred dataset that do not lie beside its manifest, such as audio_{0..7}.tar.",
            metavar="PATTERN",
            type=_some_pattern,
            repeatable=True,
        ),
    ),
    recognizes=_recognizes,
    default_name=_default_name,
    split_label=_split_label,
)
