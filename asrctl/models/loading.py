"""recipe + vocabulary -> model; folders of weights -> model and back. No code of a checkpoint ever runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, FrozenSet, Mapping, Optional, Tuple, cast

from asrctl.config import model_config
from asrctl.config.recipe import SCRATCH, ModelSection
from asrctl.data.collate import FeatureRules
from asrctl.data.text import Vocabulary
from asrctl.errors import BadData, PresetError
from asrctl.messages import amounts
from asrctl.models import (
    architectures,
    base_model,
    ctc,
    feature_rules,
    filterbank_init,
    hf_config,
    language_adapters,
    learning_weights,
    lora,
    making,
    padding,
    processor,
    weight_matching,
)
from asrctl.models.architectures import KNOWN, Architecture
from asrctl.models.base_model import BaseModel
from asrctl.models.weight_matching import seeded
from asrctl.models.weights import (
    FIX_FOLDER,
    base_folder,
    find_checkpoint,
    read_config,
    read_shapes,
    read_weights,
    write_tensors,
)
from asrctl.runtime import compat
from asrctl.storage import atomic, checksums, files
from asrctl.storage.ownership import MODEL


@dataclass
class Recognizer:
    """A CTC model with what belongs to it: its vocabulary and how its input is made.

    language: which one of a model of many. base: while only a part of the model learns that is kept apart from the rest
    (`kept_state`), the model that the rest is of.
    """

    model: Any
    vocabulary: Vocabulary
    features: FeatureRules
    language: Optional[str] = None
    base: Optional[BaseModel] = None

    @property
    def blank(self) -> int:
        return self.vocabulary.blank_id


@dataclass(frozen=True)
class Built:
    """A model to be trained. new_head: the head was drawn anew. notes: what else is worth saying."""

    recognizer: Recognizer
    new_head: bool
    notes: Tuple[str, ...] = ()


# -- building ---------------------------------------------------------------------------------------------------------


def build(section: ModelSection, vocabulary: Vocabulary, *, seed: int, sample_rate: int) -> Built:
    """The model that a recipe asks for, in fp32 on the CPU, seeded.

    Raises PresetError (unknown keys, a head that does not fit), BadData (damaged or incomplete weights),
    MissingArtifact (no such checkpoint).
    """
    if section.checkpoint is None:
        return _from_scratch(section, vocabulary, seed, sample_rate)
    folder = find_checkpoint(section.checkpoint, section.revision, language_adapters.source(section))
    built = _from_checkpoint(section, folder, vocabulary, seed)
    if learning_weights.are_kept_alone(section):
        built.recognizer.base = base_model.named(section.checkpoint, section.revision, folder)
    return built


def build_again(section: ModelSection, base: BaseModel, vocabulary: Vocabulary, *, seed: int) -> Recognizer:
    """The model of a run of which only what it learned is kept, and is yet to come. Raises what `build` raises."""
    folder = base_folder(base)
    section = replace(section, head="reinit", language_from=SCRATCH if section.language is not None else None)
    recognizer = _from_checkpoint(section, folder, vocabulary, seed).recognizer
    recognizer.base = base
    return recognizer


def _from_scratch(section: ModelSection, vocabulary: Vocabulary, seed: int, sample_rate: int) -> Built:
    config = _scratch_config(section, vocabulary)
    rules = feature_rules.from_scratch(config, sample_rate)
    with seeded(seed):
        model = making.instantiate(config)
    if section.filterbank:
        filterbank_init.draw(padding.encoder_of(model), sample_rate)
    _shift_blank(model, vocabulary, section.blank_bias)
    return Built(Recognizer(learning_weights.chosen(model, section, rules), vocabulary, rules), new_head=True)


def _scratch_config(section: ModelSection, vocabulary: Vocabulary) -> Any:
    config = making.configuration(section.architecture, section.config, section, vocabulary)
    hf_config.refuse_giants(config, "the preset's model.config", fix="correct the preset's model.config")
    return config


def _from_checkpoint(section: ModelSection, folder: Path, vocabulary: Vocabulary, seed: int) -> Built:
    config, weights, keep = _start(section, folder, vocabulary, read_weights)
    model = making.without_weights(config)
    anew = _drawn_adapter(section, model)
    drawn = weight_matching.fill(model, weights, folder, new_head=not keep, anew=anew, seed=seed)
    if not keep:
        _shift_blank(model, vocabulary, section.blank_bias)
    notes = [
        f"{name} is not in {folder.name} and was drawn anew"
        for name in drawn
        if name not in weight_matching.head_names(model) | anew
    ]
    return Built(
        _to_train(section, model, vocabulary, folder, seed), not keep, (*language_adapters.notes(section), *notes)
    )


def examine_start(section: ModelSection, folder: Path, vocabulary: Vocabulary) -> Recognizer:
    """A model to be trained from a folder, without its weights; of these only names and shapes are read.

    Raises what `build` raises, in the same words.
    """
    config, shapes, keep = _start(section, folder, vocabulary, read_shapes)
    model = making.outline(config)
    weight_matching.check(model, shapes, folder, new_head=not keep, anew=_drawn_adapter(section, model))
    return _to_train(section, model, vocabulary, folder)


def _start(
    section: ModelSection, folder: Path, vocabulary: Vocabulary, read: Callable[..., Any]
) -> Tuple[Any, Mapping[str, Any], bool]:
    """(configuration, weights, whether the head is kept) of a model to be trained from a folder."""
    config = _checkpoint_config(section, folder, vocabulary)
    language_adapters.refuse(section, folder, config.to_dict())
    learning_weights.refuse_base(section, folder)
    weights = read(folder, language_adapters.source(section))
    if language_adapters.is_drawn(section):
        weights = language_adapters.without(weights)
    return config, weights, _can_start(section, folder, vocabulary, config, weights)


def _drawn_adapter(section: ModelSection, model: Any) -> FrozenSet[str]:
    """Names of the weights of an adapter that is drawn anew."""
    return language_adapters.names(model) if language_adapters.is_drawn(section) else frozenset()


def _to_train(section: ModelSection, model: Any, vocabulary: Vocabulary, folder: Path, seed: int = 0) -> Recognizer:
    rules = feature_rules.of_folder(model.config, folder)
    with seeded(seed):
        return Recognizer(learning_weights.chosen(model, section, rules), vocabulary, rules, section.language)


def examine_scratch(section: ModelSection, vocabulary: Vocabulary, *, sample_rate: int) -> Recognizer:
    """A model to be trained from nothing, without its weights. Raises what `build` raises."""
    config = _scratch_config(section, vocabulary)
    rules = feature_rules.from_scratch(config, sample_rate)
    return Recognizer(learning_weights.chosen(making.outline(config), section, rules), vocabulary, rules)


def _checkpoint_config(section: ModelSection, folder: Path, vocabulary: Vocabulary) -> Any:
    values = model_config.merged(read_config(folder), section.config)
    return making.configuration(str(values.pop("model_type", "")), values, section, vocabulary)


def _can_start(
    section: ModelSection, folder: Path, vocabulary: Vocabulary, config: Any, weights: Mapping[str, Any]
) -> bool:
    """Whether the head is kept. Raises BadData, PresetError where the weights are not for this configuration."""
    hf_config.refuse_giants(config, str(folder / "config.json"), fix=FIX_FOLDER, held=hf_config.numbers_in(weights))
    return weight_matching.head_fits(section, folder, weights, vocabulary)


def _shift_blank(model: Any, vocabulary: Vocabulary, bias: float) -> None:
    import torch

    if bias:
        with torch.no_grad():
            ctc.head_of(model).bias[vocabulary.blank_id] += bias


# -- folders -----------------------------------------------------------------------------------------------------------


def load_recognizer(folder: Path) -> Recognizer:
    """A trained model from a Hugging Face folder, in fp32, ready for inference. Raises BadData, MissingArtifact."""
    recognizer, weights = _trained(Path(folder), read_weights, making.without_weights)
    weight_matching.fill(recognizer.model, weights, folder, new_head=False)
    recognizer.model.eval()
    return recognizer


def examine_trained(folder: Path) -> Recognizer:
    """The same without its weights; of these only names and shapes are read. Raises what `load_recognizer` raises."""
    recognizer, shapes = _trained(Path(folder), read_shapes, making.outline)
    weight_matching.check(recognizer.model, shapes, folder, new_head=False)
    return recognizer


def _trained(folder: Path, read: Callable[[Path], Any], make: Callable[[Any], Any]) -> Tuple[Recognizer, Any]:
    """The model of a folder, still empty, and its weights."""
    _readable_config(folder)
    weights = read(folder)
    outputs = weight_matching.outputs(weights)
    recognizer = _shell(folder, make, hf_config.numbers_in(weights), outputs)
    if outputs is None:
        raise BadData(f"{folder} has no CTC head", fix="train it first, or choose a fine-tuned model")
    if len(recognizer.vocabulary) != outputs:
        raise BadData(
            f"{folder} has {amounts.count(outputs, 'output')} but {amounts.count(len(recognizer.vocabulary), 'token')}",
            fix=FIX_FOLDER,
        )
    return recognizer, weights


def examine_shell(folder: Path, section: ModelSection) -> Recognizer:
    """The model of a run to be resumed, without its weights. Raises BadData."""
    recognizer = _shell(folder, making.outline, None, None)
    learning_weights.chosen(recognizer.model, section, recognizer.features)
    return recognizer


def load_shell(folder: Path, *, held: Optional[int] = None) -> Recognizer:
    """The model that a folder's config.json and vocabulary describe, weights yet to come. Raises BadData.

    held: numbers in the weights that will fill it; a model that is much larger is refused.
    """
    return _shell(folder, making.without_weights, held, None)


def _readable_config(folder: Path) -> Dict[str, Any]:
    """config.json of a trained model of a kind that asrctl knows. Raises BadData, MissingArtifact."""
    values = read_config(folder)
    kind = values["model_type"]
    if architectures.find(kind) is None:
        raise BadData(f"{folder} is a {kind} model{architectures.why_not(kind)}", fix=f"choose one of {KNOWN}")
    architectures.require(kind)
    return values


def _shell(folder: Path, make: Callable[[Any], Any], held: Optional[int], outputs: Optional[int]) -> Recognizer:
    values = _readable_config(folder)
    vocabulary = processor.read_vocabulary(folder, outputs)
    model_type = str(values.pop("model_type"))
    sizes = {
        name: value for name, value in making.vocabulary_values(vocabulary).items() if name not in making.SENTENCE_MARKS
    }
    try:
        config = hf_config.make(model_type, hf_config.with_decided(model_type, values, sizes))
        hf_config.refuse_giants(config, str(folder / "config.json"), fix=FIX_FOLDER, held=held)
        model = make(config)
    except PresetError as error:
        raise BadData(f"{folder / 'config.json'}: {error.message}", fix=FIX_FOLDER) from None
    except ValueError as error:
        raise BadData(f"{folder / 'config.json'} does not fit together ({error})", fix=FIX_FOLDER) from None
    return Recognizer(model, vocabulary, feature_rules.of_folder(config, folder), processor.language_of(folder))


def num_bytes(recognizer: Recognizer) -> int:
    """Of a model's weights in fp32, in memory and on disk."""
    return 4 * sum(tensor.numel() for tensor in recognizer.model.state_dict().values())


def kept_state(recognizer: Recognizer) -> Dict[str, Any]:
    """{name on disk: tensor} of all weights, or where a base has the rest of those that learn (no copies)."""
    state = compat.canonical_state(recognizer.model)
    if recognizer.base is None:
        return state
    names = learning_weights.names_kept(recognizer.model, recognizer.language)
    return {name: tensor for name, tensor in state.items() if name in names}


def put(recognizer: Recognizer, state: Mapping[str, Any]) -> None:
    """Give a model what `kept_state` had of it. Raises KeyError, RuntimeError where it is of another model."""
    names = compat.model_names(recognizer.model)
    if set(state) != set(kept_state(recognizer)):
        raise KeyError(next(iter(sorted(set(state) ^ set(kept_state(recognizer))))))
    recognizer.model.load_state_dict({names[name]: tensor for name, tensor in state.items()}, strict=False)


def save_shell(recognizer: Recognizer, folder: Path) -> None:
    """Everything of `save_recognizer` but the weights: what a run needs to be resumed without its first checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    config, base = portable_config(recognizer.model), recognizer.base
    processor.write(folder, recognizer.vocabulary, recognizer.features, recognizer.language)
    if base is None or recognizer.language is not None:
        files.write_json(folder / "config.json", config)
    if base is not None:
        base_model.write(folder, base if recognizer.language is not None else replace(base, config=config))


def save_recognizer(recognizer: Recognizer, folder: Path) -> None:
    """Write a folder that plain transformers loads, in either generation: fp32 safetensors under the hub's names.

    Where a base has the rest of the model, what it adds to that.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: (tensor.float() if tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for name, tensor in kept_state(recognizer).items()
    }
    if recognizer.base is None:
        _write_weights(folder / "model.safetensors", state)
    if recognizer.language is not None:
        names = language_adapters.names(recognizer.model)
        own = {name: tensor for name, tensor in state.items() if name in names}
        _write_weights(folder / base_model.ADAPTERS[0].format(recognizer.language), own)
    elif recognizer.base is not None:
        lora.write(folder, recognizer.model, state, recognizer.base, _write_weights)
    save_shell(recognizer, folder)


def _write_weights(path: Path, state: Mapping[str, Any]) -> None:
    with files.atomic_path(path) as temporary:
        write_tensors(temporary, state)


_OF_THIS_MACHINE = (
    "_name_or_path", "transformers_version", "torch_dtype", "dtype", "_attn_implementation", "attn_implementation",
)  # fmt: skip


def portable_config(model: Any) -> Dict[str, Any]:
    """config.json values that every generation reads: the real architecture's name, fp32, no traces of this machine."""
    values = model.config.to_dict()
    for key in _OF_THIS_MACHINE:
        values.pop(key, None)
    model_type = values["model_type"]
    values["architectures"] = [cast(Architecture, architectures.find(model_type)).model_class]
    for key in model_config.INNER:
        if isinstance(values.get(key), dict):
            values[key] = {name: value for name, value in values[key].items() if name not in _OF_THIS_MACHINE}
    values["torch_dtype"] = "float32"
    # Without it the pipelines of transformers 4.29 load no tokenizer for WavLM and Data2VecAudio.
    values["tokenizer_class"] = processor.TOKENIZER_CLASS
    return {"model_type": model_type, **{key: values[key] for key in sorted(values) if key != "model_type"}}


def save_recognizer_atomically(recognizer: Recognizer, folder: Path) -> None:
    """`save_recognizer` beside `folder`, then in its place: a reader finds the old model or the new one."""
    building = folder.with_name(f".{folder.name}.tmp")
    MODEL.clear(building, folder)
    try:
        save_recognizer(recognizer, building)
        checksums.write_sums(building)
        files.fsync_tree(building)
        atomic.replace_tree(building, folder, settling=MODEL.carry)
    except BaseException:
        MODEL.clear(building, folder)
        raise


def save_with_weights(recognizer: Recognizer, weights: Mapping[str, Any], folder: Path) -> None:
    """The same after giving the model other weights. weights: {name on disk: tensor}, such as a checkpoint's."""
    put(recognizer, weights)
    save_recognizer_atomically(recognizer, folder)


def require_rate(recognizer: Recognizer, sample_rate: int) -> None:
    """Raises PresetError where the data's sample rate is not the checkpoint's."""
    if recognizer.features.sample_rate != sample_rate:
        raise PresetError(
            f"the checkpoint hears {recognizer.features.sample_rate} samples per second, the data has {sample_rate}",
            fix=f"prepare the data again with --sample-rate {recognizer.features.sample_rate}",
        )
