"""A run's folder: what it is, in which state, and where its parts lie."""

from __future__ import annotations

import contextlib
import re
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, List, Optional

from asrctl.config import presets
from asrctl.config.recipe import Recipe
from asrctl.errors import BadData, MissingArtifact
from asrctl.messages import command_lines, suggestions
from asrctl.storage import atomic, files, records
from asrctl.storage.ownership import MODEL, RUN
from asrctl.storage.redact import redact_values
from asrctl.storage.workspace import Workspace
from asrctl.training import checkpoints
from asrctl.training.run_info import RunInfo

_FIX = "see `asrctl status`; `asrctl train --run NAME --overwrite` replaces a damaged run"
PAGE = "report.html"
# What the confidences of its model's words mean (commands/confidences.py).
CONFIDENCE = "confidence.json"
FILES = ("run.json", "recipe.yaml", "metrics.jsonl", "guard.json", PAGE, CONFIDENCE)
# What a command that is typed once more does without.
_NOT_AGAIN = ("--resume", "--overwrite", "--if-new", "--dry-run", "--json", "--verbose")
# Of run.json: what users typed and what libraries said.
_FREE_TEXT = ("command", "base", "error")


class Run:
    """runs/NAME. run.json is rewritten whole whenever the state changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def model(self) -> Path:
        """The best model so far: a Hugging Face folder."""
        return self.folder / "model"

    @property
    def shell(self) -> Path:
        """Configuration and vocabulary that the run was started with, without weights."""
        return self.folder / "start"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def page(self) -> Path:
        """What its metrics log says, for people; made when the run ends, and when somebody asks."""
        return self.folder / PAGE

    @property
    def recipe_path(self) -> Path:
        return self.folder / "recipe.yaml"

    def exists(self) -> bool:
        return self._described.exists()

    def info(self) -> RunInfo:
        """Raises BadData where run.json is missing, damaged or lacks what every run has."""
        found = self.brief()
        if found.lacks:
            raise BadData(f"{self._described} does not describe a run (no {found.lacks})", fix=_FIX)
        return found

    def brief(self) -> RunInfo:
        """What run.json holds, complete or not. Raises BadData where it is missing or damaged."""
        return records.read(RunInfo, self.values(), f"{self._described} does not describe a run", fix=_FIX)

    def values(self) -> Any:
        """run.json as it is, with what a newer asrctl may have written. Raises BadData where it is no JSON."""
        return files.read_json(self._described, fix=_FIX)

    @property
    def _described(self) -> Path:
        return self.folder / "run.json"

    def recipe(self) -> Recipe:
        return presets.load_stored(self.recipe_path)

    def write(self, info: RunInfo) -> None:
        """Secrets are taken out of what can hold some; elsewhere a secret that is a common word would harm."""
        values = records.as_dict(info)
        hidden = {name: redact_values(values[name]) for name in _FREE_TEXT if name in values}
        files.write_json(self._described, dict(values, **hidden))

    def refuse_strangers(self) -> None:
        """Raises UsageError where the folder holds what asrctl did not write: then it is not replaced."""
        RUN.refuse(self.folder, fix="move that elsewhere, or choose another --run")

    @property
    def _aside(self) -> Path:
        """The folder of the run that this one replaces, until this one has a checkpoint."""
        return self.folder.with_name(f".{self.name}.old")

    @property
    def _replaces_one(self) -> bool:
        """Whether there is a run to be replaced; files of a deleted one that are still open do not count."""
        return not files.is_gone(self._aside)

    def settle(self) -> None:
        """Clear away what a killed process left half done. Call it under the run's lock."""
        if self._replaces_one and not self.exists():
            self._take_old_one_back()
        checkpoints.clear_unfinished(self.checkpoints)
        atomic.settle_tree(self.model, settling=MODEL.carry)
        MODEL.clear(files.beside(self.model, "tmp"), self.model)
        for name in FILES:
            with contextlib.suppress(FileNotFoundError):
                files.beside(self.folder / name, "tmp").unlink()

    def _take_old_one_back(self) -> None:
        """Undo a replacement that made no checkpoint; files in it that are not asrctl's move into the old run."""
        RUN.carry(self.folder, self._aside)
        files.remove_tree(self.folder)
        atomic.move_tree(self._aside, self.folder)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """The run as it stands. One that it was to replace comes back unless this one leaves a checkpoint."""
        try:
            yield
        finally:
            if self._replaces_one and not checkpoints.steps(self.checkpoints):
                self._take_old_one_back()
            RUN.clear(self._aside, self.folder)
            atomic.clear_spares(self._aside)

    @contextmanager
    def replaced(self) -> Iterator[None]:
        """Put an old run aside; it comes back unless the new one left a checkpoint. Raises UsageError."""
        self.refuse_strangers()
        if self.folder.exists():
            if self._replaces_one and not checkpoints.steps(self.checkpoints):
                files.remove_tree(self.folder)  # a replacement that was killed before it came to anything
            else:
                RUN.clear(self._aside, self.folder)
                atomic.move_tree(self.folder, self._aside, mark="run.json")
        with self.kept():
            yield


def named_after(preset: str) -> str:
    """The name of a preset as that of a run: a preset's may hold whatever a file's may."""
    return re.sub(r"[^\w+.-]+", "-", preset).strip("-._")[:40] or "run"


def replaced_runs(workspace: Workspace) -> List[str]:
    """Names of runs that lie aside while another takes their place, or took it and was killed."""
    folder = workspace.root / "runs"
    return sorted(path.name[1:-4] for path in folder.glob(".*.old")) if folder.is_dir() else []


def latest_with_model(workspace: Workspace) -> Optional[Run]:
    """The run started last that has a model."""
    for folder in reversed(workspace.runs(strict=True)):
        if (folder / "model").is_dir():
            return Run(folder)
    return None


def require(workspace: Workspace, name: Optional[str]) -> Run:
    """The run of a name, or the latest; it has a model. Raises MissingArtifact."""
    run = Run(workspace.run(name)) if name is not None else latest_with_model(workspace)
    if run is None or not run.exists():
        what = f"run {name!r}" if name is not None else "run with a model"
        raise MissingArtifact(f"there is no {what} in {workspace.root}", fix=instead_of(workspace, name))
    if not run.model.is_dir():
        raise MissingArtifact(
            f"run {run.name!r} has no model yet",
            fix=f"go on with `{resume_command(workspace, run.name, run.brief())}`",
        )
    return run


def instead_of(workspace: Workspace, name: Optional[str]) -> str:
    """What to do where there is no run of that name."""
    known = [folder.name for folder in workspace.runs()]
    if not known:
        return "run `asrctl train --preset tiny-cpu` first"
    meant = suggestions.question(name, known, str) if name is not None else ""
    return f"{meant} `asrctl status` shows the runs there are".strip()


def start_command(workspace: Workspace, info: RunInfo, *more: str) -> str:
    """What was typed to start a run, with other options."""
    words = list(info.command)
    if words[:2] != ["asrctl", "train"]:
        words = ["asrctl", "train", "--preset", info.preset or "tiny-cpu"]
    words = command_lines.without(words, ("--run", "--from-run"), _NOT_AGAIN)
    return command_lines.shown(workspace.named((*words, *more)))


def resume_command(workspace: Workspace, name: str, info: RunInfo) -> str:
    """What to type to go on with a run."""
    words = ["train", "--resume", "--run", name]
    if info.device:
        words += ["--device", info.device]
    for limit, value in (info.limits or {}).items():
        words += [f"--{limit}", f"{value:g}"]
    if info.processes:
        words += ["--processes", str(info.processes)]
    return workspace.command(*words)
