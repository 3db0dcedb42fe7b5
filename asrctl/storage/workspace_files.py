"""What JSON files of a workspace hold at least, whichever stage has written them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping, Optional


@dataclass(frozen=True)
class Marker:
    """workspace.json."""

    schema: int


@dataclass(frozen=True)
class Started:
    """Of a run: its place in the order in which runs were started."""

    sequence: int = 0


@dataclass(frozen=True)
class Summary:
    """What the summaries of several kinds of artifact have."""

    run: Optional[str] = None
    split: str = ""


@dataclass(frozen=True)
class Meta:
    """An artifact's meta.json. files: {path: sha256}."""

    inputs: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    summary: Summary = Summary()
