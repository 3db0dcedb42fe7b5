"""Which model and which data a command means: a run's, a folder's, or the latest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Tuple

from asrctl.commands import mixture
from asrctl.data.dataset import PreparedData
from asrctl.data.text import Vocabulary
from asrctl.errors import BadData, Locked, MissingArtifact, UsageError
from asrctl.events import Emit, Note, Warned
from asrctl.models import loading, model_files, weights
from asrctl.storage.workspace import Workspace
from asrctl.training import runs
from asrctl.training.run_info import RunInfo
from asrctl.training.runs import Run

_FIX_DATA = "run `asrctl prepare CORPUS` first, or name prepared data with --data"


@dataclass(frozen=True)
class TrainedModel:
    """A trained model. digest: sha256 over the files that make it, wherever they lie. run: None for a plain folder.

    signature: of the files that the digest was taken from.
    """

    folder: Path
    name: str
    digest: str
    run: Optional[Run]
    is_latest: bool
    signature: model_files.Signature

    def recognizer(self) -> loading.Recognizer:
        """The model, in fp32. Raises BadData, and Locked where it is no longer the one of `digest`.

        Training puts a better model in its place at any time, and results are published under the digest.
        """
        recognizer = loading.load_recognizer(self.folder)
        if model_files.signature(self.folder) != self.signature:
            raise Locked(f"training replaced {self.folder} meanwhile", fix="run the command again")
        return recognizer

    def info(self) -> Optional[RunInfo]:
        """run.json; None for a plain folder."""
        return self.run.info() if self.run is not None else None


def find_model(workspace: Workspace, run: Optional[str], model: Optional[str]) -> TrainedModel:
    """The model of a run (default: the latest that has one), or of a folder or hub name. Raises MissingArtifact."""
    if run is not None and model is not None:
        raise UsageError("--run and --model exclude each other", fix="give one of them")
    if model is not None:
        folder = weights.find_checkpoint(model)
        return _trained(folder, Path(model).name or model, None, is_latest=False)
    found = runs.require(workspace, run)
    return _trained(found.model, found.name, found, is_latest=run is None)


def is_elsewhere(model: Optional[str], emit: Emit) -> bool:
    """Whether --model names one of the hub's that is not on this machine, so that a dry run can not look at it."""
    if model is None or weights.local_checkpoint(model) is not None:
        return False
    emit(Note(f"{model} is not in the hub's cache on this machine; a dry run fetches nothing and did not look at it"))
    return True


def _trained(folder: Path, name: str, run: Optional[Run], *, is_latest: bool) -> TrainedModel:
    signature = model_files.signature(folder)  # first: what is replaced while the digest is taken is noticed as well
    return TrainedModel(folder, name, model_files.sound_model(folder), run, is_latest, signature)


@dataclass(frozen=True)
class ChosenData:
    """Prepared data with the name it goes by, and why it was chosen.

    since: the ID that the name has now, where it was prepared again since.
    """

    data: PreparedData
    name: str
    why: str
    since: Optional[str] = None


def find_data(workspace: Workspace, trained: Optional[TrainedModel], name: Optional[str]) -> ChosenData:
    """The data of a name; else what the run was trained on; else the latest, or the only one.

    Raises MissingArtifact.
    """
    if name is not None:
        return ChosenData(named_data(workspace, name), name, "as asked")
    if trained is not None and trained.run is not None:
        recorded = trained.run.info().data
        artifact = workspace.resolve("prepared", recorded.id, fix=_FIX_DATA)
        now = workspace.names("prepared").get(recorded.name, artifact.id)
        since = now if now != artifact.id else None
        return ChosenData(PreparedData(artifact), recorded.name, "what it was trained on", since)
    names = list(workspace.names("prepared"))
    if workspace.latest("prepared") is None and len(names) == 1:
        return find_data(workspace, trained, names[0])
    name, data = latest_data(workspace)
    return ChosenData(data, name, "the latest prepared")


def named_data(workspace: Workspace, name: str) -> PreparedData:
    """The data of a name or ID; of several with commas between them, all of it as one, which is not written.

    Raises MissingArtifact, UsageError.
    """
    if "," in name:
        return mixture.planned(workspace, mixture.request(mixture.names(name), None, None))
    return PreparedData(workspace.resolve("prepared", name, fix=_FIX_DATA))


def latest_data(workspace: Workspace) -> Tuple[str, PreparedData]:
    """(name, data) of what was prepared last with a split for training. Raises MissingArtifact."""
    names = ", ".join(workspace.names("prepared"))
    latest = workspace.latest("prepared")
    if latest is None and names:
        raise MissingArtifact(
            f"{workspace.root} holds data for evaluation only ({names})",
            fix="run `asrctl prepare CORPUS` on a corpus with a split for training, or name data with --data",
        )
    artifact = workspace.resolve("prepared", None, fix=_FIX_DATA)
    return (latest or {}).get("name", artifact.id), PreparedData(artifact)


def sentence(trained: TrainedModel, chosen: ChosenData) -> str:
    """One line that says which model and data are meant, and why."""
    if trained.run is None:
        model = f"model {trained.folder}"
    else:
        model = f"run {trained.name}" + (" (the latest with a model)" if trained.is_latest else "")
    return f"{model}; data {chosen.name} ({chosen.data.artifact.id}, {chosen.why})"


def warn_of_newer_data(chosen: ChosenData, emit: Emit) -> None:
    """Results go by the data that a run was trained on, which is not what its name stands for any more."""
    if chosen.since is not None:
        told = f"data {chosen.name} was prepared again since, as {chosen.since}"
        emit(Warned(f"{told}; {chosen.data.artifact.id} is used, --data {chosen.name} takes the new one"))


def alphabet_gap(model: Vocabulary, data: Vocabulary) -> List[str]:
    """Characters of the data that the model can not write. Raises BadData where evaluation would be senseless."""
    if model.phones != data.phones:
        made = "phonemes (--phonemes)" if model.phones else "letters (without --phonemes)"
        raise BadData(
            "one of the model and the data has phonemes and the other letters, so nothing could be right",
            fix=f"prepare the data again with {made}, or choose another model",
        )
    wanted, known = _characters(data), _characters(model)
    gap = sorted(wanted - known)
    letters = {character for character in wanted if character.isalpha()}
    if letters and letters & known:
        return gap
    if letters and {character.swapcase() for character in letters} & known:
        theirs = "upper" if any(character.isupper() for character in known) else "lower"
        raise BadData(
            f"the model writes {theirs} case and the data's transcripts are in the other, so no word could be right",
            fix=f"prepare the data again with --case {theirs}, or choose another model",
        )
    if letters:
        raise BadData(
            "the model's alphabet has no letter in common with the data's transcripts",
            fix="choose a model of this language, or other data with --data",
        )
    return gap


def _characters(vocabulary: Vocabulary) -> "set[str]":
    return set(vocabulary.letters) - {vocabulary.word_delimiter}
