"""Common Voice (Ardila et al. 2020): a release as it is unpacked, RELEASE/LOCALE/{*.tsv, clips/}, or its .tar.gz.

Tables are written without quoting, so that `"` is a character like any other (CorporaCreator issue #61); up to 2020
some cells were quoted as csv does (issue #108 shows one), which `Cells` tells by the doubled quotes within. The first
release names clips without ".mp3". Who speaks is named by a digest that is the same in all releases, and so points at
a person: utterances carry a label instead, made of it with the workspace's own salt.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path, PurePosixPath
from typing import Dict, Iterator, Mapping, Optional, Sequence, Set

from asrctl.data.corpus import SPLIT_NAMES, Corpus, CorpusOption, CorpusRequest, Match
from asrctl.data.reading import tables
from asrctl.data.reading.commonvoice_release import CLIPS, Clip, Place, folders, opened
from asrctl.data.reading.file_names import is_audio
from asrctl.data.reading.tally import Tally
from asrctl.data.utterance import ARCHIVE_SUFFIXES, Utterance
from asrctl.errors import BadData, UsageError
from asrctl.events import Note, Warned
from asrctl.messages import amounts

# Splits whose clips are in validated.tsv too.
_VALIDATED = ("train", "dev", "test")
_HELD_OUT = ("dev", "test")
_FLAG = "--validated-without-test"
# All that releases from 2019 to 2026 say of a clip beside what is read. None changes what a row means: they tell of the
# speaker, of the sentence, and of the part of a release that a sentence was collected for.
_KNOWN = frozenset(
    (
        "client_id", "path", "sentence", "sentence_id", "sentence_domain", "up_votes", "down_votes", "age", "gender",
        "accent", "accents", "variant", "locale", "segment", "duration", "duration_ms",
    )
)  # fmt: skip
_LABEL_DIGITS = 16


def utterances(request: CorpusRequest) -> Iterator[Utterance]:
    """The utterances of the wanted splits. Raises BadData, UsageError."""
    with opened(CORPUS.needed(request), request) as release:
        yield from _Reader(release, request).read()


class _Reader:
    """Reads the tables of a release, and keeps account of what people may want to know."""

    def __init__(self, release: Place, request: CorpusRequest) -> None:
        self._release = release
        self._request = request
        self._salt = request.salt()
        self._without_test = bool(request.options.get("validated_without_test"))
        self._others: Dict[str, None] = {}
        self._bad, self._mute = Tally(), Tally()
        self._clips: Set[bytes] = set()
        self._people: Set[str] = set()
        self._sentences: Set[bytes] = set()
        self._held_clips, self._of_held_people, self._same_sentence = Tally(), Tally(), Tally()

    def read(self) -> Iterator[Utterance]:
        """Raises BadData, UsageError."""
        self._check()
        wanted = self._request.splits + self._request.optional_splits
        for split in wanted:
            table = "validated" if split == "train" and self._without_test else split
            if table not in self._release.splits:
                continue
            for clip, audio in self._release.in_order(self._kept(table)):
                yield Utterance(clip.id, audio, clip.text, split, speaker=self._label(clip.client))
            if split == "invalidated":
                self._request.emit(Warned("invalidated.tsv holds the clips that people found not to say the sentence"))
        self._tell()

    def _check(self) -> None:
        """Raises BadData where a split is not there, UsageError where two hold the same clips."""
        request, there = self._request, self._release.splits
        wanted = [split for split in request.splits + request.optional_splits if split in there]
        trained = "validated" if self._without_test else "train"
        missing = [
            split for split in request.splits if split not in there and (split, trained) != ("train", "validated")
        ]
        if missing or (self._without_test and trained not in there):
            usable = [split for split in there if split != "invalidated"]
            if not missing:
                fix = f"leave {_FLAG} out, or fetch the release again"
                raise BadData(f"{self._release.name} has no validated.tsv (it has {', '.join(there)})", fix=fix)
            raise BadData(
                f"{self._release.name} has no {missing[0]}.tsv (it has {', '.join(there)})",
                fix=f"choose the splits, such as `--train {usable[0]}`" if usable else "fetch the release again",
            )
        if self._without_test and not {"train", "validated"} & {*request.splits, *request.optional_splits}:
            raise UsageError(f"{_FLAG} says what to train on, and no split is for training", fix=f"leave {_FLAG} out")
        twice = [split for split in _VALIDATED if split in wanted and (split == "train" or not self._without_test)]
        if "validated" in wanted and twice:
            cure = "leave one of them out" if self._without_test else f"use {_FLAG} in place of --train validated"
            raise UsageError(f"validated.tsv holds the clips of {' and '.join(twice)} too", fix=cure)

    def _kept(self, table: str) -> Iterator[Clip]:
        """The rows of a table, of validated without those that evaluation must not have met."""
        if table != "validated" or not self._without_test:
            yield from self._rows(table)
            return
        self._hold_out()
        for clip in self._rows(table):
            if _short(clip.file) in self._clips:
                self._held_clips.add(clip.file)
            elif clip.client in self._people:
                self._of_held_people.add(clip.file)
            else:
                if _short(clip.text.casefold()) in self._sentences:
                    self._same_sentence.add(clip.file)
                yield clip

    def _hold_out(self) -> None:
        missing = [split for split in _HELD_OUT if split not in self._release.splits]
        if missing:
            cure = f"use --train validated: asrctl holds a part of it out; or leave {_FLAG} out"
            raise BadData(f"{self._release.name} has no {missing[0]}.tsv to leave out of validated", fix=cure)
        for split in _HELD_OUT:
            for clip in self._rows(split):
                self._clips.add(_short(clip.file))
                self._sentences.add(_short(clip.text.casefold()))
                if clip.client:
                    self._people.add(clip.client)

    def _rows(self, table: str) -> Iterator[Clip]:
        with self._release.table(table) as (stream, path):
            for line, row in tables.rows_of(stream, path, lambda names: self._check_columns(path, names), "\t"):
                if isinstance(row, str):
                    self._bad.add(f"{path}, line {line}: {row}")
                    yield Clip(f"{table}.tsv-{line}", f"line {line} of {table}.tsv", "", "")
                    continue
                name = PurePosixPath(row["path"].strip().replace("\\", "/")).name
                file = name if is_audio(name) else f"{name}.mp3"
                self._check_locale(path, line, row)
                text = row["sentence"].strip()
                if not text:
                    self._mute.add(f"{path}, line {line}")
                yield Clip(file.rpartition(".")[0], file, text, row.get("client_id", "").strip())

    def _check_columns(self, path: Path, names: Sequence[str]) -> None:
        missing = [name for name in ("path", "sentence") if name not in names]
        if missing:
            has = ", ".join(names[:20]) or "nothing"
            fix = "give the release as it was published; another list is read by asrctl prepare manifest FILE"
            raise BadData(f"{path} has no column {missing[0]} (its first line names: {has})", fix=fix)
        self._others.update(dict.fromkeys(name for name in names if name and name not in _KNOWN))

    def _check_locale(self, path: Path, line: int, row: Mapping[str, str]) -> None:
        """Raises UsageError where the table is of another language than the one that was asked for."""
        asked, written = self._request.options.get("locale"), row.get("locale", "").strip()
        if asked and written and asked != written:
            raise UsageError(f"{path}, line {line} is {written}, not {asked}", fix=f"use --locale {written}")

    def _label(self, client: str) -> Optional[str]:
        """What stands for a speaker: the same within a workspace, and nothing that leads back without its salt."""
        digest = hmac.new(self._salt, client.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return digest.hexdigest()[:_LABEL_DIGITS] if client else None

    def _tell(self) -> None:
        emit = self._request.emit
        self._release.tell()
        # A clip made anew under another name would not be the one that the table means.
        self._request.hint("unreadable", "fetch the release again: some of its clips are damaged")
        if self._others:
            emit(Note(f"columns of the release that are not used: {', '.join(self._others)}"))
        if self._bad:
            emit(Warned(f"{amounts.count(self._bad.count, 'row')} can not be read, such as {self._bad.first}"))
        if self._mute:
            self._request.hint("no-transcript", f"leave out the rows without a sentence, such as {self._mute.first}")
        if self._without_test:
            clips = amounts.count(self._held_clips.count, "clip")
            people = self._of_held_people.count
            told = f"left out of validated.tsv: {clips} of dev and test, and {people} more of those who speak there"
            emit(Note(told))
        if self._same_sentence:
            count = amounts.count(self._same_sentence.count, "clip says", "clips say")
            such = self._same_sentence.first
            emit(Note(f"{count} a sentence that dev or test has too, spoken by others, such as {such}"))


def _short(text: str) -> bytes:
    """A few bytes that stand for a text, so that many fit into memory."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _recognizes(path: Path) -> Match:
    """Certain where tables called as Common Voice's lie beside clips/, or an archive is called as theirs are."""
    if path.is_file():
        is_named = path.name.lower().startswith(("cv-corpus-", "mcv-scripted-", "common-voice-"))
        return Match.CERTAIN if is_named and path.name.endswith(ARCHIVE_SUFFIXES) else Match.NO
    if not path.is_dir():
        return Match.NO
    found = (Path(folder) for several in folders(path).values() for folder in several)
    return Match.CERTAIN if any((folder / CLIPS).is_dir() for folder in found) else Match.NO


CORPUS = Corpus(
    name="commonvoice",
    help="A release of Common Voice, unpacked or its .tar.gz; speakers become labels of this workspace.",
    read=utterances,
    source="RELEASE",
    examples=("cv-corpus-17.0-2024-03-15/cy", f"cv-corpus-17.0-2024-03-15 --locale cy {_FLAG}"),
    options=(
        CorpusOption("--locale", "The language to read, where the release has several.", metavar="LOCALE"),
        CorpusOption(
            _FLAG,
            "Train on all of validated.tsv but the clips of dev and test and all else that their speakers said.",
            type=bool,
        ),
    ),
    splits={"train": ("train",), "eval": ("dev",), "test": ("test",)},
    split_names={name: "dev" if role == "eval" else role for name, role in SPLIT_NAMES.items()},
    recognizes=_recognizes,
)
