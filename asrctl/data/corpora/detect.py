"""What kind of corpus lies at a path, where somebody has named the path only."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from asrctl.data.reading.file_names import is_audio
from asrctl.data.utterance import ARCHIVE_SUFFIXES

# As they are called in LibriSpeech, unpacked or not.
_SPLITS = (
    "train-clean-100", "train-clean-360", "train-other-500", "dev-clean", "dev-other", "test-clean", "test-other",
)  # fmt: skip


def kind_of(path: Path) -> Optional[str]:
    """librispeech, folder or manifest; None where there is nothing, or nothing like a corpus. Raises OSError."""
    if path.is_dir():
        return "librispeech" if holds_librispeech(path) else "folder"
    if not path.is_file() or is_audio(path.name):
        return None
    return "librispeech" if path.name.endswith(ARCHIVE_SUFFIXES) else "manifest"


def holds_librispeech(folder: Path) -> bool:
    """Whether there are splits called as in LibriSpeech, with transcripts of chapters in them, or archives of them."""
    for place in (folder, folder / "LibriSpeech"):
        for split in _SPLITS:
            if any((place / (split + suffix)).is_file() for suffix in ARCHIVE_SUFFIXES):
                return True
            if next((place / split).glob("*/*/*.trans.txt"), None) is not None:
                return True
    return False
