"""N-grams of a text, counted in memory that grows with the distinct n-grams and not with the text.

The text lies on disk as word numbers. An n-gram has a number of its own among those of its order: its place in the
sorted list of (number of its first n - 1 words, last word). So each order is counted from the one before it, by sorting
single integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Iterator, List, Sequence, Tuple

import numpy as np

from asrctl.language_models.vocabulary import BOS_ID, EOS_ID, Words

# Positions of the text that are looked at together: 100 MB of working memory.
_STRETCH = 2_000_000
_NONE = -1


@dataclass
class Order:
    """The n-grams of one order, sorted by context and word.

    context: (grams,) int64 numbers of their first n - 1 words, in the order below; zeros for single words.
    word: (grams,) int32, the last one. count: (grams,) int64. suffix: (grams,) int64 numbers of their last n - 1 words,
    in the order below. begins: (grams,) bool, whether the first word is <s>.
    """

    context: np.ndarray
    word: np.ndarray
    count: np.ndarray
    suffix: np.ndarray
    begins: np.ndarray

    def __len__(self) -> int:
        return len(self.word)


@dataclass
class NgramCounts:
    """orders[n - 1] holds the n-grams. tokens: words of the text with its ends of sentences; sentences: of it."""

    words: Words
    orders: List[Order]
    tokens: int
    sentences: int


def count(sentences: Iterable[Sequence[str]], order: int, scratch: Path) -> NgramCounts:
    """Count all n-grams up to `order` of a text. scratch: a folder for 12 to 20 bytes a word meanwhile.

    An n-gram may begin with <s> and end with </s>, and lies within one sentence. Raises ValueError for no sentence.
    """
    words = Words()
    text = scratch / "text.bin"
    tokens, number = _write(sentences, words, text)
    if not number:
        raise ValueError("the text holds no sentence")
    stream = np.memmap(str(text), dtype=np.int32, mode="r")
    ids = [np.memmap(str(scratch / f"ids{half}.bin"), dtype=np.int64, mode="w+", shape=stream.shape) for half in (0, 1)]
    orders = [_single_words(stream, len(words), ids[0])]
    for size in range(2, order + 1):
        below, here = ids[size % 2], ids[(size + 1) % 2]
        orders.append(_longer(stream, len(words), orders[-1], below, here))
    return NgramCounts(words, orders, tokens, number)


def _write(sentences: Iterable[Sequence[str]], words: Words, path: Path) -> Tuple[int, int]:
    """The text as numbers, each sentence within <s> and </s>; (words with ends, sentences)."""
    tokens = number = 0
    with open(path, "wb") as stream:
        for sentence in sentences:
            row = [BOS_ID, *words.numbered(sentence), EOS_ID]
            np.array(row, dtype=np.int32).tofile(stream)
            tokens, number = tokens + len(row) - 1, number + 1
    return tokens, number


def _stretches(length: int) -> Iterator[slice]:
    return (slice(start, min(start + _STRETCH, length)) for start in range(0, length, _STRETCH))


def _single_words(stream: np.ndarray, size: int, ids: np.ndarray) -> Order:
    found = np.zeros(size, dtype=np.int64)
    for part in _stretches(len(stream)):
        found += np.bincount(stream[part], minlength=size)
        ids[part] = stream[part]
    word = np.arange(size, dtype=np.int32)
    zeros = np.zeros(size, dtype=np.int64)
    return Order(zeros, word, found, zeros, word == BOS_ID)


def _longer(stream: np.ndarray, size: int, below: Order, ids_below: np.ndarray, ids: np.ndarray) -> Order:
    """The n-grams that extend those of the order below by a word.

    ids_below: (text,) numbers of the n-grams below that end at each word, -1 for none; ids: the same to be filled in.
    """
    keys, counts = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    for part in _stretches(len(stream)):
        found, times = np.unique(_keys(stream, ids_below, part, size), return_counts=True)
        keys, counts = _merged(keys, counts, found, times)
    if len(keys) and keys[0] == _NONE:
        keys, counts = keys[1:], counts[1:]
    suffix = np.zeros(len(keys), dtype=np.int64)
    for part in _stretches(len(stream)):
        wanted = _keys(stream, ids_below, part, size)
        places = np.searchsorted(keys, wanted)
        there = wanted != _NONE
        places[~there] = _NONE
        ids[part] = places
        suffix[places[there]] = ids_below[part][there]
    context, word = np.divmod(keys, size)
    return Order(context, word.astype(np.int32), counts, suffix, below.begins[context])


def _keys(stream: np.ndarray, ids_below: np.ndarray, part: slice, size: int) -> np.ndarray:
    """(context, word) of the n-gram that ends at each place of a stretch, as one number; -1 where there is none."""
    context = np.empty(part.stop - part.start, dtype=np.int64)
    context[0] = ids_below[part.start - 1] if part.start else _NONE
    context[1:] = ids_below[part.start : part.stop - 1]
    word = stream[part]
    return np.where((context == _NONE) | (word == BOS_ID), _NONE, context * size + word)


def _merged(keys: np.ndarray, counts: np.ndarray, more: np.ndarray, times: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Two sorted lists of keys with their counts, as one."""
    if not len(keys):
        return more, times
    merged, places = np.unique(np.concatenate([keys, more]), return_inverse=True)
    return merged, np.bincount(places, np.concatenate([counts, times]), len(merged)).astype(np.int64)
