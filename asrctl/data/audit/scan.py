"""Two passes over prepared data, shard by shard: what is usual, then what is not. Memory stays flat.

What the first pass measures waits for the second in a file of some 60 bytes an utterance.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import IO, Any, Iterable, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

from asrctl.data.audit import bandwidth, level, measures, overlap, speech_rate
from asrctl.data.audit.distribution import Histogram
from asrctl.data.audit.findings import (
    Bandwidth,
    Clipping,
    Finding,
    Level,
    SameAudio,
    SameSentence,
    Script,
    Silence,
    SpeechRate,
)
from asrctl.data.audit.script import Scripts
from asrctl.data.audit.sources import Source, sources
from asrctl.data.dataset import PreparedData
from asrctl.data.shard_files import as_numpy
from asrctl.data.utterance import Utterance
from asrctl.events import Emit, Progress, Warned
from asrctl.runtime.threads import default_workers, in_order


class _Shard(NamedTuple):
    """Of one file of a split, in its order. measured: (utterances,) of measures.MEASURES; sketches: (utterances,
    measures.SKETCH), in the first pass only."""

    split: str
    part: str
    ids: List[str]
    texts: List[str]
    speakers: List[Optional[str]]
    measured: np.ndarray
    sketches: np.ndarray


@dataclass
class Scan:
    """What is usual in a corpus, and what its splits share.

    seen: {split: utterances whose sentence is in training, or for test in eval, too}.
    """

    sample_rate: int
    rates: speech_rate.Rates = field(default_factory=speech_rate.Rates)
    levels: level.Levels = field(default_factory=level.Levels)
    seconds: Histogram = field(default_factory=lambda: Histogram(0.0, 605.0, 0.1))
    pace: Histogram = field(default_factory=lambda: Histogram(0.0, 100.0, 0.25))
    characters: "Counter[str]" = field(default_factory=Counter)
    sentences: overlap.Shared = field(default_factory=overlap.Shared)
    audio: overlap.Shared = field(default_factory=overlap.Shared)
    recordings: overlap.Recordings = field(default_factory=overlap.Recordings)
    speakers: overlap.Speakers = field(default_factory=overlap.Speakers)
    seen: "Counter[str]" = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.bands = bandwidth.Bands(self.sample_rate)
        self.scripts = Scripts({})

    def add(self, shard: _Shard) -> None:
        """The first pass."""
        measured = shard.measured
        self.rates.add(measured["characters"], measured["active_s"])
        self.levels.histogram.add(measured["level"])
        self.seconds.add(measured["seconds"])
        self.pace.add(measured["characters"] / measured["active_s"])
        self.bands.add(measured["edge_hz"], shard.ids)
        for text in shard.texts:
            self.characters.update(text)
        self.recordings.add(shard.split, shard.ids, measured["seconds"], shard.sketches)
        self.speakers.add(shard.split, shard.ids, shard.speakers, shard.part)
        for digests, held in (("sentence", self.sentences), ("audio", self.audio)):
            for identity, digest in zip(shard.ids, measured[digests].tolist()):
                held.add(shard.split, identity, digest)

    def usual(self, utterances: Optional[Iterable[Utterance]]) -> None:
        """Between the passes. utterances: of the corpus, as it was listed, where that is still there."""
        self.scripts = Scripts(self.characters)
        self.bands.decide(utterances)

    def judge(self, shard: _Shard) -> Iterator[Finding]:
        """The second pass: all that is odd about these utterances."""
        measured = shard.measured
        yield from self._shared(shard)
        deviations = self.rates.deviations(measured["characters"], measured["active_s"])
        lowest, highest = self.levels.limits()
        silent = level.may_be_silent(measured)
        unusual = (measured["level"] < lowest) | (measured["level"] > highest)
        narrow = self.bands.is_narrow(measured["edge_hz"]) & self.bands.are_odd
        clipped = measured["clipped"] >= level.CLIPPED_SHARE
        for row in np.flatnonzero((deviations != 0) | silent | unusual | narrow | clipped).tolist():
            named = shard.ids[row], shard.split, shard.texts[row]
            found = level.silence(measured[row]) if silent[row] else None
            if found is not None:
                yield Silence(*named, found[0], _rounded(found[1]), _rounded(measured[row]["seconds"]))
            if found is not None and found[0] == "all":
                continue  # nothing else can be said of what is not heard
            if deviations[row]:
                yield self._rate(named, measured[row], float(deviations[row]))
            if unusual[row]:
                yield Level(*named, _rounded(measured[row]["level"]), _rounded(self.levels.usual()))
            if clipped[row]:
                yield Clipping(*named, _rounded(measured[row]["clipped"], 5))
            if narrow[row]:
                yield Bandwidth(*named, float(measured[row]["edge_hz"]), self.sample_rate)
        yield from self._foreign(shard)

    def _rate(self, named: Tuple[str, str, str], measured: Any, deviations: float) -> SpeechRate:
        pace = float(measured["characters"]) / max(float(measured["active_s"]), 1e-3)
        usual = self.rates.usual(int(measured["characters"]))
        return SpeechRate(*named, _rounded(measured["seconds"]), _rounded(pace), _rounded(usual), _rounded(deviations))

    def _shared(self, shard: _Shard) -> Iterator[Finding]:
        if shard.split == "train":
            return
        for row, (identity, text) in enumerate(zip(shard.ids, shard.texts)):
            measured = shard.measured[row]
            exactly = self.audio.elsewhere(shard.split, int(measured["audio"]))
            same = exactly or self.recordings.elsewhere(shard.split, identity)
            if same is not None:
                yield SameAudio(identity, shard.split, text, same.id, same.split, _rounded(measured["seconds"]))
            said = self.sentences.elsewhere(shard.split, int(measured["sentence"]))
            if said is not None:
                self.seen[shard.split] += 1
                if not overlap.is_stock(text, said):
                    yield SameSentence(identity, shard.split, text, said.id, said.split, said.times)

    def _foreign(self, shard: _Shard) -> Iterator[Finding]:
        for identity, text in zip(shard.ids, shard.texts):
            found = self.scripts.find(text)
            if found is not None:
                letters, script, word = found
                yield Script(identity, shard.split, text, letters, script, word, self.scripts.usual)


def _rounded(value: Any, digits: int = 2) -> float:
    return round(float(value), digits)


def scan(
    data: PreparedData, spool: IO[bytes], emit: Emit, *, workers: Optional[int] = None
) -> Tuple[Scan, Iterator[Finding]]:
    """What is usual, and all findings as they are read, in the order of ORDER and the shards.

    spool: a file for what was measured, to write and read. The findings are to be read once. Raises BadData, OSError.
    """
    found = Scan(data.sample_rate)
    total_s = sum(split.seconds for split in data.summary.splits.values())
    done_s = 0.0
    counts: List[int] = []
    jobs = ((source, data.sample_rate) for source in sources(data, overlap.ORDER))
    for shard in in_order(_measured, jobs, workers=workers or default_workers(), on_stall=_stalled(emit)):
        found.add(shard)
        spool.write(shard.measured.tobytes())
        counts.append(len(shard.measured))
        done_s += float(shard.measured["seconds"].sum(dtype=np.float64))
        emit(Progress("audit", round(done_s, 1), round(total_s, 1), "s of audio"))
    return found, _judged(data, found, spool, counts)


def _judged(data: PreparedData, found: Scan, spool: IO[bytes], counts: List[int]) -> Iterator[Finding]:
    spool.seek(0)
    for source, count in zip(sources(data, overlap.ORDER), counts):
        content = spool.read(count * measures.MEASURES.itemsize)
        batch = source.open()
        names = source.ids(batch), batch.column("text").to_pylist(), source.speakers(batch)
        measured = np.frombuffer(content, dtype=measures.MEASURES)
        yield from found.judge(_Shard(source.split, source.part, *names, measured, _NO_SKETCHES))


_NO_SKETCHES = np.zeros((0, measures.SKETCH), dtype=np.float32)


def _measured(job: Tuple[Source, int]) -> _Shard:
    source, sample_rate = job
    batch = source.open()
    ids, texts, speakers = source.ids(batch), batch.column("text").to_pylist(), source.speakers(batch)
    column = batch.column("pcm")
    offsets, samples = as_numpy(column.offsets), as_numpy(column.values)
    measured = np.zeros(len(ids), dtype=measures.MEASURES)
    sketches = np.zeros((len(ids), measures.SKETCH), dtype=np.float32)
    for row, text in enumerate(texts):
        pcm = samples[offsets[row] : offsets[row + 1]]
        digests = overlap.text_digest(text), overlap.audio_digest(pcm)
        sound = measures.measure(pcm, sample_rate)
        seconds, active_s = len(pcm) / sample_rate, sound.active_s
        measured[row] = (*digests, seconds, active_s, len(text), *sound[1:-1])
        sketches[row] = sound.sketch
    return _Shard(source.split, source.part, ids, texts, speakers, measured, sketches)


def _stalled(emit: Emit) -> Any:
    def tell(job: Tuple[Source, int], waited_s: float) -> None:
        emit(Warned(f"no progress for {waited_s:.0f} s: still reading {job[0].path}"))

    return tell
