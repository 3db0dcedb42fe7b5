"""A data folder of Kaldi, or a folder of several: wav.scp, text, and segments, utt2spk and others where they are there.

As kaldi-asr.org/doc/data_prep.html has it: each line is "KEY VALUE". Without segments the keys of wav.scp are
utterances; with them they are recordings, and a line "UTTERANCE RECORDING START END [CHANNEL]" says where in one an
utterance is. START and END are seconds, and -1 is the recording's end; an end that is less than half a second too late
is the recording's (src/featbin/extract-segments.cc). ESPnet and others use the same files.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import re
import shlex
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Set, Tuple

from asrctl.data.corpora import kind_of
from asrctl.data.corpus import Corpus, CorpusOption, CorpusRequest, Match, named_as_folder
from asrctl.data.reading import channels, path_map
from asrctl.data.reading.commands import OUTPUTS, Commands
from asrctl.data.reading.kaldi_folder import SCP, SEGMENTS, TEXT, Recordings, Speakers, number, stretches
from asrctl.data.reading.keyed import Lookup, lines
from asrctl.data.reading.recording_paths import Places
from asrctl.data.reading.split_names import SplitFolders
from asrctl.data.reading.tally import Tally
from asrctl.data.reading.walk import Walk
from asrctl.data.utterance import Utterance
from asrctl.errors import BadData, UsageError
from asrctl.events import Note, Warned
from asrctl.messages import amounts
from asrctl.storage import files

# What an archive of Kaldi is named with: its path, where the object begins, and perhaps a range in it.
_IN_ARCHIVE = re.compile(r"(.+):\d+(\[[\d,:]+\])?")
_SKETCH = 64
_ABOVE = 3


class _DataFolder(NamedTuple):
    """name: its path in the corpus, with slashes. split: the one that its utterances are for."""

    path: Path
    name: str
    split: str


def utterances(request: CorpusRequest) -> Iterator[Utterance]:
    """Those of all data folders, in the order of their files. Raises BadData, StorageError, UsageError."""
    source = CORPUS.needed(request)
    if not source.is_dir():
        raise BadData(f"{source} is no folder", fix="give the folder that holds wav.scp and text")
    if request.options.get("allow_commands") and request.root is not None:
        raise UsageError("what commands write lies in the workspace, not under --root", fix="leave one of them out")
    reader = _Reader(source, request)
    yield from channels.chosen(request, reader.read())
    reader.tell()


class _Reader:
    """Reads data folders, and keeps account of what people may want to know of them."""

    def __init__(self, source: Path, request: CorpusRequest) -> None:
        self._source = source
        self._request = request
        self._walk = Walk(source, request.root)
        self._splits = SplitFolders(source)
        self._map = path_map.PathMap(request)
        self._places = Places(self._map, request.remote)
        self._commands = Commands(
            request.cache if request.write else None, int(request.options.get("commands_gb", 50.0) * 1e9)
        )
        self._lone, self._mute, self._unknown = Tally(), Tally(), Tally()
        self._other_lengths, self._elsewhere = Tally(), Tally()

    def read(self) -> Iterator[Utterance]:
        """Raises BadData, StorageError, OSError."""
        folders = self._folders()
        for folder in folders:
            _refuse(folder.path / SCP, self._request)
        for folder in folders:
            yield from self._utterances(folder)

    def tell(self) -> None:
        """What was found in other places, what fits not together, and what helps against rejects."""
        emit, hint = self._request.emit, self._request.hint
        self._walk.tell(emit)
        self._splits.tell(emit)
        self._places.tell(emit, hint)
        if self._elsewhere:
            emit(Note(f"paths of wav.scp lead from {self._elsewhere.first}"))
        if self._other_lengths:
            one, many = "recording is not as long as", "recordings are not as long as"
            told = amounts.count(self._other_lengths.count, one, many)
            emit(Warned(f"{told} reco2dur says, such as {self._other_lengths.first}: is it the right audio?"))
        if self._commands.run and not self._request.write:
            emit(Note(f"{amounts.count(self._commands.run, 'command')} of wav.scp would be run"))
        if self._unknown:
            hint("no-audio", f"give each recording a line in wav.scp: {self._unknown.first} has none")
        if self._lone:
            hint("no-audio", f"give each line of text its audio, or leave it out: {self._lone.first} has none")
        if self._commands.failed:
            hint("no-audio", f"correct the commands, or install what they call: {self._commands.failed.first}")
        if self._mute:
            hint("no-transcript", f"give each utterance a line in text: {self._mute.first} has none")
        hint("outside", "correct segments, whose times are seconds, or check that wav.scp leads to the right audio")

    # -- folders ------------------------------------------------------------------------------------------------------

    def _folders(self) -> List[_DataFolder]:
        """The data folders to read, those named by the user first. Raises BadData."""
        found = [Path(folder) for folder, names in self._walk.below(self._source, last=_is_data) if _is_data(names)]
        with_text = [folder for folder in found if files.is_file(folder / TEXT)]
        if not with_text:
            kind = kind_of(self._source) if not found else None
            other = f", or use asrctl prepare {kind} {shlex.quote(str(self._source))}" if kind else ""
            what = f"no file {TEXT} beside {SCP}" if found else f"no {SCP}"
            raise BadData(f"{self._source} holds {what}", fix=f"give a data folder of Kaldi that has both{other}")
        if len(with_text) < len(found):
            first = next(folder for folder in found if folder not in with_text)
            count = amounts.count(len(found) - len(with_text), "folder has", "folders have")
            self._request.emit(Warned(f"{count} no file {TEXT} and is not read, such as {first}"))
        return self._without_copies([self._data_folder(folder) for folder in with_text])

    def _data_folder(self, path: Path) -> _DataFolder:
        name = path.relative_to(self._source).as_posix()
        if name == ".":  # one data folder: its own name is all that says what it is for
            name = path.resolve().name
            return _DataFolder(path, name, self._split(name, SplitFolders(path.resolve().parent)))
        return _DataFolder(path, name, self._split(name, self._splits))

    def _split(self, name: str, folders: SplitFolders) -> str:
        wanted = self._request.splits + self._request.optional_splits
        named = next((word for word in (name, name.rpartition("/")[2]) if word in wanted), None)
        return named or folders.of(f"{name}/{SCP}")

    def _without_copies(self, folders: List[_DataFolder]) -> List[_DataFolder]:
        """Recipes make train_sp, train_hires and others of train: of folders with the same utterances one is read."""
        wanted = self._request.splits + self._request.optional_splits
        kept: List[Tuple[_DataFolder, Set[int]]] = []
        for folder in sorted(folders, key=lambda folder: (folder.split not in wanted, len(folder.name), folder.name)):
            sketch = _sketch(folder.path / TEXT) if len(folders) > 1 else set()
            other = next((other.name for other, seen in kept if seen & sketch), None)
            if other is None:
                kept.append((folder, sketch))
                continue
            instead = f"--train {shlex.quote(folder.name)}"
            self._request.emit(
                Warned(f"{folder.name} is left out: it has utterances of {other}; {instead} reads it instead")
            )
        order = {folder.name: at for at, folder in enumerate(folders)}
        return sorted((folder for folder, _ in kept), key=lambda folder: order[folder.name])

    # -- one folder ---------------------------------------------------------------------------------------------------

    def _utterances(self, folder: _DataFolder) -> Iterator[Utterance]:
        path = folder.path
        for name in (SCP, TEXT, SEGMENTS, "utt2spk", "spk2utt", "reco2dur", "reco2file_and_channel"):
            if files.is_file(path / name):
                self._request.before_reading(str(path / name))
        texts, speakers = Lookup(path / TEXT), Speakers(path)
        recordings = Recordings(path, lambda recording, written: self._found(path, recording, written))
        for utterance, stretch in stretches(path):
            text = texts.get(utterance)
            if text is None:
                self._mute.add(utterance)
            found = recordings.of(stretch)
            yield Utterance(
                id=utterance,
                audio=found.path,
                text=text or "",
                split=folder.split,
                speaker=speakers.of(utterance),
                start_s=stretch.start_s or None,
                end_s=found.end_s(stretch),
                channel=found.channel(stretch),
            )
        for recording, told_s, found_s in recordings.other_lengths:
            self._other_lengths.add(f"{recording} ({found_s:.2f} s, not {told_s:g})")
        for line in texts.rest():
            self._lone.add(line.key)
            yield Utterance(line.key, str(path / line.key), line.value, folder.split, speakers.of(line.key))

    def _found(self, folder: Path, recording: str, written: Optional[str]) -> str:
        """The path of a recording, or of what its command writes. written: in wav.scp."""
        if written is None:
            self._unknown.add(recording)
            return str(folder / recording)
        if written.endswith("|"):
            command = self._map.in_command(written[:-1].strip())
            return self._commands.output(command, _base_of_command(folder, command))
        moved = self._map(written)
        for base in (folder, *_bases(folder)) if not Path(moved).is_absolute() else ():
            if files.is_file(base / moved):
                if base != folder:
                    self._elsewhere.add(str(base))
                return str(base / moved)
        return self._places.find(str(folder), written)


def _is_data(names: List[str]) -> bool:
    return SCP in names


def _refuse(path: Path, request: CorpusRequest) -> None:
    """Raises BadData where wav.scp leads into archives, or to commands that nobody has allowed."""
    commands = Tally()
    for line in lines(path, names_files=True):
        where = f"{path}, line {line.number}"
        found = _IN_ARCHIVE.fullmatch(line.value)
        if not line.value or line.value == "-":
            raise BadData(f"{where}: {line.key} names no file", fix="write the path of the recording behind its name")
        if line.value.endswith("|"):
            commands.add(f"line {line.number}: {line.value}")
        elif found is not None and not files.is_file(path.parent / line.value):
            raise BadData(
                f"{where} leads into an archive of Kaldi ({line.value}), which is not read",
                fix=f"write each recording to a file, as Kaldi's `wav-copy {line.value} {line.key}.wav` does, and name "
                "these files in wav.scp",
            )
    if commands and not request.options.get("allow_commands"):
        raise BadData(
            f"{path} names {amounts.count(commands.count, 'command')} in place of files ({commands.first})",
            fix="read them, and add --allow-commands to run them in your shell, or write their output to files and "
            "name these",
        )


def _bases(folder: Path) -> Iterator[Path]:
    """Where relative paths may lead from beside the data folder: recipes run two folders above it, or here."""
    yield from list(folder.resolve().parents)[:_ABOVE]
    yield Path.cwd()


def _base_of_command(folder: Path, command: str) -> Path:
    """The folder from which a command finds the files that it names."""
    words = [word for word in re.findall(r"[^\s'\"|;<>()]+", command) if "/" in word or "." in word]
    relative = [word for word in words if not Path(word).is_absolute()]
    for base in (folder, *_bases(folder)):
        if any(files.is_file(base / word) for word in relative):
            return base
    return folder


def _sketch(path: Path) -> Set[int]:
    """The least of the hashes of all keys: two files that share many of their keys share some of these."""
    hashes = (hashlib.blake2b(os.fsencode(line.key), digest_size=8).digest() for line in lines(path))
    return set(heapq.nsmallest(_SKETCH, (int.from_bytes(one, "big") for one in hashes)))


def _recognizes(path: Path) -> Match:
    if not path.is_dir():
        return Match.NO
    if files.is_file(path / SCP):
        return Match.CERTAIN
    with os.scandir(path) as entries:
        folders = sorted(entry.path for entry in entries if Path(entry).is_dir())[:100]
    return Match.CERTAIN if any(files.is_file(Path(folder) / SCP) for folder in folders) else Match.NO


def _gigabytes(word: str) -> float:
    value = number(word)
    if value is None or value <= 0:
        raise ValueError("no number above 0")
    return value


CORPUS = Corpus(
    name="kaldi",
    help="A data folder of Kaldi or ESPnet (wav.scp, text, segments, utt2spk), or a folder of several.",
    read=utterances,
    source="FOLDER",
    examples=("data", "data/train --allow-commands"),
    options=(
        channels.OPTION,
        path_map.OPTION,
        CorpusOption("--allow-commands", "Run the commands that stand for recordings in wav.scp.", type=bool),
        CorpusOption(
            "--commands-gb",
            "Most disk, in GB, that the output of commands may take.",
            metavar="GB",
            type=_gigabytes,
            default=50.0,
        ),
    ),
    recognizes=_recognizes,
    default_name=named_as_folder,
    cache_files=OUTPUTS,
)
