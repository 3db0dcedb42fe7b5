"""A run of one language of a model of many -> its adapter and vocabulary, among the others beside the base."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

from asrctl.commands.export import choose_utterances
from asrctl.commands.select import find_data, find_model, sentence
from asrctl.errors import UsageError
from asrctl.events import Emit, Note, ignore
from asrctl.models import base_model, frame_counts, loading
from asrctl.storage import files
from asrctl.storage.workspace import Workspace


@dataclass(frozen=True)
class BesideResult:
    """files: names of those that were written into `folder`. verified: what the check on real utterances found."""

    run: str
    language: str
    folder: Path
    files: Tuple[str, ...]
    verified: Mapping[str, Any]

    def as_dict(self) -> Dict[str, Any]:
        return dict(self.__dict__, folder=str(self.folder), files=list(self.files), verified=dict(self.verified))


def lay_beside(
    workspace: Workspace,
    folder: Path,
    *,
    run: Optional[str] = None,
    data: Optional[str] = None,
    force: bool = False,
    emit: Emit = ignore,
) -> BesideResult:
    """Write into the folder of a base, which stays as it is but for vocab.json, and verify with plain transformers.

    Raises UsageError, BadData, MissingArtifact.
    """
    from asrctl.export import beside

    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", fix="name the folder that holds the base")
    trained = find_model(workspace, run, None)
    base = base_model.of(trained.folder)
    recognizer = trained.recognizer()
    language = recognizer.language
    if base is None or language is None:
        raise UsageError(
            f"run {trained.name} is not one of a language of a model of many",
            fix="name one that was trained with model.language, or use --output",
        )
    chosen = find_data(workspace, trained, data)
    emit(Note(f"exporting {sentence(trained, chosen)}"))
    loading.require_rate(recognizer, chosen.data.sample_rate)
    utterances = choose_utterances(chosen.data, frame_counts.of_folder(trained.folder))
    with files.locked_folder(folder):  # others may lay theirs there at this moment
        beside.check(recognizer, language, base, folder, force=force)
        written = beside.lay(trained.folder, recognizer, language, folder)
        verified = beside.verify(recognizer, language, folder, utterances)
    return BesideResult(trained.name, language, folder, written, verified)
