"""What a workspace holds: which stages are done, which are stale and why, the disk they use, and what to type next."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Mapping, Optional, Sequence

from asrctl.config import presets
from asrctl.data import staleness
from asrctl.errors import AsrctlError, BadData
from asrctl.events import ignore
from asrctl.models import model_files
from asrctl.storage import files, records
from asrctl.storage.locks import held_locks
from asrctl.storage.names import is_plain_name
from asrctl.storage.workspace import KINDS, Artifact, Workspace
from asrctl.training.runs import Run, resume_command

if TYPE_CHECKING:
    from asrctl.data.dataset import PreparedData, PreparedSplit

# Trained with where data was prepared without any.
DEFAULT_PRESET = "tiny-cpu"
STAGES = {"vocab": "vocab", "prepared": "prepare", "audits": "audit", "evals": "eval", "exports": "export"}


@dataclass(frozen=True)
class Line:
    """One thing that a stage has made.

    state: done | stale | running | interrupted | failed | killed | complete | damaged.

    why: for all states but done and complete, one sentence. details: numbers that people want to see.
    """

    stage: str
    name: str
    state: str
    why: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> Dict[str, Any]:
        found = {"stage": self.stage, "name": self.name, "state": self.state, "why": self.why}
        return dict(found, details=dict(self.details))


@dataclass(frozen=True)
class Status:
    """disk: {kind of content: bytes}. next: commands, the most useful first."""

    lines: Sequence[Line]
    disk: Mapping[str, int]
    free_bytes: int
    next: Sequence[str]

    def as_dict(self) -> Dict[str, Any]:
        return {
            "items": [line.as_dict() for line in self.lines],
            "disk": dict(self.disk, total=sum(self.disk.values())),
            "free_bytes": self.free_bytes,
            "next": list(self.next),
        }


def status(workspace: Workspace) -> Status:
    """Look at everything, change nothing. An empty or missing folder is fine. Raises BadData."""
    lines = [*_vocabularies(workspace), *_prepared(workspace), *_audits(workspace), *_runs(workspace)]
    lines += _results(workspace) + _unfinished(workspace)
    folders = (*KINDS, "runs", "downloads", "cache", ".tmp")
    disk = {name.strip("."): files.disk_bytes(workspace.root / name) for name in folders}
    place = workspace.root.absolute()
    while not place.exists():
        place = place.parent
    return Status(
        lines=lines,
        disk={name: count for name, count in disk.items() if count},
        free_bytes=shutil.disk_usage(str(place)).free,
        next=_next(workspace, lines),
    )


def _named(workspace: Workspace, kind: str) -> Dict[str, Optional[Artifact]]:
    return {name: workspace.find(kind, identity) for name, identity in workspace.names(kind).items()}


def _gone(stage: str, name: str, **details: Any) -> Line:
    return Line(stage, name, "stale", "its folder is gone; make it again", details)


def _vocabularies(workspace: Workspace) -> List[Line]:
    lines = []
    for name, artifact in _named(workspace, "vocab").items():
        if artifact is None:
            lines.append(_gone("vocab", name))
        else:
            lines.append(Line("vocab", name, "done", details={"id": artifact.id}))
    return lines


def _prepared(workspace: Workspace) -> List[Line]:
    vocabularies = workspace.names("vocab")
    lines = []
    for name, artifact in _named(workspace, "prepared").items():
        record = staleness.checked(workspace.ref("prepared", name).get("source"), name)
        command = staleness.command(record)
        if artifact is None:
            lines.append(_gone("prepare", name, command=command))
            continue
        used, newest = artifact.summary.get("vocabulary"), vocabularies.get(name)
        is_old = newest is not None and used != newest
        why = f"the vocabulary {name!r} was built again since" if is_old else staleness.changes(record) or ""
        if artifact.summary.get("mixture") is not None:
            why = _changes_of_mixture(workspace, artifact) or ""
        details = {"id": artifact.id, "splits": artifact.summary.get("splits", {})}
        details.update(command=command, looked_at=len(record.audio))
        lines.append(Line("prepare", name, "stale" if why else "done", why, details))
    return lines


def _audits(workspace: Workspace) -> List[Line]:
    """Under the names of their data; those of data that was prepared again since are stale."""
    names = {identity: name for name, identity in workspace.names("prepared").items()}
    lines = []
    for artifact in workspace.all("audits"):
        summary, data = artifact.summary, artifact.meta.get("inputs", {}).get("data")
        name = names.get(str(data)) or str(summary.get("data") or data)
        why = "" if data in names else f"{name} was prepared again since"
        known = {key: summary[key] for key in ("findings", "run") if summary.get(key) is not None}
        lines.append(Line("audit", name, "stale" if why else "done", why, {"id": artifact.id, **known}))
    return lines


def _runs(workspace: Workspace) -> List[Line]:
    held, data = held_locks(workspace.root), workspace.names("prepared")
    lines = []
    for folder in workspace.runs():
        if folder.name.startswith("."):  # a run put aside while another takes its place
            continue
        try:
            run = Run(folder).brief()
        except BadData as error:
            lines.append(
                Line(
                    "train",
                    folder.name,
                    "damaged",
                    f"{error.message}; train --run {folder.name} --overwrite replaces it",
                )
            )
            continue
        state, why = run.state, ""
        if state == "running" and f"run-{folder.name}" not in held:
            state, why = "killed", "its process is gone"
        elif state in ("interrupted", "failed"):
            why = run.error or run.reason or ""
        if state == "complete" and data.get(run.data.name, run.data.id) != run.data.id:
            state, why = "stale", f"the data {run.data.name!r} was prepared again since"
        elif state == "complete" and run.data.name not in data:
            why = _other_parts(workspace, run.data.id) or ""
            state = "stale" if why else state
        told, known = records.as_dict(run), ("steps", "total_steps", "best", "device", "preset", "processes")
        details = {key: told[key] for key in known if key in told}
        details.update({"rate": run.rate_name} if run.rate_name != "WER" else {})
        lines.append(Line("train", folder.name, state, why, details))
    return lines


def _other_parts(workspace: Workspace, identity: str) -> Optional[str]:
    """What has changed of the parts of a mixture that has no name of its own."""
    artifact = workspace.find("prepared", identity) if is_plain_name(identity) else None
    if artifact is None or artifact.summary.get("mixture") is None:
        return None
    why = _changes_of_mixture(workspace, artifact)
    return why and f"of its data, {why}"


def _changes_of_mixture(workspace: Workspace, artifact: Artifact) -> Optional[str]:
    from asrctl.commands import mixture  # with it come numpy and pyarrow, which take longer than all else here
    from asrctl.data.dataset import PreparedData

    return mixture.changes(workspace, PreparedData(artifact))


def _results(workspace: Workspace) -> List[Line]:
    """Evaluations and exports, by the run that they are of; those of a run that has learned more since are stale."""
    found = [artifact for kind in ("evals", "exports") for artifact in workspace.all(kind)]
    names = {str(artifact.summary.get("run")) for artifact in found}
    models = _model_digests(workspace, {name for name in names if is_plain_name(name)})
    lines = []
    for artifact in found:
        summary = artifact.summary
        name = str(summary.get("run") or artifact.id)
        current = models.get(name)
        is_old = current is not None and artifact.meta.get("inputs", {}).get("model") != current
        known = ("split", "wer", "cer", "rate", "decoder", "format", "data")
        details = {"id": artifact.id, **{key: summary[key] for key in known if key in summary}}
        why = f"run {name} has another model since" if is_old else ""
        lines.append(Line(STAGES[artifact.kind], name, "stale" if is_old else "done", why, details))
    return lines


def _model_digests(workspace: Workspace, names: Iterable[str]) -> Dict[str, str]:
    folders = {name: workspace.root / "runs" / name / "model" for name in names}
    return {name: model_files.told_digest(folder) for name, folder in folders.items() if folder.is_dir()}


def _unfinished(workspace: Workspace) -> List[Line]:
    lines, held = [], held_locks(workspace.root)
    for path in sorted((workspace.root / ".tmp").glob("*-*")):
        kind = path.name.split("-")[0]
        if path.is_dir() and kind in STAGES and not _is_over(workspace, kind, path):
            state, why = ("running", "") if path.name in held else ("interrupted", "the same command goes on with it")
            lines.append(Line(STAGES[kind], path.name.partition("-")[2], state, why))
    return lines


def _is_over(workspace: Workspace, kind: str, build: Path) -> bool:
    """Whether a build was published, and this is what is left of the one that it replaced while others read that."""
    return files.is_gone(build) and workspace.find(kind, build.name.partition("-")[2]) is not None


def _next(workspace: Workspace, lines: Sequence[Line]) -> List[str]:
    """What to type next: go on with what was stopped, else the stage after the last one that is done."""
    found: List[str] = []
    runs = [line for line in lines if line.stage == "train"]
    for line in runs:
        if line.state in ("interrupted", "killed"):
            found.append(resume_command(workspace, line.name, Run(workspace.run(line.name)).brief()))
    prepared = [line for line in lines if line.stage == "prepare"]
    if not prepared:
        first = (("demo",), ("prepare", "folder", "FOLDER"), ("prepare", "librispeech"))
        return [workspace.command(*words) for words in first]
    again = [line.details.get("command") for line in prepared if line.state == "stale"]
    found += [command for command in again if command]
    done = [line for line in runs if line.state in ("complete", "stale")]
    if not done:
        return found or [_training(workspace)]
    last = done[-1].name
    made = [line for line in lines if line.name == last and line.state == "done"]
    stages = {line.stage for line in made}
    found += [
        workspace.command("eval", "--run", last, "--data", line.name)
        for line in prepared
        if _only_evaluates(line) and not any(other.details.get("data") == line.name for other in made)
    ]
    evaluation = _evaluation(workspace, last) if "eval" not in stages else None
    if evaluation is not None:
        found.append(evaluation)
    elif "export" not in stages:
        found.append(_export(workspace, last))
    return found


def _only_evaluates(line: Line) -> bool:
    """Whether prepared data has splits, and none for training."""
    splits = line.details.get("splits") or {}
    return bool(splits) and "train" not in splits


def _training(workspace: Workspace) -> str:
    """The command that trains on the latest data, if that is sound; that prepares some, where none is for training."""
    if workspace.latest("prepared") is None:
        return workspace.command("prepare", "folder", "FOLDER")
    try:
        from asrctl.data.dataset import PreparedData

        return after_preparing(workspace, PreparedData(workspace.resolve("prepared", None, fix="")))
    except AsrctlError:
        return workspace.command("train", "--preset", DEFAULT_PRESET)


def after_preparing(workspace: Workspace, data: "PreparedData", preset: Optional[str] = None) -> str:
    """What to type once data is prepared: to train, by the preset it was prepared with, or else a small one.

    Of data for evaluation only: to evaluate with it, once there is a model.
    preset: as it was typed to prepare the data. Raises BadData, PresetError.
    """
    from asrctl.data import data_rules
    from asrctl.training import compatibility

    if not data.trains:
        has_model = any((folder / "model").is_dir() for folder in workspace.runs())
        return workspace.command("eval", "--data", data.summary.name) if has_model else _training(workspace)
    name = preset or data.summary.preset or DEFAULT_PRESET
    rules = data_rules.of_data(data)
    resolved = data_rules.applied(presets.load(name, workspace=workspace.root), rules, data.artifact.id, ignore)
    roles = ("train", "eval")
    splits: Mapping[str, "PreparedSplit"] = {role: data.split(role) for role in roles if role in data.splits}
    found = compatibility.conflicts(resolved.recipe, data, splits, compatibility.convolutions(resolved.recipe))
    if any(not conflict.overrides for conflict in found):
        return workspace.command("presets", "list")
    overrides = {key: value for conflict in found for key, value in conflict.overrides.items()}
    words = [word for key, value in overrides.items() for word in ("--set", f"{key}={value}")]
    return workspace.command("train", "--preset", name, *words)


def after_training(workspace: Workspace, run: str) -> str:
    """What to type once a run has a model: to evaluate it, or else, without a split for that, to export it.

    Raises BadData.
    """
    return _evaluation(workspace, run) or _export(workspace, run)


def _evaluation(workspace: Workspace, run: str) -> Optional[str]:
    """The command that evaluates a run; None where its data is known and has no split for that."""
    identity = Run(workspace.run(run)).brief().data.id
    artifact = workspace.find("prepared", identity) if is_plain_name(identity) else None
    splits = artifact.summary.get("splits") if artifact is not None else None
    if not isinstance(splits, dict) or "eval" in splits:
        return workspace.command("eval", "--run", run)
    return workspace.command("eval", "--run", run, "--split", "test") if "test" in splits else None


def _export(workspace: Workspace, run: str) -> str:
    return workspace.command("export", "--run", run, "--format", "hf")
