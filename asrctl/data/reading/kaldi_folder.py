"""One data folder of Kaldi: its utterances, their stretches of recordings, and who speaks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from asrctl.data.reading import channels
from asrctl.data.reading.keyed import Line, Lookup, lines
from asrctl.errors import BadData
from asrctl.messages import amounts
from asrctl.storage import files

SCP, TEXT, SEGMENTS = "wav.scp", "text", "segments"
# extract-segments.cc: "max-overshoot".
_OVERSHOOT_S = 0.5
_MAX_PROBLEMS = 20


class Stretch(NamedTuple):
    """A line of segments; without such a file, all of a recording. end_s: None is the recording's end."""

    recording: str
    start_s: Optional[float] = None
    end_s: Optional[float] = None
    channel: Optional[int] = None


@dataclass(frozen=True)
class Recording:
    """path: of its file. length_s, num_channels: None where they need not be, or can not be known.

    side: the channel of the call that it is, by reco2file_and_channel.
    """

    path: str
    length_s: Optional[float] = None
    num_channels: Optional[int] = None
    side: Optional[int] = None

    def end_s(self, stretch: Stretch) -> Optional[float]:
        """In seconds; None where it is the recording's end, or would be but for a little."""
        if stretch.end_s is None or self.length_s is None:
            return stretch.end_s
        return None if self.length_s < stretch.end_s < self.length_s + _OVERSHOOT_S else stretch.end_s

    def channel(self, stretch: Stretch) -> Optional[int]:
        """Of segments, else its side, where the file holds more than that."""
        return self.side if stretch.channel is None and (self.num_channels or 1) > 1 else stretch.channel


class Recordings:
    """The recordings of a data folder. find: gives the path of one by its name and by its value in wav.scp."""

    def __init__(self, folder: Path, find: Callable[[str, Optional[str]], str]) -> None:
        self._find = find
        self._scp = Lookup(folder / SCP, names_files=True)
        self._lengths = Lookup(folder / "reco2dur")
        self._sides = Lookup(folder / "reco2file_and_channel")
        self._has_segments = files.is_file(folder / SEGMENTS)
        self._known: Dict[str, Recording] = {}
        self.other_lengths: List[Tuple[str, float, float]] = []  # (name, seconds by reco2dur, seconds of the file)

    def of(self, stretch: Stretch) -> Recording:
        name = stretch.recording
        if name not in self._known:
            if not self._has_segments:  # none comes again
                self._known.clear()
            self._known[name] = self._looked_up(name)
        return self._known[name]

    def _looked_up(self, name: str) -> Recording:
        from asrctl.data import audio  # brings numpy, which the help must not load

        written, side = self._scp.get(name), self._sides.get(name)
        path = self._find(name, written)
        # What a command writes is one side already.
        channel = channels.channel_of(side.split()[-1]) if side and not (written or "").endswith("|") else None
        if written is None or not (self._has_segments or channel is not None):
            return Recording(path)
        header = audio.header(path)
        length_s, num_channels = (header.length_s, header.channels) if header is not None else (None, None)
        told_s = number(self._lengths.get(name) or "") if self._has_segments else None
        if told_s is not None and length_s is not None and abs(told_s - length_s) > _OVERSHOOT_S:
            self.other_lengths.append((name, told_s, length_s))
        return Recording(path, length_s, num_channels, channel)


class Speakers:
    """Who says what, by utt2spk; where that is missing, by spk2utt."""

    def __init__(self, folder: Path) -> None:
        self._by_utterance = Lookup(folder / "utt2spk")
        self._others: Dict[str, str] = {}
        if not self._by_utterance.is_there and files.is_file(folder / "spk2utt"):
            self._others = {one: line.key for line in lines(folder / "spk2utt") for one in line.value.split()}

    def of(self, utterance: str) -> Optional[str]:
        return self._by_utterance.get(utterance) or self._others.get(utterance)


def stretches(folder: Path) -> Iterator[Tuple[str, Stretch]]:
    """(utterance, where it is). Raises BadData naming the lines (twenty of them) that are none."""
    path = folder / SEGMENTS
    if not files.is_file(path):
        for line in lines(folder / SCP, names_files=True):
            yield line.key, Stretch(line.key)
        return
    problems: List[str] = []
    for line in lines(path):
        try:
            stretch = _stretch(line)
        except ValueError as error:
            problems.append(f"line {line.number}: {error}")
            if len(problems) >= _MAX_PROBLEMS:
                break
            continue
        if not problems:
            yield line.key, stretch
    if problems:
        raise BadData(
            f"{path} has {amounts.count(len(problems), 'bad line')}",
            fix="correct the lines named above: UTTERANCE RECORDING START END, in seconds",
            problems=problems,
        )


def _stretch(line: Line) -> Stretch:
    """Raises ValueError."""
    words = line.value.split()
    if len(words) not in (3, 4):
        raise ValueError(f"{len(words) + 1} words, where there are four, or five with a channel")
    start_s, end_s = number(words[1]), number(words[2])
    if start_s is None or start_s < 0 or end_s is None or (end_s < 0 and end_s != -1):
        raise ValueError(f"{words[1]} and {words[2]} are no times in a recording")
    if end_s != -1 and end_s <= start_s:
        raise ValueError(f"its end ({end_s:g}) is not after its start ({start_s:g})")
    channel = channels.channel_of(words[3]) if len(words) == 4 else None
    if len(words) == 4 and channel is None:
        raise ValueError(f"{words[3]} is no channel")
    return Stretch(words[0], start_s, None if end_s == -1 else end_s, channel)


def number(word: str) -> Optional[float]:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < 1e7 else None
