"""Which split recordings are for, by the names of the folders that they lie in."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path, PurePosixPath
from typing import Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Tuple

from asrctl.data.corpus import SPLIT_NAMES
from asrctl.data.reading.tally import Tally
from asrctl.events import Emit, Note, Warned
from asrctl.messages import amounts

# Words that mean a split wherever they stand. The others (dev, val, cv, tr ...) are also names and abbreviations of
# other things: outside of the first level they count only beside a folder of another split.
_PLAIN = frozenset(("train", "training", "test", "testing", "eval", "evaluation", "validation", "development"))
_WORDS = {
    **{word: role for word, role in SPLIT_NAMES.items() if word not in ("cv", "tr")},
    **{word + end: role for word, role in SPLIT_NAMES.items() for end in ("set", "data") if word not in ("cv", "tr")},
    "tests": "test",
}
# Of tr, cv and tt, which are languages too.
_SHORT = {"tt": "test"}
# Words beside them that leave the meaning as it is: train-clean-100, test_set, eval-audio-16k ...
_NEUTRAL = frozenset(
    (
        "clean", "other", "all", "full", "small", "medium", "large", "set", "sets", "subset", "split", "part", "data",
        "dataset", "corpus", "audio", "wav", "wavs", "flac", "mp3", "clip", "clips", "file", "files", "speech",
        "recordings", "utterances", "segments", "final", "new", "raw", "v", "k", "khz", "hz", "h", "hours",
    )
)  # fmt: skip
# Neither for training nor for one of the other two: a split of its own, until somebody says what it is for.
_KEPT_ASIDE = frozenset(("holdout", "heldout"))
_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_MAY_BEGIN = re.compile("train|test|eval|valid|devel", re.IGNORECASE)
_MAX_KNOWN = 4096
_MAX_NAMED = 6


class Meaning(NamedTuple):
    """What a folder's name says.

    split: a role, or the folder's name where it is surely a split, but not clear which. is_bare: no other word is in
    the name. is_plain: nor can it mean something else.
    """

    split: str
    is_bare: bool
    is_plain: bool


class _Place(NamedTuple):
    """What the folders of a path say together.

    split: None where no folder is surely one. folder: the one that says so, or that may. also: another one that
    contradicts it.
    """

    split: Optional[str]
    folder: str = ""
    also: str = ""


class SplitFolders:
    """Splits by folder, and account of what people may have meant otherwise.

    used: whether folders decide; else recordings of a list, which may name splits itself, are only looked at.
    """

    def __init__(self, source: Path, *, used: bool = True) -> None:
        self._source = source
        self._used = used
        self._known: Dict[str, _Place] = {}
        self._siblings: Dict[str, FrozenSet[str]] = {}
        self._found: Dict[str, str] = {}  # {folder: the split that it is taken for}, where people may not expect it
        self._total = 0
        self._in_splits, self._elsewhere, self._unsure, self._torn = Tally(), Tally(), Tally(), Tally()
        self._untold: Dict[str, Tally] = {}

    def of(self, name: str) -> str:
        """The split of a recording. name: its path in the corpus folder, with slashes."""
        self._total += 1
        folder, _, file = name.rpartition("/")
        place = self._known.get(folder) or self._place(folder)
        if place.split is None:
            (self._unsure if place.folder else self._elsewhere).add(place.folder or name)
            if _MAY_BEGIN.match(file):
                self._note_file(name, file)
            return "train"
        if not self._used:
            self._untold.setdefault(place.split, Tally()).add(name)
            return "train"
        self._in_splits.add(name)
        if place.also:
            self._torn.add(f"{place.folder} and {place.also}")
        if SPLIT_NAMES.get(place.folder.lower()) is None and len(self._found) < _MAX_NAMED:
            self._found[place.folder] = place.split
        return place.split

    def names_split(self) -> None:
        """A recording came by whose split the list names."""
        self._total += 1

    def tell(self, emit: Emit) -> None:
        """What was taken for a split, and what was not though it may be one."""
        if self._found:
            named = ", ".join(f"{folder} ({split})" for folder, split in sorted(self._found.items()))
            emit(Note(f"folders taken for splits by their names: {named}"))
        if self._torn:
            emit(
                Warned(
                    f"{amounts.count(self._torn.count, 'recording lies', 'recordings lie')} in folders of two "
                    f"splits: {self._torn.first}; the first counts"
                )
            )
        if self._in_splits and self._elsewhere:
            verbs = amounts.noun(self._elsewhere.count, "lies", "lie"), amounts.noun(self._elsewhere.count, "is", "are")
            how_many = f"{self._elsewhere.count} of {amounts.count(self._total, 'recording')}"
            where = f"such as {self._elsewhere.first}, and {verbs[1]} for training"
            emit(Warned(f"{how_many} {verbs[0]} in no folder called after a split, {where}"))
        if self._unsure and self._used:
            verb = amounts.noun(self._unsure.count, "is", "are")
            may = f"such as {self._unsure.first}, and {verb} for training; if it is one, call it train, eval or test"
            emit(
                Warned(
                    f"{amounts.count(self._unsure.count, 'recording lies', 'recordings lie')} in a folder whose name "
                    f"may be that of a split, {may}"
                )
            )
        others = {split: tally for split, tally in self._untold.items() if split != "train"}
        count = sum(tally.count for tally in others.values())
        if 0 < count < self._total:
            first = next(iter(others.values())).first
            verb = amounts.noun(count, "is", "are")
            why = f"{verb} called {' or '.join(sorted(others))}, such as {first}, and yet for training"
            how = "in folders called train, eval and test" if self._used else "in a column `split`"
            emit(Warned(f"{count} of {amounts.count(self._total, 'recording')} {why}; say what each is for {how}"))

    def _note_file(self, name: str, file: str) -> None:
        """Whether a file's own name, such as test_001.wav, says that it is for a split."""
        first = _tokens(file)[0]
        if first in _PLAIN:
            self._untold.setdefault(_WORDS[first], Tally()).add(name)

    def _place(self, folder: str) -> _Place:
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
            self._siblings.clear()
        found = self._known[folder] = self._judged(self._parts(folder))
        return found

    def _parts(self, folder: str) -> Sequence[str]:
        """The folders in the corpus folder that lead to a recording: where they decide, those outside are none."""
        path = PurePosixPath(folder)
        if path.is_absolute():
            with contextlib.suppress(ValueError):
                path = path.relative_to(PurePosixPath(str(self._source.absolute())))
        outside = path.is_absolute() or ".." in path.parts
        return () if outside and self._used else path.parts

    def _judged(self, parts: Sequence[str]) -> _Place:
        sure: List[Tuple[str, str]] = []
        unsure = ""
        for depth, part in enumerate(parts):
            here = "/".join(parts[: depth + 1])
            exact = SPLIT_NAMES.get(part.lower())
            meaning = split_named(part)
            if depth == 0 and exact is not None:
                sure.append((exact, here))
            elif meaning is not None and self._is_sure(meaning, parts[:depth], part):
                sure.append((meaning.split, here))
            elif meaning is not None and meaning.split != "train":
                unsure = unsure or here
        if not sure:
            return _Place(None, unsure)
        # "train" says more than "test-corpus". Above a list there may be anything: there the nearest folder says most.
        plainly = [found for found in sure if PurePosixPath(found[1]).name.lower() in SPLIT_NAMES] or sure
        split, folder = plainly[0] if self._used else plainly[-1]
        return _Place(split, folder, next((other for role, other in sure if role != split), ""))

    def _is_sure(self, meaning: Meaning, parents: Sequence[str], name: str) -> bool:
        if not self._used and meaning.is_bare:  # it changes nothing, and a word too many is better than one too few
            return True
        return meaning.is_plain or self._has_sibling(parents, name, meaning.split)

    def _has_sibling(self, parents: Sequence[str], name: str, split: str) -> bool:
        """Whether another folder beside this one names another split."""
        parent = "/".join(parents)
        if parent not in self._siblings:
            self._siblings[parent] = frozenset(_folders(self._source / parent))
        meanings = (split_named(other) for other in self._siblings[parent] if other != name)
        return any(meaning is not None and meaning.split != split for meaning in meanings)


def split_of(name: str) -> Optional[str]:
    """train, eval or test, by the last part of the name of a list that says one of them; None where none does.

    That a list is for a split is likely, so other words beside it do not matter: an4_val_manifest.json.
    """
    for part in reversed(name.split("/")):
        words = [word.lower() for word in re.findall("[A-Za-z]+", part)]
        roles = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES and word not in ("cv", "tr")}
        if len(roles) == 1:
            return roles.pop()
    return None


def _folders(path: Path) -> List[str]:
    """Names of the folders in a folder that mean a split."""
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if split_named(entry.name) is not None and Path(entry).is_dir()]
    except OSError:
        return []


def split_named(name: str) -> Optional[Meaning]:
    """What a folder's name, or another one like it, says of splits; None where it says nothing."""
    exact = SPLIT_NAMES.get(name.lower()) or _SHORT.get(name.lower())
    if exact is not None:
        return Meaning(exact, True, name.lower() in _PLAIN)
    tokens = _tokens(name)
    words = [token for token in tokens if token in _WORDS]
    rest = [token for token in tokens if token not in _WORDS and token not in _NEUTRAL and not token.isdigit()]
    if _KEPT_ASIDE & {*tokens, "".join(tokens)}:
        return Meaning(name, True, True)
    if not words:
        return None
    roles = {_WORDS[word] for word in words}
    if len(roles) > 1:
        return Meaning(name, not rest, not rest)
    is_plain = not rest and any(word in _PLAIN or word not in SPLIT_NAMES for word in words)
    return Meaning(roles.pop(), not rest, is_plain)


def _tokens(name: str) -> List[str]:
    """ "Train-clean100" -> ["train", "clean", "100"]."""
    return [token.lower() for token in _TOKEN.findall(name)]
