"""What the utterances that are kept hold, and labels that none of them teaches.

A vocabulary that was built before knows nothing of what is left out.
"""

from __future__ import annotations

from typing import Callable, Iterable, Optional, Sequence

from asrctl.data import glyphs, rejects, text_statistics
from asrctl.data.dataset import PreparedData
from asrctl.data.split_roles import Roles
from asrctl.data.text import TextRules, Vocabulary
from asrctl.data.utterance import Utterance
from asrctl.events import Emit, Warned
from asrctl.messages import amounts, command_lines
from asrctl.storage.workspace import Artifact, Workspace

_MOST_TOLD = 12


def kept(
    scanned: text_statistics.Scan,
    prepared: Artifact,
    utterances: Callable[[], Iterable[Utterance]],
    roles: Roles,
    text: TextRules,
) -> text_statistics.Scan:
    """The scan of a corpus without those of its utterances that were left out: the same groups, some of them empty."""
    splits = PreparedData(prepared).summary.splits
    empty = {role for role in roles.names if role not in splits}
    if not empty and not any(split.rejected for split in splits.values()):
        return scanned
    gone = {reject.id for role in splits for reject in rejects.read(prepared.path / role / rejects.FILE)}
    rest = (item for item in utterances() if item.id not in gone and roles.of(item) not in empty)
    left = text_statistics.scan(rest, roles, text)
    groups = {key: left.groups.get(key, text_statistics.Group()) for key in scanned.groups}
    return text_statistics.Scan(groups, scanned.digests, scanned.report)


def tell(
    kept: text_statistics.Scan, given: Artifact, roles: Roles, splits: Sequence[str], again: Optional[str], emit: Emit
) -> None:
    """Warn of labels that no utterance holds that is kept and trained on.

    given: the vocabulary that was there before. splits: that one is collected from now; again: by which command (see
    `with_own_labels`).
    """
    trained = [key for key in kept.groups if key[0] == "train"]
    if given.summary.get("given") or not trained:
        return  # a model's own labels are learned already, and what is only evaluated teaches none
    of = given.summary.get("splits", ())
    asked = [key for key in kept.groups if not set(key).isdisjoint(of)]
    heard = {character for key in (*trained, *asked) for character in kept.groups[key].characters}
    vocabulary = Vocabulary.load(given.path)
    lost = sorted(set(vocabulary.letters) - {vocabulary.word_delimiter} - heard)
    if not lost:
        return
    shown = [glyphs.shown(label) for label in lost[:_MOST_TOLD]]
    more = f" and {len(lost) - _MOST_TOLD} more" if len(lost) > _MOST_TOLD else ""
    is_alike = tuple(of) == tuple(splits) or (roles.held_out and tuple(of) == (*splits, "eval"))
    cure = f"`{again}` makes none of them" if again and is_alike else "build it of a corpus without what is left out"
    emit(
        Warned(
            f"no training utterance that is kept holds {amounts.count(len(lost), 'label')} of the vocabulary, so "
            f"nothing teaches {amounts.noun(len(lost), 'it', 'them')}: {' '.join(shown)}{more}; {cure}"
        )
    )


def with_own_labels(
    workspace: Workspace, words: Sequence[str], name: str, holding: TextRules, own: TextRules
) -> Optional[str]:
    """The command that was typed, so that it collects labels itself by the same rules; None where no option says them.

    name: of the data. holding: the rules of the vocabulary that was used; own: those of the command without it.
    """
    wanted, without = holding.spelled_out(), own.spelled_out()
    differing = {key for key in wanted if wanted[key] != without[key]}
    if not words or not differing <= {"case", "remove"}:
        return None
    rules = ("--case", wanted["case"], "--remove", glyphs.typed(wanted["remove"])) if differing else ()
    replaced = ("--vocab", "--name", *rules[::2])
    kept = command_lines.without(words, replaced, ("--json", "--verbose", "--force"))
    taken = {*workspace.names("vocab"), *workspace.names("prepared")}
    number = next(number for number in range(2, len(taken) + 3) if f"{name}-{number}" not in taken)
    return command_lines.shown((*kept, *rules, "--name", f"{name}-{number}"))
