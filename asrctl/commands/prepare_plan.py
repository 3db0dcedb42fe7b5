"""What `prepare` would do."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional

from asrctl.commands import rule_flags
from asrctl.commands.prepare_request import PrepareRequest, listed
from asrctl.data import alphabet, labels, size_estimate, text_statistics
from asrctl.events import Emit, ignore
from asrctl.storage.workspace import Workspace


@dataclass(frozen=True)
class PreparePlan:
    """What `prepare` would do. downloads: {file: bytes} to fetch first; where there are any, no more is known."""

    name: str
    splits: Mapping[str, Mapping[str, Any]]
    note: Optional[str]
    estimated_bytes: int
    downloads: Mapping[str, int]
    settings: Mapping[str, Any]
    origins: Mapping[str, str]
    unused: Mapping[str, int] = field(default_factory=dict)
    alphabet: Mapping[str, Any] = field(default_factory=dict)
    texts: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> Dict[str, Any]:
        return dict(self.__dict__)


def plan(workspace: Workspace, request: PrepareRequest, emit: Emit = ignore) -> PreparePlan:
    """What `prepare` would do; nothing is written, downloaded or decoded. Raises what `prepare` raises."""
    decided = rule_flags.resolve(request.flags, workspace.root)
    settings = {
        **dataclasses.asdict(decided.audio),
        "text": decided.text.as_dict(),
        "vocab_splits": list(decided.vocab_splits),
        "preset": decided.preset,
        "max_rejects": request.max_rejects,
    }
    name = request.choice.data_name
    downloads = size_estimate.downloads(workspace, request.choice)
    if downloads:
        return PreparePlan(name, {}, None, 0, downloads, settings, decided.origins)
    with listed(workspace, request, ignore, None) as (found, listing):
        scanned = text_statistics.scan(listing.utterances(), found.roles, found.rules.text)
        splits = {
            role: {"utterances": scanned.utterances(role), "sources": list(sources)}
            for role, sources in found.roles.by_role.items()
        }
        estimated = size_estimate.num_bytes(listing.utterances(), found.roles, scanned, found.rules.audio)
        settings["text"] = found.rules.text.as_dict()
        found.roles.tell_unused(emit)
        labeled = labels.splits(scanned, found.roles, found.rules)
        examined = alphabet.examine(scanned, labeled, listing.utterances(), found.roles, found.rules.text)
        note, unused = found.roles.note, found.roles.unused
        examined.warn(emit, proposes=found.chooses_text(request))
        shown = examined.told(request.command, proposes=found.chooses_text(request))
        scanned.report.warn(found.rules.text, emit)
        texts = scanned.report.as_dict(found.rules.text)
        fetched = listing.to_fetch
        return PreparePlan(name, splits, note, estimated, fetched, settings, decided.origins, unused, shown, texts)
