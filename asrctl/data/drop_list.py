"""What `prepare --drop FILE` leaves out: utterances that somebody, or an audit, found to be wrong, with the reasons."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, Mapping, Optional, Tuple

from asrctl.data.audit.findings import KINDS
from asrctl.data.audit.report import AuditReport
from asrctl.data.utterance import Utterance
from asrctl.errors import BadData
from asrctl.events import Emit, Warned
from asrctl.messages import amounts
from asrctl.storage import files, records
from asrctl.storage.records import is_text

_MOST_BYTES = 1 << 28
_FIX = (
    "give the report.json or findings.jsonl of an audit, or a list of one ID a line, each with a tab and a reason "
    "behind it if you like"
)


@dataclass(frozen=True)
class _Entry:
    """A line of findings.jsonl, or of a list of somebody's own."""

    id: str
    kind: Optional[str] = None
    reason: Optional[str] = None
    detail: Optional[str] = None

    def told(self) -> str:
        return ": ".join(part for part in (self.kind, self.reason, self.detail) if part)


def read(path: Path, emit: Emit) -> Dict[str, str]:
    """{id: reason}. A report.json, JSON lines, or a list of IDs with a tab (in .csv: a comma) before each reason.

    Raises BadData.
    """
    try:
        text = files.read_bytes(path, fix=_FIX, most=_MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadData(f"{path} is not UTF-8", fix=_FIX) from None
    found: Dict[str, str] = {}
    for identity, reason in _entries(path, text, emit):
        # Half a character has no place in a file.
        reason = " ".join(reason.split()) if is_text(reason) else ""
        known = found.get(identity)
        found[identity] = reason if not known else f"{known}; {reason}" if reason and reason not in known else known
    if not found:
        raise BadData(f"{path} names no utterance", fix=_FIX)
    return found


def present(wanted: Mapping[str, str], utterances: Iterable[Utterance], path: Path, emit: Emit) -> Dict[str, str]:
    """Those that the corpus has; a warning of the others."""
    found = {utterance.id: wanted[utterance.id] for utterance in utterances if utterance.id in wanted}
    missing = [identity for identity in wanted if identity not in found]
    if missing:
        count = f"{len(missing)} of {amounts.count(len(wanted), 'utterance')} of {path}"
        emit(Warned(f"{count} {amounts.noun(len(missing), 'is', 'are')} not in this corpus, such as {missing[0]}"))
    return found


def _entries(path: Path, text: str, emit: Emit) -> Iterator[Tuple[str, str]]:
    first = text.lstrip()[:1]
    if first not in ("{", "["):
        yield from _listed(path, text)
        return
    try:
        whole = files.parse_json(text)
    except (ValueError, RecursionError):
        whole = None
    if records.problem(AuditReport, whole) is None:
        yield from _reported(path, records.read(AuditReport, whole, "", fix=_FIX), emit)
        return
    for number, values in enumerate(_values(path, text, whole), 1):
        if isinstance(values, str):
            yield values, ""
        else:
            entry = records.read(_Entry, values, f"{path}, entry {number} names no utterance", fix=_FIX)
            kind = KINDS.get(entry.kind or "")
            if kind is None or kind.can_be_dropped:
                yield entry.id, entry.told()


def _values(path: Path, text: str, whole: Any) -> Iterator[Any]:
    """What JSON lists, or JSON lines, hold."""
    if whole is not None:
        yield from whole if isinstance(whole, list) else [whole]
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield files.parse_json(line)
            except (ValueError, RecursionError) as error:
                raise BadData(f"{path}, line {number} is not JSON ({error})", fix=_FIX) from None


def _reported(path: Path, report: AuditReport, emit: Emit) -> Iterator[Tuple[str, str]]:
    for kind in report.kinds:
        if kind.kind in KINDS and not KINDS[kind.kind].can_be_dropped:
            continue
        if kind.count > len(kind.findings):
            listed = f"{path} lists {len(kind.findings)} of {kind.count} findings of {kind.kind}"
            emit(Warned(f"{listed}; findings.jsonl beside it has all"))
        for finding in kind.findings:
            entry = records.read(_Entry, finding, f"{path} has a finding without an ID", fix=_FIX)
            yield entry.id, entry.told()


def _listed(path: Path, text: str) -> Iterator[Tuple[str, str]]:
    separator = "," if path.suffix.lower() == ".csv" else "\t"
    lines = text.splitlines()
    rows = csv.reader(lines) if separator == "," else (line.split(separator) for line in lines)
    for number, row in enumerate(rows):
        if row and row[0].strip() and not (number == 0 and row[0].strip().lower() == "id"):
            yield row[0].strip(), " ".join(row[1:])
