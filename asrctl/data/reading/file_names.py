"""What the name of a file says of it: audio, something beside audio, or nothing that belongs to a corpus."""

from __future__ import annotations

import unicodedata
from pathlib import PurePath

# In the order of preference where a recording lies there in several formats: lossless, lossy, and those at the end
# that libsndfile can not read.
AUDIO_SUFFIXES = (
    ".wav", ".flac", ".w64", ".rf64", ".aiff", ".aif", ".aifc", ".caf", ".au", ".snd", ".sph", ".nist", ".voc",
    ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".mp4", ".aac", ".webm", ".wma", ".amr", ".3gp", ".mkv", ".mov",
)  # fmt: skip
# What lies beside audio and is none, even with a transcript of its stem: alignments, annotations, subtitles, features,
# the caches of audio editors, and the copies that text editors keep.
_OTHER_SUFFIXES = frozenset(
    (
        ".csv", ".tsv", ".json", ".jsonl", ".md", ".rst", ".html", ".xml", ".yaml", ".yml", ".toml", ".textgrid",
        ".lab", ".lbl", ".ctm", ".stm", ".srt", ".vtt", ".ass", ".ssa", ".eaf", ".trn", ".trs", ".rttm", ".uem",
        ".phn", ".wrd", ".mlf", ".cha", ".antx", ".pdf", ".doc", ".docx", ".rtf", ".png", ".jpg", ".jpeg", ".svg",
        ".py", ".sh", ".log", ".npy", ".npz", ".pt", ".h5", ".mfc", ".f0", ".parquet", ".arrow", ".gz", ".zip", ".tar",
        ".pkf", ".pk", ".peaks", ".reapeaks", ".asd", ".sfk", ".md5", ".sha256", ".ini", ".cfg", ".bak", ".tmp",
        ".orig", ".old", ".swp", ".part",
    )
)  # fmt: skip
# Put beside people's files by Macs, Windows, Synology and others; a name that begins with a dot is hidden anyway.
_LITTER = frozenset(
    (
        "__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information",
        "lost+found", "@eadir", "#recycle",
    )
)  # fmt: skip


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is none of the corpus': `._a.wav`, `.DS_Store`, `__MACOSX` ..."""
    return name.startswith((".", "~$")) or name.lower() in _LITTER


def stem_of(name: str) -> str:
    return PurePath(name).stem


def suffix_of(name: str) -> str:
    return PurePath(name).suffix


def is_audio(name: str) -> bool:
    return suffix_of(name).lower() in AUDIO_SUFFIXES


def preference(name: str) -> int:
    """Of several recordings of the same speech, the one with the least of these is read."""
    return AUDIO_SUFFIXES.index(suffix_of(name).lower())


def may_be_audio(name: str) -> bool:
    """Whether a file of unknown kind may be audio: libsndfile will say what it is."""
    return suffix_of(name).lower() not in _OTHER_SUFFIXES and not name.endswith(("~", "#"))


def folded(name: str) -> str:
    """The same for names that differ in case, or in how Unicode composes their letters (NFC on Linux, NFD on Macs)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
