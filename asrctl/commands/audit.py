"""Prepared data -> what is odd about it, published as audits/ID.

findings.jsonl   every finding, with its kind and what is odd, in the order of the shards
report.json      counts, histograms and the oddest of each kind (data/audit/report.py)
report.html      the same as a page, with players
"""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Dict, Iterable, Iterator, List, Optional, Set, Tuple

import numpy as np

from asrctl.commands import doubts, report_files, transcription
from asrctl.commands.select import ChosenData, TrainedModel, find_data, find_model, warn_of_newer_data
from asrctl.commands.transcription import How
from asrctl.data.audit import overlap
from asrctl.data.audit.findings import Finding, LabelDoubt
from asrctl.data.audit.report import SCHEMA, AuditReport, Chart, SplitSize, Tally, chart, shortened
from asrctl.data.audit.scan import Scan, scan
from asrctl.data.audit.sources import Source, sources, whole
from asrctl.data.dataset import PreparedData
from asrctl.data.shard_files import as_numpy
from asrctl.data.utterance import Utterance, read_manifest
from asrctl.errors import BadData, QualityGate
from asrctl.events import Emit, Note, ignore
from asrctl.messages import amounts
from asrctl.reports import audit_page
from asrctl.storage import files, records
from asrctl.storage.workspace import Artifact, Draft, Key, Workspace

VERSION = 1
_FIX_AUDIT = "audit again with --force"
_FEW = 20


@dataclass(frozen=True)
class AuditRequest:
    """data: name of prepared data; default is the run's, else the latest. run: whose model tells label doubts.
    output: where the page goes too, or the JSON.
    """

    data: Optional[str] = None
    run: Optional[str] = None
    device: str = "auto"
    output: Optional[Path] = None
    workers: Optional[int] = None
    force: bool = False


@dataclass(frozen=True)
class AuditResult:
    """unchanged: it was there already. seconds: that it took, if any. output: where the page was written too."""

    artifact: Artifact
    report: AuditReport
    unchanged: bool
    seconds: Optional[float]
    output: Optional[Path] = None

    @property
    def page(self) -> Path:
        return self.artifact.path / "report.html"

    def as_dict(self, most: int = 5) -> Dict[str, Any]:
        """most: findings of each kind."""
        values = records.as_dict(self.report)
        values["kinds"] = [dict(kind, findings=kind["findings"][:most]) for kind in values["kinds"]]
        values["data"] = {"name": values["data"], "id": values.pop("id")}
        del values["schema"], values["charts"]
        values["ranking"] = values["ranking"][:most]
        return dict(
            values,
            id=self.artifact.id,
            path=str(self.artifact.path),
            report=str(self.artifact.path / "report.json"),
            page=str(self.page),
            output=None if self.output is None else str(self.output),
            unchanged=self.unchanged,
            seconds=self.seconds,
        )


def audit(workspace: Workspace, request: AuditRequest, emit: Emit = ignore) -> AuditResult:
    """Look through all of the data; a result that is there already is returned as it is.

    Raises MissingArtifact (no such data), BadData (damaged), UsageError (output), OSError.
    """
    output = None
    if request.output is not None:
        what = "an audit's report"
        output = report_files.meant(workspace, request.output, AuditReport, what=what, replace=request.force)
    trained = None if request.run is None else find_model(workspace, request.run, None)
    chosen = find_data(workspace, trained, request.data)
    emit(Note(f"auditing data {chosen.name} ({chosen.data.artifact.id}, {chosen.why})"))
    warn_of_newer_data(chosen, emit)
    listener = None if trained is None else _listener(trained, request.device, emit)
    key = _key(chosen, listener)
    began = time.monotonic()
    with workspace.publish(key, replace=request.force) as draft:
        unchanged = draft.published is not None
        if not unchanged:
            _Job(workspace, chosen, listener, request.workers, emit).run(draft)
    if draft.published is None:
        raise BadData(f"{key.id} was not published", fix="run the command again")
    if unchanged:
        emit(Note(f"nothing has changed: audit {key.id} is there already (--force does it again)"))
    seconds = None if unchanged else round(time.monotonic() - began, 2)
    if output is not None:
        with output.written() as temporary:
            temporary.write_bytes((draft.published.path / f"report{output.path.suffix}").read_bytes())
    written = None if output is None else output.path
    return AuditResult(draft.published, read_report(draft.published), unchanged, seconds, written)


@dataclass(frozen=True)
class _Listener:
    """The model that is asked, and how it runs."""

    trained: TrainedModel
    how: How


def _listener(trained: TrainedModel, device: str, emit: Emit) -> _Listener:
    how = transcription.choose(trained, device, None, None, emit)
    doubts.refuse_ipu(how)
    return _Listener(trained, how)


def _key(chosen: ChosenData, listener: Optional[_Listener]) -> Key:
    inputs = {"data": chosen.data.artifact.id, "content": chosen.data.content}
    if listener is None:
        return Key("audits", VERSION, inputs=inputs)
    how = listener.how
    parameters = {"device": how.device.kind, "precision": how.precision}
    return Key("audits", VERSION, parameters, {**inputs, "model": listener.trained.digest})


def check_strict(result: AuditResult) -> None:
    """Raises QualityGate where anything was found."""
    if result.report.findings:
        kinds = ", ".join(f"{kind.count} {kind.kind}" for kind in result.report.kinds)
        raise QualityGate(
            f"the audit has {amounts.count(result.report.findings, 'finding')} ({kinds})",
            fix=f"look at {result.page}, mend the corpus and prepare it again",
        )


def read_report(artifact: Artifact) -> AuditReport:
    """The report.json of an audit. Raises BadData."""
    path = artifact.path / "report.json"
    return records.read(AuditReport, files.read_json(path, fix=_FIX_AUDIT), f"{path} is damaged", fix=_FIX_AUDIT)


class _Job:
    """The audit of some data."""

    def __init__(
        self,
        workspace: Workspace,
        chosen: ChosenData,
        listener: Optional[_Listener],
        workers: Optional[int],
        emit: Emit,
    ) -> None:
        self._workspace, self._data, self._name = workspace, chosen.data, chosen.name
        self._listener, self._workers, self._emit = listener, workers, emit
        self._ranking: Tuple[LabelDoubt, ...] = ()
        self._tally = Tally()

    def run(self, draft: Draft) -> None:
        with _spool(draft) as spool, _spool(draft) as heard:
            found, findings = scan(self._data, spool, self._emit, workers=self._workers)
            found.usual(self._listed())
            speakers, facts = found.speakers.odd()
            doubted = self._doubts(heard)
            self._write(draft.path / "findings.jsonl", [findings, speakers, doubted.findings() if doubted else ()])
        charts = _charts(found, doubted)
        report = self._report([*facts, *_facts(self._data, found)], charts)
        files.write_json(draft.path / "report.json", records.as_dict(report))
        samples = _Samples(self._data, report)
        files.write_text(draft.path / "report.html", audit_page.render(report, samples))
        draft.summary.update(data=self._name, findings=report.findings, run=report.run)

    def _doubts(self, spool: IO[bytes]) -> "Optional[doubts.Doubts]":
        if self._listener is None:
            return None
        found = doubts.look(self._listener.trained, self._data, self._listener.how, spool, self._emit)
        self._ranking = tuple(found.ranking())
        return found

    def _listed(self) -> Optional[Iterator[Utterance]]:
        """The utterances under the names that findings have; None where their list is gone."""
        lists = []
        for name, part in whole(self._data):
            manifest = self._workspace.find("manifests", part.summary.manifest)
            path = None if manifest is None else manifest.path / "utterances.jsonl"
            if path is not None and files.is_file(path):
                lists.append((f"{name}/" if name else "", path))
        named = (replace(one, id=f"{lead}{one.id}") for lead, path in lists for one in read_manifest(path))
        return named if lists else None

    def _write(self, path: Path, several: Iterable[Iterable[Finding]]) -> None:
        with files.atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
            for finding in (finding for findings in several for finding in findings):
                self._tally.add(finding)
                stream.write(json.dumps(finding.as_dict(), ensure_ascii=False) + "\n")

    def _report(self, facts: List[str], charts: Tuple[Chart, ...]) -> AuditReport:
        sizes = self._data.summary.splits.items()
        return AuditReport(
            schema=SCHEMA,
            data=self._name,
            id=self._data.artifact.id,
            sample_rate=self._data.sample_rate,
            splits={name: SplitSize(split.utterances, split.seconds) for name, split in sizes},
            findings=self._tally.total,
            kinds=self._tally.kinds(),
            facts=tuple(facts),
            charts=charts,
            run=None if self._listener is None else self._listener.trained.name,
            ranking=tuple(shortened(one.as_dict()) for one in self._ranking),
        )


@contextmanager
def _spool(draft: Draft) -> Iterator[IO[bytes]]:
    """A file without a name, on the disk that has room for the result."""
    with tempfile.TemporaryFile(dir=str(draft.path)) as spool:
        yield spool


def _charts(found: Scan, doubted: "Optional[doubts.Doubts]") -> Tuple[Chart, ...]:
    usual = (
        chart("duration", "Length of the utterances", "seconds", found.seconds),
        chart("pace", "Text for the speech", "characters per second", found.pace),
        chart("level", "Level of the speech", "dBFS", found.levels.histogram),
        chart("bandwidth", "Highest frequency", "Hz", found.bands.histogram),
    )
    if doubted is None:
        return usual
    return (*usual, chart("doubt", "Doubt in the text", "nats per character", doubted.histogram))


def _facts(data: PreparedData, found: Scan) -> Iterator[str]:
    """What is no fault, and people should know."""
    for split in overlap.ORDER:
        seen = found.seen[split]
        if seen:
            whole = data.summary.splits[split].utterances
            have = amounts.noun(seen, "has", "have")
            yield f"{seen} of {amounts.count(whole, 'utterance')} of {split} {have} a sentence that another split has"
    if found.bands.share > 0 and not found.bands.are_odd:
        yield f"{100 * found.bands.share:.0f} % of the utterances have a narrow band, as recordings of a lower rate do"
    if found.seconds.total < _FEW:
        yield f"{amounts.count(found.seconds.total, 'utterance')} are too few to tell what is unusual among them"


class _Samples:
    """The samples of the utterances that have a player."""

    def __init__(self, data: PreparedData, report: AuditReport) -> None:
        self._found: Dict[Tuple[str, str], np.ndarray] = {}
        wanted: Dict[str, Set[str]] = {}
        for kind in report.kinds:
            for finding in [*kind.findings[: audit_page.HEARD], *audit_page.ranked(report)[: audit_page.HEARD]]:
                wanted.setdefault(finding["split"], set()).add(finding["id"])
        for source in sources(data, list(wanted)):
            if wanted[source.split]:
                self._look(source, wanted[source.split])

    def _look(self, source: Source, ids: Set[str]) -> None:
        batch = source.open()
        column = batch.column("pcm")
        for row, identity in enumerate(source.ids(batch)):
            if identity in ids:
                ids.discard(identity)
                start, end = column.offsets[row].as_py(), column.offsets[row + 1].as_py()
                pcm = as_numpy(column.values.slice(start, end - start))
                self._found[source.split, identity] = pcm.copy()  # the map may go

    def __call__(self, split: str, identity: str) -> Optional[np.ndarray]:
        return self._found.get((split, identity))
