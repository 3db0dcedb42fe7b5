"""Which characters become labels: of which splits, and only those that some utterance that is kept holds."""

from __future__ import annotations

from collections import Counter
from typing import Callable, Iterable, Iterator, Set, Tuple

from asrctl.data import shards, text_statistics
from asrctl.data.rules import Rules
from asrctl.data.shard_files import PreparedUtterance
from asrctl.data.split_roles import Roles
from asrctl.data.text import TextRules, build_vocabulary
from asrctl.data.utterance import Utterance
from asrctl.events import Emit, Note, Progress, Warned
from asrctl.messages import amounts
from asrctl.runtime.threads import in_order


def splits(scanned: text_statistics.Scan, assigned: Roles, decided: Rules) -> Tuple[str, ...]:
    """Those that were typed; else those of the rules that the corpus has, and all of its roles where it has none."""
    if _typed(decided):
        return decided.vocab_splits
    there = {name for key in scanned.groups for name in key}
    return tuple(name for name in decided.vocab_splits if name in there) or tuple(assigned.names)


def _typed(decided: Rules) -> bool:
    return decided.origins["text.vocab_splits"] == "flag"


def widened(
    scanned: text_statistics.Scan, assigned: Roles, decided: Rules, usual: Tuple[str, ...], emit: Emit
) -> Tuple[str, ...]:
    """The splits to collect characters from: held-out utterances too, where too many of theirs are in no other.

    Only where asrctl itself has held them out and nobody has typed which splits to take.
    """
    if not assigned.held_out or "eval" in usual or _typed(decided):
        return usual
    counts = scanned.characters(usual)
    built = build_vocabulary(counts, decided.text) if counts else None
    if built is None or text_statistics.excess(scanned, built, assigned.names) is None:
        return usual
    unknown = text_statistics.unknown_characters(scanned.characters(("eval",)), built)
    if not unknown:
        return usual
    emit(
        Note(
            f"{amounts.count(len(unknown), 'character stands', 'characters stand')} only in the held-out utterances "
            f"({amounts.count(sum(unknown.values()), 'time')}), so the"
            " vocabulary is collected from these too"
        )
    )
    return (*usual, "eval")


def collected(
    scanned: text_statistics.Scan,
    assigned: Roles,
    decided: Rules,
    utterances: Callable[[], Iterable[Utterance]],
    max_rejects: float,
    workers: int,
    emit: Emit,
) -> Tuple[text_statistics.Scan, Tuple[str, ...]]:
    """The scan without what becomes no label, and the splits that labels are made of (see `splits`, `widened`).

    utterances: those of the corpus, again and again. max_rejects: the share of them that may be left out.
    """
    usual = splits(scanned, assigned, decided)
    witnesses = Witnesses(
        shards.Converter(decided, build_vocabulary(scanned.characters(usual), decided.text)),
        utterances,
        assigned,
        decided.text,
        allowed=int(max_rejects * sum(scanned.utterances(role) for role in assigned.names)),
        workers=workers,
        emit=emit,
    )
    scanned = witnesses.heard(scanned, usual)
    wider = widened(scanned, assigned, decided, usual, emit)
    return (scanned if wider == usual else witnesses.heard(scanned, wider)), wider


class Witnesses:
    """Finds, for a character, an utterance that holds it and is kept.

    convert: as it will be converted; utterances: those of the corpus, again and again; allowed: how many utterances may
    be left out, so that a character that more of them hold is sure to be kept.
    """

    def __init__(
        self,
        convert: Callable[[shards.Source], shards.Outcome],
        utterances: Callable[[], Iterable[Utterance]],
        assigned: Roles,
        text: TextRules,
        *,
        allowed: int,
        workers: int,
        emit: Emit,
    ) -> None:
        self._convert = convert
        self._utterances = utterances
        self._roles = assigned
        self._text = text
        self._allowed = allowed
        self._workers = workers
        self._emit = emit

    def heard(self, scanned: text_statistics.Scan, splits: Tuple[str, ...]) -> text_statistics.Scan:
        """The scan without those characters of `splits` that only utterances hold which are left out."""
        groups = scanned.named(splits)
        holders: "Counter[str]" = Counter()
        for key in groups:
            holders.update(scanned.groups[key].holders)
        wanted = {character for character, count in holders.items() if count <= self._allowed} - {" "}
        missing = self._without_witness(wanted, set(groups))
        if not missing or missing >= set(holders) - {" "}:  # of none at all there is more to say than this
            return scanned
        counts = {character: scanned.characters(splits)[character] for character in missing}
        self._emit(
            Warned(
                f"no label is made of what only utterances hold that are left out: {text_statistics.describe(counts)}"
            )
        )
        return scanned.without(missing, splits)

    def _without_witness(self, wanted: Set[str], groups: Set[text_statistics.GroupKey]) -> Set[str]:
        total = len(wanted)
        if not total:
            return wanted
        found = in_order(
            self._convert,
            shards.sources(self._candidates(wanted, groups)),
            workers=self._workers,
            on_stall=shards.stalled(self._emit),
        )
        for outcome in found:
            if isinstance(outcome, PreparedUtterance):
                wanted.difference_update(self._text.units(outcome.text))
            self._emit(Progress("check characters", total - len(wanted), total, "characters"))
        return wanted

    def _candidates(self, wanted: Set[str], groups: Set[text_statistics.GroupKey]) -> Iterator[Utterance]:
        """wanted: shrinks meanwhile."""
        for utterance in self._utterances():
            if (self._roles.of(utterance), utterance.split) in groups and not wanted.isdisjoint(
                self._text.units(self._text.apply(utterance.text))
            ):
                yield utterance
            if not wanted:
                return
