"""What `prepare` is asked for, and what that means: the corpus listed, its rules, who does what."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterator, Optional, Tuple

from asrctl.commands import rule_flags, vocab
from asrctl.data import drop_list, manifest, rules, split_roles, staleness
from asrctl.data.manifest import CorpusChoice, Listing
from asrctl.events import Emit
from asrctl.storage.workspace import Artifact, Workspace


@dataclass(frozen=True)
class PrepareRequest:
    """What the user asked for. vocab: name of a vocabulary; max_rejects: share of utterances that may be dropped.

    force: read every recording again, also where it looks unchanged, and make the data anew.
    command: the words typed, for `asrctl status` to tell them again. merge: take what jobs have decoded
    (commands/prepare_share.py). drop: a file that names utterances to leave out.
    """

    choice: CorpusChoice
    flags: rule_flags.RuleFlags = rule_flags.RuleFlags()
    vocab: Optional[str] = None
    workers: Optional[int] = None
    max_rejects: float = 0.05
    force: bool = False
    command: Tuple[str, ...] = ()
    merge: bool = False
    drop: Optional[Path] = None


@dataclass(frozen=True)
class Found:
    """A corpus that was listed: who does what, and by which rules."""

    rules: rules.Rules
    given: Optional[Artifact]
    roles: split_roles.Roles
    name: str
    listing: Listing

    def chooses_text(self, request: PrepareRequest) -> bool:
        """Whether options decide what is left of a text, and no vocabulary that was named or taken from a model."""
        return request.vocab is None and not (self.given is not None and self.given.summary.get("given"))


@contextmanager
def listed(
    workspace: Workspace,
    request: PrepareRequest,
    emit: Emit,
    watcher: Optional[staleness.Watcher],
    *,
    salted: bool = False,
) -> Iterator[Tuple[Found, Listing]]:
    """What a request means, with its listing in a scratch file. watcher: None leaves the workspace untouched, but for
    its salt where that is to be kept.

    Raises BadData, MissingArtifact, UsageError, PresetError.
    """
    write = watcher is not None
    wanted_out = drop_list.read(request.drop, emit) if request.drop is not None else {}
    decided = rule_flags.resolve(request.flags, workspace.root)
    name = request.choice.data_name
    text, given = vocab.choose(workspace, request.vocab, decided, name, emit)
    with manifest.listed(workspace, request.choice, emit, write=write, watcher=watcher, salted=salted) as (
        _,
        wanted,
        listing,
    ):
        assigned = split_roles.assign(wanted, listing.path, listing.counts)
        assigned.tell(emit)
        if request.drop is not None:
            dropped = drop_list.present(wanted_out, listing.utterances(), request.drop, emit)
            assigned = replace(assigned, dropped=dropped)
        yield Found(rules.with_text(decided, text), given, assigned, name, listing), listing
