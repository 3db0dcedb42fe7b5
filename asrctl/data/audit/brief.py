"""What `prepare` says of its own result: sentences, speakers and audio that splits share, a line each.

Only what is cheap: samples are read where another split has as many.
"""

from __future__ import annotations

from collections import Counter
from typing import Dict, List, Mapping, Set, Tuple

from asrctl.data.audit import overlap
from asrctl.data.audit.sources import Source, sources
from asrctl.data.dataset import PreparedData
from asrctl.data.shard_files import as_numpy
from asrctl.events import Emit, Note, Warned
from asrctl.messages import amounts

# {what: {"train test": how many of test}}
Counts = Dict[str, Dict[str, int]]


def tell(data: PreparedData, copies: Mapping[str, int], emit: Emit) -> Counts:
    """A warning of each two splits that share sentences, speakers or audio where that says something of the splits.

    copies: of recordings that were told already, as data/duplicates.py counts them. Raises BadData.
    """
    if len(data.splits) < 2:
        return {"sentences": {}, "speakers": {}, "audio": {}}
    found = _Found(data)
    told, facts = found.speakers.odd()
    for fact in facts:
        emit(Note(fact))
    counts = {"sentences": found.tell_sentences(emit), "speakers": Counter(f"{s.other_split} {s.split}" for s in told)}
    for pair, count in sorted(counts["speakers"].items()):
        other, split = pair.split()
        first = next(one for one in told if (one.split, one.other_split) == (split, other))
        who = f"speaker {first.speaker}" if count == 1 else f"{count} speakers, such as {first.speaker},"
        verb = amounts.noun(count, "is", "are")
        emit(Warned(f"{who} of {split} {verb} in {other} too: results there say less about other voices"))
    return {**{name: dict(pairs) for name, pairs in counts.items()}, "audio": found.tell_audio(copies, emit)}


class _Found:
    """What the splits of prepared data share."""

    def __init__(self, data: PreparedData) -> None:
        self._data = data
        self._sentences, self._audio = overlap.Shared(), overlap.Shared()
        self.speakers = overlap.Speakers()
        self._lengths: Set[int] = set()
        self._audio_of: List[Tuple[str, str, int]] = []
        for source in sources(data, overlap.ORDER):
            self._add(source)

    def _add(self, source: Source) -> None:
        split, batch = source.split, source.open()
        ids, texts = source.ids(batch), batch.column("text").to_pylist()
        self.speakers.add(split, ids, source.speakers(batch), source.part)
        column, lengths = batch.column("pcm"), batch.column("num_samples").to_pylist()
        offsets, samples = as_numpy(column.offsets), as_numpy(column.values)
        for row, (identity, text) in enumerate(zip(ids, texts)):
            self._sentences.add(split, identity, overlap.text_digest(text))
            if split != "train" or lengths[row] in self._lengths:
                digest = overlap.audio_digest(samples[offsets[row] : offsets[row + 1]])
                self._audio.add(split, identity, digest)
                if split != "train":
                    self._lengths.add(lengths[row])
                    self._audio_of.append((split, identity, digest))

    def tell_sentences(self, emit: Emit) -> Dict[str, int]:
        counts: "Counter[str]" = Counter()
        examples: Dict[str, Tuple[str, str]] = {}
        for source in sources(self._data, overlap.ORDER[:-1]):
            batch = source.open()
            for identity, text in zip(source.ids(batch), batch.column("text").to_pylist()):
                said = self._sentences.elsewhere(source.split, overlap.text_digest(text))
                if said is not None and not overlap.is_stock(text, said):
                    pair = f"{said.split} {source.split}"
                    counts[pair] += 1
                    examples.setdefault(pair, (identity, said.id))
        for pair, count in sorted(counts.items()):
            other, split = pair.split()
            have = f"{amounts.count(count, 'utterance')} of {split} {amounts.noun(count, 'has', 'have')}"
            first, there = examples[pair]
            emit(Warned(f"{have} a sentence of {other}, such as {first} that of {there}: `asrctl audit` lists them"))
        return dict(sorted(counts.items()))

    def tell_audio(self, copies: Mapping[str, int], emit: Emit) -> Dict[str, int]:
        counts: "Counter[str]" = Counter()
        examples: Dict[str, Tuple[str, str]] = {}
        for split, identity, digest in self._audio_of:
            same = self._audio.elsewhere(split, digest)
            if same is not None:
                counts[f"{same.split} {split}"] += 1
                examples.setdefault(f"{same.split} {split}", (identity, same.id))
        for pair, count in sorted(counts.items()):
            other, split = pair.split()
            first, there = examples[pair]
            if count > copies.get(pair, 0):  # else the files themselves are the same, and that was told
                have = f"{amounts.count(count, 'utterance')} of {split} {amounts.noun(count, 'has', 'have')}"
                emit(Warned(f"{have} the samples of one of {other}, such as {first} those of {there}"))
        return dict(sorted(counts.items()))
