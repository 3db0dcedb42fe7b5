"""What a command would read and write: the answer to --dry-run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping


@dataclass(frozen=True)
class DryRun:
    """reads, writes: {what: where}. unchanged: the result is there already, and would only be shown or copied.

    facts: what else is settled, {name: plain value}.
    """

    reads: Mapping[str, Path]
    writes: Mapping[str, Path]
    unchanged: bool
    facts: Mapping[str, Any]

    def as_dict(self) -> Dict[str, Any]:
        return {
            **self.facts,
            "reads": {what: str(path) for what, path in self.reads.items()},
            "writes": {what: str(path) for what, path in self.writes.items()},
            "unchanged": self.unchanged,
        }
