"""A folder of audio: a `.txt` of the same stem beside each file, or a `metadata.csv` that names files and transcripts.

Folders may lie in each other. Where the first level is called train, dev, test or a synonym, it is the split.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Iterator, List, Optional, Set

from asrctl import files
from asrctl.corpora import SPLIT_DEFAULTS, SPLIT_NAMES, CorpusRequest, manifest, need_source, refuse_outside
from asrctl.errors import BadData
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
    found = False
    for utterance in _walk(source, request.root):
        found = True
        yield utterance
    if not found:
        raise BadData(
            f"{source} holds no audio with transcripts",
            fix="put a .txt of the same name beside each audio file, or a metadata.csv with file_name,transcription",
        )


def _walk(source: Path, root: Optional[Path]) -> Iterator[Utterance]:
    for folder, folders, names in os.walk(str(source), onerror=_refuse):
        _refuse_depth(folder, source)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = sorted(name for name in names if not name.startswith("."))
        listed = next((name for name in METADATA if name in visible), None)
        if listed is not None:
            folders[:] = []
            yield from _read_listed(Path(folder), listed, source, root)
        else:
            yield from _read_folder(Path(folder), visible, source, root)


def _refuse(error: OSError) -> None:
    raise error


def _refuse_depth(folder: str, source: Path) -> None:
    """Raises BadData: no corpus is that deep, and to walk on would take more stack than there is."""
    if len(Path(folder).relative_to(source).parts) > _MAX_DEPTH:
        raise BadData(f"{source} holds folders nested more than {_MAX_DEPTH} deep", fix="leave these out")


def _read_folder(folder: Path, names: List[str], source: Path, root: Optional[Path]) -> Iterator[Utterance]:
    """Audio with the transcripts beside it; then the transcripts that nobody speaks."""
    texts = {name[: -len(TRANSCRIPT)]: folder / name for name in names if name.lower().endswith(TRANSCRIPT)}
    spoken = set()
    for name in names:
        key = name if name in texts else Path(name).stem
        if _is_audio(Path(name).suffix.lower(), has_text=key in texts):
            spoken.add(key)
            yield _utterance(folder / name, _transcript(texts[key], root) if key in texts else "", source)
    for stem, path in texts.items():
        if stem not in spoken and stem.lower() not in _ABOUT:
            yield _utterance(folder / stem, _transcript(path, root), source)


def _read_listed(folder: Path, listed: str, source: Path, root: Optional[Path]) -> Iterator[Utterance]:
    """What the metadata names, then the audio under the folder that it does not name."""
    refuse_outside(root, str(folder / listed))
    seen: Set[bytes] = set()
    for utterance in manifest.read(folder / listed, root=root, inside=folder.relative_to(source).as_posix()):
        seen.add(_fingerprint(utterance.audio))
        yield utterance
    for inner, folders, names in os.walk(str(folder), onerror=_refuse):
        _refuse_depth(inner, folder)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
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


def _transcript(path: Path, root: Optional[Path]) -> str:
    """The text in a file; "" where it is not readable as UTF-8 text of bounded length. Raises BadData (--root)."""
    refuse_outside(root, str(path))
    try:
        return files.read_bytes(path, fix="", most=_MAX_TEXT_BYTES).decode("utf-8-sig").replace("\0", "")
    except (BadData, PermissionError, UnicodeDecodeError):
        return ""
