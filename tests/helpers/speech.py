"""Corpora of tones that stand in for recordings of people, where nothing has to be learned from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from .tones import RATE, sound

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SPEAKERS = ("ann", "bob", "cal")
# Every character that LibriSpeech has.
PANGRAM = "THERE'S A QUICK BROWN FOX WHO JUMPS OVER MY LAZY DOGS THEY SAY IN VEXED BLOOD AND TWO IS GOOD"
_TOO_LONG_S = 21


def _spoken(text: str, generator: np.random.Generator) -> np.ndarray:
    """At the pace of people, about 80 ms a letter."""
    return sound(text.lower(), generator, letter_s=0.05, pause_s=0.03)


def write_digits(folder: Path, *, train: int, held_out: int = 0, test: int) -> Path:
    """A manifest with the columns path, text, speaker and split (train, eval, test) of digits of 0.2 to 0.4 s."""
    generator = np.random.default_rng(7)
    rows = ["path,text,speaker,split"]
    folder.mkdir(parents=True)
    for number, split in enumerate(["train"] * train + ["eval"] * held_out + ["test"] * test):
        text, speaker = _DIGITS[number % len(_DIGITS)], _SPEAKERS[number % len(_SPEAKERS)]
        soundfile.write(str(folder / f"{text}-{number}.wav"), _spoken(text, generator), RATE)
        rows.append(f"{text}-{number}.wav,{text},{speaker},{split}")
    manifest = folder / "digits.csv"
    manifest.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return manifest


def write_librispeech(folder: Path) -> Path:
    """`folder` with LibriSpeech's layout: 50 utterances in test-other, 5 in dev-clean, 3 in test-clean.

    They last 0.4 to 8 s, but for two in test-other that are too long to train on; its first says all letters.
    """
    generator = np.random.default_rng(11)
    splits = {"test-other": ((19, 26, 40, 83, 103), 10), "dev-clean": ((118,), 5), "test-clean": ((125,), 3)}
    for split, (speakers, count) in splits.items():
        for speaker in speakers:
            _write_chapter(folder / split, speaker, count, generator)
    return folder


def _write_chapter(split: Path, speaker: int, count: int, generator: np.random.Generator) -> None:
    name = f"{speaker}-{speaker + 1000}"
    chapter = split / str(speaker) / str(speaker + 1000)
    chapter.mkdir(parents=True)
    lines = []
    for number in range(count):
        text = " ".join(generator.choice(PANGRAM.split(), generator.integers(3, 9)))
        text = PANGRAM if (split.name, speaker, number) == ("test-other", 19, 0) else text
        samples = _spoken(text, generator)
        if split.name == "test-other" and speaker in (40, 83) and number == 5:
            samples = np.resize(samples, _TOO_LONG_S * RATE)
        soundfile.write(str(chapter / f"{name}-{number:04d}.flac"), samples, RATE)
        lines.append(f"{name}-{number:04d} {text}\n")
    (chapter / f"{name}.trans.txt").write_text("".join(lines), encoding="utf-8")
