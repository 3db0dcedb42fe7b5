"""Several prepared data as one: what is drawn from, and how often. It holds no speech of its own, but names its parts.

The same parts and weights are the same artifact, whether `prepare mix` gives it a name or `train --data A,B` does not.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from functools import reduce
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from asrctl.data import data_rules, staleness
from asrctl.data.dataset import PreparedData
from asrctl.data.mixing import Shares
from asrctl.data.summary import SPLITS, MixedPart, Mixture, PreparedSummary, SplitSummary
from asrctl.data.text import TextRules, Vocabulary, build_vocabulary
from asrctl.errors import UsageError
from asrctl.events import Emit, Note, Warned, ignore
from asrctl.messages import amounts
from asrctl.storage import records
from asrctl.storage.names import valid_name
from asrctl.storage.workspace import Artifact, Key, Workspace

VERSION = 1
CORPUS = "mix"
_FIX_PART = "run `asrctl prepare CORPUS` on it first, or leave it out"
# A weight has at most so many decimals: all of them together are whole numbers that JSON takes.
_DECIMALS = 6
_MOST = 1_000_000

# Rules of texts that parts need not share: how a language is written.
_OF_A_LANGUAGE = ("language", "replace")

Named = Tuple[str, PreparedData]


@dataclass(frozen=True)
class MixRequest:
    """names: of the parts, in their order. weights: one for each, else `temperature` decides (data/mixing.Shares)."""

    names: Tuple[str, ...]
    weights: Optional[Tuple[int, ...]] = None
    temperature: Optional[float] = None

    @property
    def shares(self) -> Shares:
        return Shares(self.weights, 1.0 if self.temperature is None else self.temperature)


def weights(typed: Sequence[str]) -> Tuple[int, ...]:
    """Whole numbers in the ratio of the weights that were typed, as small as can be. Raises UsageError."""
    found = [int(_number(word).scaleb(_DECIMALS)) for word in typed]
    divisor = reduce(math.gcd, found, 0)
    return tuple(number // divisor for number in found)


def _number(word: str) -> Decimal:
    try:
        number = Decimal(word.strip())
    except InvalidOperation:
        number = Decimal(0)
    is_fine = number.is_finite() and 0 < number <= _MOST and number == round(number, _DECIMALS)
    if not is_fine:
        raise UsageError(
            f"{word.strip()!r} is no weight",
            fix=f"give a number above 0 and up to {_MOST:,}, with at most {_DECIMALS} decimals, such as 2 or 0.5",
        )
    return number


def names(typed: str) -> Tuple[str, ...]:
    """ "A, B" -> ("A", "B")."""
    return tuple(word.strip() for word in typed.split(",") if word.strip())


def request(parts: Sequence[str], typed: Optional[Sequence[str]], temperature: Optional[float]) -> MixRequest:
    """typed: the weights, one for each part. Raises UsageError."""
    if typed is not None and temperature is not None:
        raise UsageError(
            "weights say how much of each part is drawn, and --temperature finds that by their sizes, so they exclude "
            "each other",
            fix="give one of them",
        )
    if typed is not None and len(typed) != len(parts):
        raise UsageError(
            f"there are {amounts.count(len(parts), 'part')} ({', '.join(parts)}) and "
            f"{amounts.count(len(typed), 'weight')} ({', '.join(typed)})",
            fix="give each part a weight, or none",
        )
    return MixRequest(tuple(parts), None if typed is None else weights(typed), temperature)


def planned(workspace: Workspace, wanted: MixRequest) -> PreparedData:
    """The mixture, which may not be on disk yet. Raises UsageError, MissingArtifact, BadData."""
    parts = _parts(workspace, wanted)
    _refuse_misfits(workspace, parts)
    vocabulary = _vocabulary(workspace, parts)
    _refuse_never_drawn(wanted, parts)
    mixture = Mixture(
        parts=tuple(MixedPart(name, data.artifact.id, data.content) for name, data in parts),
        weights=wanted.weights,
        temperature=wanted.shares.temperature,
        vocab_splits=_vocab_splits(workspace, parts),
    )
    summary = _summary(parts, vocabulary, mixture)
    key = Key(
        "prepared",
        VERSION,
        parameters={"corpus": CORPUS, **records.as_dict(mixture)},
        inputs={"vocabulary": vocabulary.digest},
    )
    path = workspace.folder(key.kind, key.id)
    artifact = workspace.find(key.kind, key.id)
    unpublished = Artifact(key.kind, key.id, path, dict(key.as_dict(), summary=records.as_dict(summary)))
    return PreparedData(artifact or unpublished, None if artifact is not None else vocabulary)


def published(workspace: Workspace, data: PreparedData, emit: Emit = ignore) -> PreparedData:
    """The same on disk. Raises OSError."""
    if data.planned is None:
        return data
    for name, part in data.parts():
        own, unk = part.vocabulary(), part.vocabulary().unk_id
        unknown = part.split("train").count(unk) if own.digest != data.planned.digest and unk is not None else 0
        if unknown:
            emit(
                Warned(
                    f"{amounts.count(unknown, 'character')} of {name} had no label when it was prepared and "
                    f"{amounts.noun(unknown, 'is', 'are')} learned as {own.unk}, even where another part has a label"
                )
            )
    meta = data.artifact.meta
    key = Key(data.artifact.kind, VERSION, parameters=meta["parameters"], inputs=meta["inputs"])
    with workspace.publish(key) as draft:
        if draft.published is None:
            (draft.path / "vocab").mkdir()
            data.planned.save(draft.path / "vocab")
            draft.summary.update(meta["summary"])
    return PreparedData(draft.artifact)


def changes(workspace: Workspace, data: PreparedData) -> Optional[str]:
    """What is not as it was when a mixture was made, in a sentence; None where nothing has changed. Raises BadData."""
    now = workspace.names("prepared")
    for part in data.summary.mixture.parts if data.summary.mixture is not None else ():
        artifact = workspace.find("prepared", part.id)
        if artifact is None:
            return f"the part {part.name} ({part.id}) is gone"
        if now.get(part.name, part.id) != part.id or PreparedData(artifact).content != part.content:
            return f"the part {part.name} was prepared again since"
    return None


# -- what fits together -----------------------------------------------------------------------------------------------


def _parts(workspace: Workspace, wanted: MixRequest) -> List[Named]:
    if len(wanted.names) < 2:
        raise UsageError(
            "a mixture is of several prepared data, and one is named",
            fix="name another, or use that one by its own name",
        )
    parts = [(name, PreparedData(workspace.resolve("prepared", name, fix=_FIX_PART))) for name in wanted.names]
    seen: Dict[str, str] = {}
    for name, data in parts:
        other = seen.setdefault(data.artifact.id, name)
        if sum(name == one for one in wanted.names) > 1:
            raise UsageError(f"{name} is named twice", fix="name each part once; its weight says how often it is drawn")
        if other != name:
            raise UsageError(f"{other} and {name} are the same data", fix=f"leave {name} out")
        if data.summary.mixture is not None:
            of = ", ".join(part.name for part in data.summary.mixture.parts)
            raise UsageError(f"{name} is a mixture itself", fix=f"name its parts instead ({of})")
        if not data.trains:
            raise UsageError(
                f"{name} has no split for training, so nothing of it could be drawn",
                fix=f"leave it out; `{workspace.command('eval', '--data', name)}` evaluates on it",
            )
    return parts


def _refuse_misfits(workspace: Workspace, parts: Sequence[Named]) -> None:
    """Raises UsageError for parts of other sample rates or text rules than the first's."""
    first, of = parts[0]
    rules = _text(of)
    for name, data in parts[1:]:
        if data.sample_rate != of.sample_rate:
            again = staleness.again(workspace, name, data.artifact.id, {"--sample-rate": str(of.sample_rate)})
            raise UsageError(
                f"{first} has {of.sample_rate} samples a second and {name} {data.sample_rate}",
                fix=f"prepare {name} again {again}",
            )
        theirs = _text(data)
        other = [key for key in rules if rules[key] != theirs[key] and key not in _OF_A_LANGUAGE]
        if other:
            shown = ", ".join(f"text.{key} is {rules[key]!r} and {theirs[key]!r}" for key in other)
            raise UsageError(
                f"{first} and {name} were prepared by different text rules: {shown}",
                fix=f"prepare {name} again {_again_by(workspace, of, name, data, other)}",
            )


def _text(data: PreparedData) -> Dict[str, Any]:
    return dict(TextRules().spelled_out(), **data.summary.text)


def _common_text(parts: Sequence[Named]) -> TextRules:
    """The rules that all parts share."""
    rules = _text(parts[0][1])
    alike = {key: value for key, value in rules.items() if all(_text(data)[key] == value for _, data in parts)}
    return TextRules(**alike)


def _again_by(workspace: Workspace, first: PreparedData, name: str, data: PreparedData, other: Sequence[str]) -> str:
    """How to prepare a part by the text rules of the first."""
    options = {f"--{key}": _text(first)[key] for key in other if key in ("case", "remove")}
    if len(options) < len(other):  # its tokens, which only a vocabulary brings along
        named = {identity: called for called, identity in workspace.names("vocab").items()}
        options["--vocab"] = named.get(first.summary.vocabulary, first.summary.vocabulary)
    return staleness.again(workspace, name, data.artifact.id, options)


def _refuse_never_drawn(wanted: MixRequest, parts: Sequence[Named]) -> None:
    sizes = [data.summary.splits["train"].utterances for _, data in parts]
    for (name, _), quota in zip(parts, wanted.shares.quotas(sizes)):
        if not quota:
            raise UsageError(
                f"of {name} nothing would be drawn in an epoch of {amounts.count(sum(sizes), 'utterance')}",
                fix="give it a larger weight, or leave it out",
            )


def _vocabulary(workspace: Workspace, parts: Sequence[Named]) -> Vocabulary:
    """What all parts have; else of all characters of theirs, built as any. Raises UsageError where a model's own is
    among different ones: its labels are bound to the model."""
    found = [data.vocabulary() for _, data in parts]
    if len({vocabulary.digest for vocabulary in found}) == 1:
        return found[0]
    rules = _common_text(parts)
    letters = [_letters(vocabulary, rules) for vocabulary in found]
    for place, (name, data) in enumerate(parts):
        if build_vocabulary(dict.fromkeys(letters[place], 1), rules).digest != found[place].digest:
            others = [one for one in parts if one[0] != name and one[1].vocabulary().digest != found[place].digest]
            other, theirs = others[0]
            named = {identity: called for called, identity in workspace.names("vocab").items()}
            vocab = named.get(data.summary.vocabulary, data.summary.vocabulary)
            again = staleness.again(workspace, other, theirs.artifact.id, {"--vocab": vocab})
            raise UsageError(
                f"{name} has a vocabulary that was given to it, and {other} another one",
                fix=f"prepare {other} with the same, {again}",
            )
    return build_vocabulary(dict.fromkeys(sorted(set().union(*letters)), 1), rules)


def _letters(vocabulary: Vocabulary, rules: TextRules) -> List[str]:
    return [" " if letter == rules.word_delimiter else letter for letter in vocabulary.letters]


# -- what it says of itself -------------------------------------------------------------------------------------------


def _vocab_splits(workspace: Workspace, parts: Sequence[Named]) -> Tuple[str, ...]:
    found = [data_rules.of_vocabulary(workspace, data).get("text.vocab_splits", ()) for _, data in parts]
    return tuple(dict.fromkeys(split for splits in found for split in splits))


def _summary(parts: Sequence[Named], vocabulary: Vocabulary, mixture: Mixture) -> PreparedSummary:
    summaries = [data.summary for _, data in parts]
    first = summaries[0]
    same = all(one.vocabulary == first.vocabulary for one in summaries)
    presets = {one.preset for one in summaries}
    return PreparedSummary(
        name=",".join(name for name, _ in parts),
        corpus=CORPUS,
        preset=first.preset if len(presets) == 1 else None,
        sample_rate=first.sample_rate,
        min_s=min(one.min_s for one in summaries),
        max_s=max(one.max_s for one in summaries),
        text=_common_text(parts).as_dict(),
        conv_kernel=first.conv_kernel,
        conv_stride=first.conv_stride,
        vocabulary=first.vocabulary if same else "",
        vocabulary_digest=vocabulary.digest,
        vocabulary_size=len(vocabulary),
        manifest="",
        note=None,
        splits={split: _split(split, parts) for split in SPLITS if any(split in data.splits for _, data in parts)},
        mixture=mixture,
    )


def _split(split: str, parts: Sequence[Named]) -> SplitSummary:
    of = [(name, data.summary.splits[split]) for name, data in parts if split in data.splits]
    raw_texts = [one.raw_texts for _, one in of]
    reasons: "Counter[str]" = Counter()
    for _, one in of:
        reasons.update(one.reasons)
    return SplitSummary(
        utterances=sum(one.utterances for _, one in of),
        seconds=round(sum(one.seconds for _, one in of), 3),
        rejected=sum(one.rejected for _, one in of),
        reasons=dict(sorted(reasons.items())),
        sources=tuple(name for name, _ in of),
        raw_texts=None if None in raw_texts else sum(count or 0 for count in raw_texts),
    )


# -- prepare mix ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DrawnPart:
    """A part: its utterances for training, its share of an epoch, how many that are, and how often each comes."""

    name: str
    id: str
    utterances: int
    share: float
    per_epoch: int
    times: float


@dataclass(frozen=True)
class MixResult:
    """A mixture under its name. new: False where it was there already. splits: as in the artifact's summary."""

    name: str
    id: str
    path: Path
    new: bool
    parts: Tuple[DrawnPart, ...]
    splits: Mapping[str, SplitSummary]
    vocabulary: Mapping[str, Any]
    data: PreparedData

    def as_dict(self) -> Dict[str, Any]:
        values = {name: value for name, value in self.__dict__.items() if name != "data"}
        return dict(records.plain(values), path=str(self.path))


def plan(workspace: Workspace, wanted: MixRequest, name: str) -> MixResult:
    """What `mix` would do; nothing is written. Raises UsageError, MissingArtifact, BadData."""
    return _result(planned(workspace, wanted), wanted, valid_name(name))


def mix(workspace: Workspace, wanted: MixRequest, name: str, command: Sequence[str], emit: Emit = ignore) -> MixResult:
    """Publish a mixture and let `name` mean it. command: the words typed. Raises what `plan` raises, OSError."""
    result = plan(workspace, wanted, name)
    if name in wanted.names:
        raise UsageError(f"{name} is a part of the mixture", fix="give the mixture another --name")
    if not result.new:
        emit(Note(f"this mixture is there already ({result.id}): nothing is made"))
    source = records.as_dict(staleness.Watcher(None, workspace.root).record(command))
    with workspace.lock(f"mix-{name}", wait=True):  # keeps `asrctl clean` away until the name leads to it
        data = published(workspace, result.data, emit)
        workspace.set_ref("prepared", name, data.artifact.id, source=source)
    return replace(result, data=data)


def _result(data: PreparedData, wanted: MixRequest, name: str) -> MixResult:
    parts = data.parts()
    sizes = [part.summary.splits["train"].utterances for _, part in parts]
    quotas = wanted.shares.quotas(sizes)
    drawn = tuple(
        DrawnPart(called, part.artifact.id, size, round(quota / sum(sizes), 6), quota, round(quota / size, 6))
        for (called, part), size, quota in zip(parts, sizes, quotas)
    )
    return MixResult(
        name=name,
        id=data.artifact.id,
        path=data.artifact.path,
        new=data.planned is not None,
        parts=drawn,
        splits=data.summary.splits,
        vocabulary={"id": data.summary.vocabulary or None, "size": data.summary.vocabulary_size},
        data=data,
    )
