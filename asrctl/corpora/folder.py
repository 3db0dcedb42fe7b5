"""A folder of audio: a `.txt` of the same stem beside each file, or a `metadata.csv` that names files and transcripts.

Folders may lie in each other, or be links. Where the first level is called train, dev, test or a synonym, it is the
split.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Set, Tuple

from asrctl import files
from asrctl.corpora import SPLIT_DEFAULTS, SPLIT_NAMES, CorpusRequest, manifest, need_source, refuse_outside
from asrctl.errors import BadData
from asrctl.events import Warned
from asrctl.os_errors import fault_of_file
from asrctl.utterances import Utterance

NAMES = SPLIT_NAMES
DEFAULTS = SPLIT_DEFAULTS

METADATA = ("metadata.csv", "metadata.tsv", "metadata.jsonl")
TRANSCRIPT = ".txt"

_AUDIO_SUFFIXES = frozenset(
    (
        ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf", ".w64",
        ".rf64", ".sph", ".nist", ".voc", ".m4a", ".mp4", ".aac", ".webm", ".wma", ".amr", ".3gp", ".mkv", ".mov",
    )
)  # fmt: skip
# What lies beside audio and is none, even with a transcript of its stem.
_OTHER_SUFFIXES = frozenset(
    (
        ".csv", ".tsv", ".json", ".jsonl", ".md", ".rst", ".html", ".xml", ".yaml", ".yml", ".toml", ".textgrid",
        ".lab", ".ctm", ".stm", ".srt", ".vtt", ".eaf", ".trn", ".rttm", ".pdf", ".doc", ".docx", ".rtf", ".png",
        ".jpg", ".jpeg", ".svg", ".py", ".sh", ".log", ".npy", ".npz", ".pt", ".h5", ".parquet", ".arrow", ".gz",
        ".zip", ".tar", ".md5", ".sha256", ".ini", ".cfg", ".bak", ".tmp",
    )
)  # fmt: skip
_MAX_TEXT_BYTES = 1 << 20
_MAX_DEPTH = 64


# Lone texts that are about the corpus, not in it.
_ABOUT = frozenset(("readme", "license", "licence", "copying", "copyright", "authors", "source", "notes", "changelog"))


def utterances(request: CorpusRequest) -> Iterator[Utterance]:
    """Every utterance under the folder, by path. Raises BadData."""
    source = need_source(request, "folder", "my-recordings")
    if not source.is_dir():
        what = "a file, not a folder" if source.exists() else "not there"
        raise BadData(f"{source} is {what}", fix="give the folder that holds the recordings")
    found, links = False, _Links(source, request.root)
    for utterance in _walk(source, request, links):
        found = True
        yield utterance
    if links.told:
        request.emit(Warned(links.told))
    if not found:
        raise BadData(
            f"{source} holds no audio with transcripts",
            fix="put a .txt of the same name beside each audio file, or a metadata.csv with file_name,transcription",
        )


class _Links:
    """Says which folders are walked. A link to a folder is one of them, but none is entered twice through links: what
    leads in a circle comes to an end.

    Nor is a link followed into what is walked without it, or up to a folder that holds the corpus.
    """

    def __init__(self, source: Path, root: Optional[Path]) -> None:
        self._source = os.path.realpath(str(source))
        self._root = root
        self._behind: Set[str] = set()  # folders that a link has led to
        self._entered: Set[Tuple[int, int]] = set()
        self._left_out = 0
        self._first = ""

    def folders(self, folder: str, names: Sequence[str]) -> List[str]:
        """Those folders in `folder` that are walked, in order. Raises BadData (--root), OSError."""
        return [name for name in sorted(names) if not name.startswith(".") and self._is_walked(folder, name)]

    @property
    def told(self) -> str:
        """A warning of the links that were not followed; "" where there are none."""
        if not self._left_out:
            return ""
        count = f"{self._left_out} links to folders are" if self._left_out > 1 else "a link to a folder is"
        why = "what it leads to holds this corpus, or is read without it"
        return f"{count} not followed{', such as' if self._left_out > 1 else ':'} {self._first} ({why})"

    def _is_walked(self, folder: str, name: str) -> bool:
        path = os.path.join(folder, name)
        is_link = Path(path).is_symlink()
        if not is_link and folder not in self._behind:
            return True
        if is_link and self._is_near(os.path.realpath(path)):
            return self._leave_out(path)
        refuse_outside(self._root, path)
        status = Path(path).stat()
        if (status.st_dev, status.st_ino) in self._entered:
            return self._leave_out(path) if is_link else False
        self._entered.add((status.st_dev, status.st_ino))
        self._behind.add(path)
        return True

    def _is_near(self, target: str) -> bool:
        """Whether a folder holds the corpus, or lies in it where it is walked anyway."""
        if os.path.commonpath([target, self._source]) == target:
            return True
        inner = Path(os.path.relpath(target, self._source)).parts  # begins with ".." where it lies elsewhere
        return not any(part.startswith(".") for part in inner)

    def _leave_out(self, path: str) -> bool:
        self._left_out, self._first = self._left_out + 1, self._first or path
        return False


def _walk(source: Path, request: CorpusRequest, links: _Links) -> Iterator[Utterance]:
    for folder, folders, names in os.walk(str(source), onerror=_refuse, followlinks=True):
        _refuse_depth(folder, source)
        visible = sorted(name for name in names if not name.startswith("."))
        listed = next((name for name in METADATA if name in visible), None)
        if listed is not None:
            folders[:] = []
            yield from _read_listed(Path(folder), listed, source, request, links)
        else:
            folders[:] = links.folders(folder, folders)
            yield from _read_folder(Path(folder), visible, source, request)


def _refuse(error: OSError) -> None:
    raise error


def _refuse_depth(folder: str, source: Path) -> None:
    """Raises BadData: no corpus is that deep, and to walk on would take more stack than there is."""
    if len(Path(folder).relative_to(source).parts) > _MAX_DEPTH:
        raise BadData(f"{source} holds folders nested more than {_MAX_DEPTH} deep", fix="leave these out")


def _read_folder(folder: Path, names: List[str], source: Path, request: CorpusRequest) -> Iterator[Utterance]:
    """Audio with the transcripts beside it; then the transcripts that nobody speaks."""
    texts = {name[: -len(TRANSCRIPT)]: folder / name for name in names if name.lower().endswith(TRANSCRIPT)}
    spoken = set()
    for name in names:
        key = name if name in texts else Path(name).stem
        if _is_audio(Path(name).suffix.lower(), has_text=key in texts):
            spoken.add(key)
            yield _utterance(folder / name, _transcript(texts[key], request) if key in texts else "", source)
    for stem, path in texts.items():
        if stem not in spoken and stem.lower() not in _ABOUT:
            yield _utterance(folder / stem, _transcript(path, request), source)


def _read_listed(folder: Path, listed: str, source: Path, request: CorpusRequest, links: _Links) -> Iterator[Utterance]:
    """What the metadata names, then the audio under the folder that it does not name."""
    request.before_reading(str(folder / listed))
    seen: Set[bytes] = set()
    inside = folder.relative_to(source).as_posix()
    for utterance in manifest.read(folder / listed, root=request.root, inside=inside):
        seen.add(_fingerprint(utterance.audio))
        yield utterance
    for inner, folders, names in os.walk(str(folder), onerror=_refuse, followlinks=True):
        _refuse_depth(inner, folder)
        folders[:] = links.folders(inner, folders)
        for name in sorted(names):
            path = Path(inner) / name
            if _is_audio(path.suffix.lower(), has_text=False) and _fingerprint(str(path)) not in seen:
                yield _utterance(path, "", source)


def _fingerprint(path: str) -> bytes:
    """A few bytes that stand for a path, so that a long list fits into memory."""
    return hashlib.blake2b(os.fsencode(os.path.normpath(path)), digest_size=8).digest()


def _is_audio(suffix: str, *, has_text: bool) -> bool:
    """Known audio; or anything unknown that has a transcript (libsndfile will say what it is)."""
    return suffix in _AUDIO_SUFFIXES or (has_text and suffix not in _OTHER_SUFFIXES and suffix != TRANSCRIPT)


def _utterance(audio: Path, text: str, source: Path) -> Utterance:
    name = audio.relative_to(source).as_posix()
    identity = os.fsencode(name).decode("utf-8", "backslashreplace")
    return Utterance(identity, str(audio), text, manifest.split_by_folder(name))


def _transcript(path: Path, request: CorpusRequest) -> str:
    """The text in a file; "" where it is not readable as UTF-8 text of bounded length. Raises BadData (--root)."""
    request.before_reading(str(path))
    try:
        return files.read_bytes(path, fix="", most=_MAX_TEXT_BYTES).decode("utf-8-sig").replace("\0", "")
    except (BadData, UnicodeDecodeError):
        return ""
    except OSError as error:
        if fault_of_file(error) is None:
            raise
        return ""
