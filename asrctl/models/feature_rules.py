"""How a model hears: its feature rules, from its configuration and the files of its feature extractor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asrctl.data.collate import FeatureRules
from asrctl.models import architectures, front_ends, processor
from asrctl.models.weights import FIX_FOLDER


def from_scratch(config: Any, sample_rate: int) -> FeatureRules:
    """Of a model without files. Raises BadData where its configuration fits no feature extractor."""
    found = architectures.require(config.model_type)
    if found.hears_samples:
        return FeatureRules(sample_rate, True, _layer_norm(config))
    usual = {"sampling_rate": sample_rate}
    made = front_ends.make(found, config.to_dict(), usual, "the preset's model.config", fix="correct model.config")
    return FeatureRules(sample_rate, front_end=made)


def of_folder(config: Any, folder: Path) -> FeatureRules:
    """Of the model of a folder. Raises BadData."""
    found = architectures.require(config.model_type)
    if found.hears_samples:
        return processor.read_features(folder, layer_norm=_layer_norm(config))
    settings = processor.read_settings(folder, found.extractor)
    made = front_ends.make(found, config.to_dict(), settings, f"the feature extractor of {folder}", fix=FIX_FOLDER)
    return FeatureRules(int(made.extractor.sampling_rate), front_end=made)


def _layer_norm(config: Any) -> bool:
    """Whether the convolutional encoder norms each frame (data2vec always does) rather than each channel over time."""
    return getattr(config, "feat_extract_norm", "layer") == "layer"
