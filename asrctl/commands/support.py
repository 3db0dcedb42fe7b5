"""What the tests took through which stages: the table of models, by release of transformers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple

from asrctl.models import architectures
from asrctl.storage import files, records

FILE = Path(__file__).resolve().parent.parent / "models" / "support.json"
HEAD = ("model type", "hears", "in a batch", "stages", "engines", "exports", "devices")
_FIX = "install asrctl again"


@dataclass(frozen=True)
class Tried:
    """What a release of transformers does with one type of model.

    refused: why it is not trained there; then all else is empty. stages, engines, exports, devices: those that the
    tests went through.
    """

    model_class: str
    refused: str = ""
    stages: Tuple[str, ...] = ()
    engines: Tuple[str, ...] = ()
    exports: Tuple[str, ...] = ()
    devices: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Support:
    """generations: {release of transformers: {model type: what was tried}}."""

    generations: Mapping[str, Mapping[str, Tried]] = field(default_factory=dict)

    def as_dict(self) -> Dict[str, Any]:
        return {
            "generations": {
                release: {kind: records.as_dict(tried) for kind, tried in sorted(kinds.items())}
                for release, kinds in sorted(self.generations.items())
            }
        }


def read() -> Support:
    """What the tests wrote. Raises BadData."""
    values = files.read_json(FILE, fix=_FIX)
    return Support(
        {
            release: {kind: records.read(Tried, tried, f"{FILE} is damaged", fix=_FIX) for kind, tried in kinds.items()}
            for release, kinds in values["generations"].items()
        }
    )


def rows(support: Support) -> Tuple[Tuple[str, ...], List[Tuple[str, ...]]]:
    """(head, rows): a row for each type of model, and a column for each release."""
    releases = sorted(support.generations)
    kinds = list(architectures.LISTED)
    kinds += sorted({kind for found in support.generations.values() for kind in found} - set(kinds))
    return (*HEAD, *releases), [_row(support, kind, releases) for kind in kinds]


def _row(support: Support, kind: str, releases: List[str]) -> Tuple[str, ...]:
    tried = [support.generations[release].get(kind) for release in releases]
    known = architectures.LISTED.get(kind)
    hears = "samples" if known is not None and known.hears_samples else "features"
    together = "together" if known is not None and known.together else "alone"
    done = [one for one in tried if one is not None]
    cells = [_union([getattr(one, name) for one in done]) for name in ("stages", "engines", "exports", "devices")]
    has = ["-" if one is None else one.refused or "yes" for one in tried]
    return (kind, hears, together, *cells, *has)


def _union(found: List[Tuple[str, ...]]) -> str:
    return ", ".join(dict.fromkeys(name for names in found for name in names)) or "-"
