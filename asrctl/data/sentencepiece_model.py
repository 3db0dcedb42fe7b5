"""A SentencePiece model file (tokenizer.model) -> the tokenizer.json that means the same to the package tokenizers.

The file is a protocol buffer, sentencepiece_model.proto of SentencePiece: pieces with scores, what kind of model it is,
and how texts are normalized. Only that is read, so neither sentencepiece nor protobuf is needed.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

from asrctl.data.subwords import Subwords
from asrctl.errors import BadData
from asrctl.messages import reasons
from asrctl.storage import files

NAMES = ("tokenizer.model", "sentencepiece.bpe.model", "spiece.model", "spm.model")
_MOST_BYTES = 64 << 20
# SentencePiece's own limit is 16 characters, unless somebody raises it.
_LONGEST_BYTES = 1000
# Numbers of fields and values in sentencepiece_model.proto.
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_PIECE, _SCORE, _TYPE = 1, 2, 3
_MODEL_TYPE, _BYTE_FALLBACK = 3, 35
_CHARSMAP, _DUMMY_PREFIX, _EXTRA_SPACES = 2, 3, 4
_UNIGRAM, _BPE = 1, 2
_NORMAL, _UNKNOWN, _CONTROL, _USER, _BYTE = 1, 2, 3, 4, 6
_SPACE = "\u2581"


def to_tokenizer_json(path: Path, *, fix: str) -> str:
    """Raises BadData where the file is damaged, or of a kind that is neither unigram nor BPE."""
    content = files.read_bytes(path, fix=fix, most=_MOST_BYTES)
    try:
        text = str(_tokenizer(content).to_str())
        Subwords(text).tokens()  # whether it can be read again
        return text
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except (
        BaseException
    ) as error:  # a value of another type than its field has; and what is wrong to Rust may be a panic
        why = reasons.reason(error) if isinstance(error, Exception) else type(error).__name__
        raise BadData(f"{path} is no SentencePiece model that can be used ({why})", fix=fix) from None


def _tokenizer(content: bytes) -> Any:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    pieces, trainer, normalizer = _parsed(content)
    if not pieces:
        raise ValueError("it holds no pieces")
    unknown = next((number for number, (_, _, kind) in enumerate(pieces) if kind == _UNKNOWN), None)
    if unknown is None:
        raise ValueError("it has no piece for unknown characters")
    kind = trainer.get(_MODEL_TYPE, _UNIGRAM)
    if trainer.get(_BYTE_FALLBACK):
        raise ValueError("it falls back to bytes")
    if kind == _UNIGRAM:
        model = models.Unigram([(piece, score) for piece, score, _ in pieces], unknown)
    elif kind == _BPE:
        ids = {piece: number for number, (piece, _, _) in enumerate(pieces)}
        model = models.BPE(ids, _merges(ids), unk_token=pieces[unknown][0], fuse_unk=True)
    else:
        raise ValueError("it is neither unigram nor BPE")
    found = Tokenizer(model)
    steps = [normalizers.Precompiled(normalizer[_CHARSMAP])] if normalizer.get(_CHARSMAP) else []
    if normalizer.get(_EXTRA_SPACES, 1):
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    if steps:
        found.normalizer = normalizers.Sequence(steps)
    prefixes = bool(normalizer.get(_DUMMY_PREFIX, 1))
    found.pre_tokenizer = _metaspace(pre_tokenizers.Metaspace, prefixes)
    found.decoder = _metaspace(decoders.Metaspace, prefixes)
    special = [AddedToken(piece, normalized=False, special=True) for piece, _, kind in pieces if kind == _CONTROL]
    found.add_special_tokens(special)
    found.add_tokens([AddedToken(piece, normalized=False) for piece, _, kind in pieces if kind == _USER])
    return found


def _metaspace(kind: Any, prefixes: bool) -> Any:
    try:
        return kind(replacement=_SPACE, prepend_scheme="always" if prefixes else "never")
    except TypeError:  # before tokenizers 0.15
        return kind(replacement=_SPACE, add_prefix_space=prefixes)


def _merges(ids: Dict[str, int]) -> List[Tuple[str, str]]:
    """Pairs of pieces that make another one, in the order in which they were learned: that of what they make."""
    found = []
    for piece, number in ids.items():
        pairs = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        whole = [pair for pair in pairs if pair[0] in ids and pair[1] in ids]
        found += [(number, ids[left], ids[right], left, right) for left, right in whole]
    return [(left, right) for _, _, _, left, right in sorted(found)]


Piece = Tuple[str, float, int]


def _parsed(content: bytes) -> Tuple[List[Piece], Dict[int, Any], Dict[int, Any]]:
    """(pieces as (text, score, kind), trainer_spec, normalizer_spec). Raises ValueError, IndexError, struct.error."""
    pieces: List[Piece] = []
    specs: Dict[int, Dict[int, Any]] = {_TRAINER: {}, _NORMALIZER: {}}
    for number, value in _fields(content):
        if number == _PIECES:
            held = dict(_fields(value))
            score = struct.unpack("<f", held[_SCORE])[0] if _SCORE in held else 0.0
            if len(held.get(_PIECE, b"")) > _LONGEST_BYTES:
                raise ValueError("a piece is too long")
            pieces.append((held.get(_PIECE, b"").decode("utf-8"), score, held.get(_TYPE, _NORMAL)))
        elif number in specs:
            specs[number] = dict(_fields(value))
    return pieces, specs[_TRAINER], specs[_NORMALIZER]


def _fields(content: bytes) -> Iterator[Tuple[int, Any]]:
    """(number of a field, its value): whole numbers, or bytes. Raises ValueError, IndexError."""
    place = 0
    while place < len(content):
        tag, place = _varint(content, place)
        wire = tag & 7
        if wire == 0:
            value, place = _varint(content, place)
            yield tag >> 3, value
            continue
        if wire == 2:
            length, place = _varint(content, place)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError("it is no protocol buffer")
        if length > len(content) - place:
            raise ValueError("it ends too early")
        yield tag >> 3, content[place : place + length]
        place += length


def _varint(content: bytes, place: int) -> Tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if not byte & 0x80:
            return value, place
        if shift > 63:
            raise ValueError("it is no protocol buffer")
