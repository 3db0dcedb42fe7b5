"""Texts in pieces of words (BPE, unigram): the tokenizer of a checkpoint, as its tokenizer.json says it.

The package tokenizers, which transformers brings, reads that file; nothing of a checkpoint's own code is run.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

from asrctl.errors import BadData
from asrctl.storage import files

FILE = "tokenizer.json"
# The class that transformers reads such a file with where no other is named.
USUAL_CLASS = "PreTrainedTokenizerFast"
# What stands for a space in pieces: of SentencePiece, and of BPE over bytes.
SPACES = ("\u2581", "\u0120")
# That of a large model of many languages has 17 MB.
_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Subwords:
    """A tokenizer. json: the content of its file, to the letter. kind: the class that transformers calls it by."""

    json: str
    kind: str = USUAL_CLASS

    @classmethod
    def read(cls, path: Path, kind: str, *, fix: str) -> "Subwords":
        """Raises BadData where it is none that the installed tokenizers knows."""
        try:
            found = cls(files.read_bytes(path, fix=fix, most=_MOST_BYTES).decode("utf-8"), kind)
        except UnicodeDecodeError:
            raise BadData(f"{path} is not UTF-8", fix=fix) from None
        try:
            found.tokens()
        except ValueError as error:
            raise BadData(f"{path} can not be read ({error})", fix=fix) from None
        return found

    def tokens(self) -> Tuple[str, ...]:
        """All tokens by id. Raises ValueError where ids are missing."""
        ids: Dict[str, int] = _tokenizer(self.json).get_vocab(with_added_tokens=True)
        if sorted(ids.values()) != list(range(len(ids))):
            raise ValueError("its ids are not 0, 1, 2 ...")
        return tuple(sorted(ids, key=lambda token: ids[token]))

    def encode(self, text: str) -> List[int]:
        """Ids of a text, without marks of its beginning and end."""
        return list(_tokenizer(self.json).encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, none of which is a blank; special tokens are written out, as a model that writes them is
        wrong."""
        text: str = _tokenizer(self.json).decode(list(ids), skip_special_tokens=False)
        return text.strip()


@functools.lru_cache(maxsize=4)
def _tokenizer(json: str) -> Any:
    """Raises ValueError."""
    import tokenizers

    try:
        found = tokenizers.Tokenizer.from_str(json)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # what is wrong to Rust may come as a panic, which is no Exception
        raise ValueError(str(error).strip().rstrip(".")[:200] or type(error).__name__) from None
    found.no_truncation()
    found.no_padding()
    return found


class SubwordEncoder:
    """Text -> label ids, with the characters counted that no piece has."""

    def __init__(self, subwords: Subwords, unk: Any) -> None:
        self._subwords = subwords
        self._unk = unk
        self._known: Dict[str, bool] = {" ": True}

    def __call__(self, text: str) -> Tuple[List[int], Dict[str, int]]:
        """(label ids, {unknown character: count})."""
        unknown: Dict[str, int] = {}
        for character in set(text):
            if not self.knows(character):
                unknown[character] = text.count(character)
        return self._subwords.encode(text), dict(sorted(unknown.items()))

    def knows(self, character: str) -> bool:
        """Whether it can be written, by itself or as what the tokenizer makes of it."""
        if character not in self._known:
            ids = self._subwords.encode(f"{character}{character}")
            self._known[character] = bool(ids) and self._unk not in ids
        return self._known[character]
