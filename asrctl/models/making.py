"""A recipe and a vocabulary -> the configuration of a model, and a model of it whose weights are yet to come."""

from __future__ import annotations

from typing import Any, Dict, Mapping

from asrctl.config.recipe import ModelSection
from asrctl.data.text import Vocabulary
from asrctl.errors import PresetError
from asrctl.messages import reasons
from asrctl.models import architectures, hf_config
from asrctl.models.weight_matching import seeded
from asrctl.runtime import compat, memory


def configuration(model_type: str, values: Mapping[str, Any], section: ModelSection, vocabulary: Vocabulary) -> Any:
    """The transformers configuration with everything the recipe decides."""
    architectures.require(model_type)
    strangers = hf_config.strangers(model_type, section.config)
    if strangers:
        lines = [f"model.config.{key} is not a key of a {model_type} configuration" for key in strangers]
        raise PresetError("the model's configuration has unknown keys", fix="remove or correct them", problems=lines)
    try:
        config = hf_config.make(model_type, hf_config.with_decided(model_type, values, _decided(section, vocabulary)))
    except ValueError as error:
        raise PresetError(
            f"the model's configuration does not fit together ({error})", fix="correct model.config"
        ) from None
    _refuse_wide_masks(config)
    return config


def _refuse_wide_masks(config: Any) -> None:
    if getattr(config, "mask_feature_prob", 0) > 0 and config.mask_feature_length > config.hidden_size:
        raise PresetError(
            f"a mask of {config.mask_feature_length} channels is wider than the model, which has {config.hidden_size}",
            fix="lower model.spec_augment.feature_length",
        )


def _decided(section: ModelSection, vocabulary: Vocabulary) -> Dict[str, Any]:
    masks = section.spec_augment
    on = masks.time_prob > 0 or masks.feature_prob > 0
    return {
        **vocabulary_values(vocabulary),
        "hidden_dropout": section.hidden_dropout,
        "attention_dropout": section.attention_dropout,
        "activation_dropout": section.activation_dropout,
        "feat_proj_dropout": section.feat_proj_dropout,
        "final_dropout": section.final_dropout,
        "layerdrop": section.layerdrop,
        "apply_spec_augment": on,
        "mask_time_prob": masks.time_prob,
        "mask_time_length": masks.time_length,
        "mask_feature_prob": masks.feature_prob,
        "mask_feature_length": masks.feature_length,
        # Short utterances may have fewer frames than one mask: no minimum then (transformers issue 13379).
        "mask_time_min_masks": 0,
        "mask_feature_min_masks": 0,
        "ctc_loss_reduction": section.ctc_loss_reduction,
        "ctc_zero_infinity": section.ctc_zero_infinity,
    }


SENTENCE_MARKS = ("bos_token_id", "eos_token_id")


def vocabulary_values(vocabulary: Vocabulary) -> Dict[str, Any]:
    """What a vocabulary decides. No sentence marks: ids past the logits would be out of range somewhere."""
    blank = vocabulary.blank_id
    sizes = {"vocab_size": len(vocabulary), "pad_token_id": blank, "blank_token_id": blank}
    return {**sizes, **dict.fromkeys(SENTENCE_MARKS)}


def without_weights(config: Any) -> Any:
    """A model whose weights are yet to come: drawing them takes seconds (large: 2.4 s on two cores) for nothing."""
    with seeded(0), compat.undrawn():  # some are drawn all the same
        return instantiate(config)


def outline(config: Any) -> Any:
    """A model that has names and shapes, and no memory for weights."""
    import torch

    with torch.device("meta"):
        return without_weights(config)


def instantiate(config: Any) -> Any:
    """A model with weights as transformers draws them, in fp32. Raises PresetError."""
    compat.mend_torch()
    with compat.quiet_transformers():
        from transformers import AutoModelForCTC

        try:
            model = AutoModelForCTC.from_config(config).float()
            model.tie_weights()
            return model
        except Exception as error:  # whatever a layer says of sizes that do not go together
            memory.raise_shortage(error)
            raise PresetError(
                f"no model can be made of this configuration ({reasons.reason(error, 300)})",
                fix="correct the preset's model.config",
            ) from None
