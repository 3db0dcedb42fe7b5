"""How many frames the model of a configuration makes: of a folder, or of a preset with or without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Optional

from asrctl.config import model_config
from asrctl.config.model_config import MAX_WIDTH
from asrctl.errors import BadData
from asrctl.models import architectures, processor
from asrctl.models.frames import Convolutions
from asrctl.models.weights import FIX_FOLDER, read_config


def of_folder(folder: Path) -> Convolutions:
    """Of the model that a folder's config.json describes. Raises BadData, MissingArtifact, PresetError."""
    try:
        return of_values(read_config(folder), folder)
    except ValueError as error:
        raise BadData(f"{folder / 'config.json'} does not fit together ({error})", fix=FIX_FOLDER) from None


def of_values(values: Mapping[str, Any], folder: Optional[Path]) -> Convolutions:
    """Of config.json values, of the usual model of that type where they are silent.

    folder: with the files of the processor, where there are any. Raises ValueError, BadData, and PresetError for a
    model that is not trained.
    """
    found = architectures.require(str(values.get("model_type", "")))
    problem = model_config.misfit(values)
    if problem:
        raise ValueError(problem)
    settings = {} if folder is None or found.hears_samples else processor.read_settings(folder, found.extractor)
    numbers = [value for key, value in settings.items() if key.endswith("_length") or key == "stride"]
    if any(isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAX_WIDTH for value in numbers):
        raise ValueError(f"the {found.extractor} beside it has a window, a hop or a stride that is none")
    rule = found.convolutions(values, settings)
    if len(rule.kernels) != len(rule.strides):
        raise ValueError("conv_kernel and conv_stride must be lists of whole numbers, equally long")
    return rule
