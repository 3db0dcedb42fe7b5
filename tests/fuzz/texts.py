"""Readers of files about texts, and valid ones: tables of replacements, the corpus' own texts, SentencePiece models."""

from __future__ import annotations

import struct
from pathlib import Path

from asrctl.config.preset_file import read_table
from asrctl.data import sentencepiece_model
from asrctl.data.raw_texts import FILE, RawTexts
from asrctl.data.subwords import Subwords
from asrctl.data.text import TextRules

TABLE = b'"&": and\n1: one\n" dr. ": doctor\nno: "nope"\n"[noise]": ""\n'
RAW = '{"row": 0, "text": "Ja, so."}\n{"row": 2, "text": "Ça & là"}\n'.encode()


def replacements(place: Path) -> None:
    rules = TextRules(replace=read_table(place / "table.yaml"))
    text = rules.apply("Dr. Q & A, no [noise] 1")
    if text != " ".join(text.split()):
        raise AssertionError("a text with more than single spaces")
    TextRules(**rules.as_dict())


def raw(place: Path) -> None:
    found = RawTexts(place, 3)
    for row in range(3):
        text = found.text(row)
        if not (text is None or isinstance(text, str)):
            raise AssertionError(text)


def sentencepiece(place: Path) -> None:
    tokenizer = Subwords(sentencepiece_model.to_tokenizer_json(place / FILES[2], fix="choose another checkpoint"))
    tokenizer.encode("ab c")


def sentencepiece_file(kind: int) -> bytes:
    """A model of five pieces. kind: 1 unigram, 2 BPE."""

    def held(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2, len(value)]) + value

    made = [(b"<unk>", 2), (b"a", 1), (b"b", 1), ("\u2581".encode(), 1), (b"ab", 1)]
    parts = [
        held(1, held(1, text) + b"\x15" + struct.pack("<f", -float(number)) + bytes([3 << 3, of]))
        for number, (text, of) in enumerate(made)
    ]
    return b"".join(parts) + held(2, bytes([3 << 3, kind]))


FILES = ("table.yaml", FILE, "tokenizer.model")
