"""Which utterances of a split have a sentence that the model was trained on."""

from __future__ import annotations

from typing import Optional

import numpy as np

from asrctl.commands.select import TrainedModel
from asrctl.data.audit.overlap import text_digest
from asrctl.data.audit.sources import sources
from asrctl.data.dataset import PreparedData, PreparedSplit
from asrctl.data.text import TextRules
from asrctl.errors import BadData, MissingArtifact
from asrctl.storage.workspace import Workspace


def seen_in_training(workspace: Workspace, trained: TrainedModel, split: PreparedSplit) -> Optional[np.ndarray]:
    """(utterances,) bool; None where nobody knows what the model was trained on, or that is gone.

    A sentence is the text by the rules of training. Memory grows with the split, not with what was trained on.
    """
    info = trained.info()
    artifact = None if info is None else workspace.find("prepared", info.data.id)
    if artifact is None:
        return None
    try:
        data = PreparedData(artifact)
        rules = TextRules(**data.summary.text)
        texts = np.array([text_digest(rules.apply(split.text(row))) for row in range(len(split))], dtype=np.uint64)
        wanted = set(texts.tolist())
        found = set()
        for source in sources(data, ("train",)):
            found.update(wanted.intersection(map(text_digest, source.open().column("text").to_pylist())))
    except (BadData, MissingArtifact):  # of what was trained on; it is no matter of what is evaluated
        return None
    return np.isin(texts, np.array(sorted(found), dtype=np.uint64))
