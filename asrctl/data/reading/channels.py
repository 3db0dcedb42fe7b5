"""Which channel of a recording is meant: as lists write it, and the option for corpora that do not say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Iterable, Iterator, Optional

from asrctl.data.corpus import CorpusOption, CorpusRequest
from asrctl.data.utterance import Utterance

MIX = "mix"
# Sides of a telephone call (Switchboard, NIST's STM and CTM), and of stereo.
_SIDES = {"a": 0, "b": 1, "l": 0, "r": 1, "left": 0, "right": 1}
_MOST = 1000


def channel_of(value: Any) -> Optional[int]:
    """A channel, counted from 0, as it may be written: 1, "1", 1.0, "B", "right", or [1]; None for anything else."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    word = str(value).strip().lower()
    if word in _SIDES:
        return _SIDES[word]
    whole = word[:-2] if word.endswith(".0") else word  # a column of whole numbers with gaps is one of floats in pandas
    return int(whole) if whole.isascii() and whole.isdigit() and len(whole) < 5 and int(whole) < _MOST else None


def _typed(word: str) -> Optional[int]:
    """The value of --channel. Raises ValueError."""
    if word.strip().lower() == MIX:
        return None
    found = channel_of(word)
    if found is None:
        raise ValueError("neither mix nor a channel")
    return found


# For every corpus of recordings that may have several channels.
OPTION = CorpusOption(
    "--channel",
    "Channel to take of recordings with several, where the corpus names none: 0, 1 ..., or mix (the default), the "
    "mean of all.",
    metavar="mix|N",
    type=_typed,
)


def chosen(request: CorpusRequest, found: Iterable[Utterance]) -> Iterator[Utterance]:
    """The same, with the channel of --channel where an utterance has none of its own."""
    channel = request.options.get(OPTION.key)
    for utterance in found:
        is_open = channel is not None and utterance.channel is None
        yield replace(utterance, channel=channel) if is_open else utterance
