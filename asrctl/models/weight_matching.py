"""Match a checkpoint's weights with a model: missing and unexpected names, the head's size, and loading.

weights, throughout: {name on disk: tensor}, or anything else that has a shape where nothing is filled.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Any, FrozenSet, Iterator, List, Mapping, Optional, Sequence

from asrctl.config.recipe import SCRATCH, ModelSection
from asrctl.data.text import Vocabulary
from asrctl.errors import BadData, PresetError
from asrctl.messages import amounts
from asrctl.models import processor
from asrctl.runtime import compat

HEAD = ("lm_head.weight", "lm_head.bias")
_HEADS = (HEAD, ("ctc_head.weight", "ctc_head.bias"))
# A model that was trained without SpecAugment has no such weight; it is drawn anew when masks are switched on.
_MASK_EMBEDDING = "masked_spec_embed"
# A count that older checkpoints lack, and that nothing but a momentum of null goes by.
_BATCHES_SEEN = "num_batches_tracked"
_OPTIONAL = (_MASK_EMBEDDING, _BATCHES_SEEN)
# Parts within a model that have the vocabulary's size as well.
_INNER_HEADS = ("encoder.out.weight", "encoder.out.bias", "encoder.out_mid.weight")
# Parts of pre-training checkpoints that a CTC model has no use for.
_PRETRAINING = ("quantizer.", "project_q.", "project_hid.", "dropout_features.", "label_embeddings_concat")
_FIX = "fetch or export that model again"
_TOLD = 5


def outputs(weights: Mapping[str, Any]) -> Optional[int]:
    """Of the CTC head; None where there is none."""
    head = next((weights[name] for name, _ in _HEADS if name in weights), None)
    return int(head.shape[0]) if head is not None and len(head.shape) else None


def head_fits(section: ModelSection, folder: Path, weights: Mapping[str, Any], vocabulary: Vocabulary) -> bool:
    """Whether the checkpoint's head is for this very vocabulary. Raises PresetError where `head: keep` can not be."""
    if section.language_from == SCRATCH:
        return False
    size = outputs(weights)
    if size is None:
        require_head(section, folder, weights)
        return False
    problem = _head_problem(folder, size, vocabulary, section.language_from or section.language)
    if problem is None:
        return True
    if section.head == "reinit":
        return False
    language = "" if section.language is None else f" --from-language {section.language_from or section.language}"
    raise PresetError(
        f"the head of {folder.name} does not fit the vocabulary: {problem}",
        fix="add `--set model.head=reinit` for a new head, or take its vocabulary:"
        f" `asrctl vocab CORPUS --from CHECKPOINT{language}`",
    )


def require_head(section: ModelSection, folder: Path, weights: Mapping[str, Any]) -> None:
    """Raises PresetError where a recipe keeps a head that is not there."""
    if outputs(weights) is None and section.head != "reinit":
        raise PresetError(f"{folder.name} has no CTC head", fix="add `--set model.head=reinit` to draw a new one")


def _head_problem(folder: Path, size: int, vocabulary: Vocabulary, language: Optional[str]) -> Optional[str]:
    if not (folder / "vocab.json").exists():
        return "the checkpoint carries no vocab.json, so the order of its outputs is unknown"
    theirs = processor.read_vocabulary(folder, size, language)
    if size != len(vocabulary) or len(theirs) != len(vocabulary):
        return f"it has {amounts.count(size, 'output')}, the vocabulary has {amounts.count(len(vocabulary), 'token')}"
    for index, (ours, other) in enumerate(zip(vocabulary.tokens, theirs.tokens)):
        if ours != other:
            return f"output {index} is {other!r} there and {ours!r} here"
    if theirs.blank_id != vocabulary.blank_id:
        return f"its blank is output {theirs.blank_id}, here it is {vocabulary.blank_id}"
    return None


def head_names(model: Any) -> FrozenSet[str]:
    """The names on disk of the weights whose size is that of the vocabulary, and of their biases: a new head's."""
    own = next((head for head in _HEADS if head[0] in compat.model_names(model)), HEAD)
    return frozenset((*own, *(name for name in _INNER_HEADS if name in model.state_dict())))


def check(
    model: Any, weights: Mapping[str, Any], folder: Path, *, new_head: bool, anew: FrozenSet[str] = frozenset()
) -> Mapping[str, Any]:
    """The weights under the names that the model's have on disk. Raises BadData where one is missing or does not fit.

    anew: names of further weights that are drawn. A head that is drawn anew may be missing, and so may the embedding of
    masked frames, and one of two names of what the model has only once.
    """
    names, shapes, given = compat.model_names(model), model.state_dict(), sorted(weights)
    head, prefix = head_names(model), model.base_model_prefix + "."
    # Those of a model without a head have no prefix; those of a head never have one.
    weights = {_of_model(name, prefix, names, weights): tensor for name, tensor in weights.items()}
    twins = {one: other for one, other in compat.tied_names(model).items() if one not in weights and other in weights}
    weights = {**weights, **{one: weights[other] for one, other in twins.items()}}
    wanted = {name for name in names if not (new_head and name in head)} - anew
    here = wanted & set(weights)
    optional = {name for name in wanted if name.endswith(_OPTIONAL)}
    missing = sorted(wanted - optional - here)
    unlike = [name for name in sorted(here) if tuple(weights[name].shape) != tuple(shapes[names[name]].shape)]
    strangers = sorted(name for name in set(weights) - set(names) if not _ignorable(name, prefix, head))
    if not here - head:
        some = ", ".join(repr(name) for name in given[:2]) + " ..."
        raise BadData(
            f"the weights of {folder} are of another model than its configuration: none of the {len(missing)} that it "
            f"needs is among them ({some})",
            fix=_FIX,
        )
    problems = _some([f"{name} is missing" for name in missing], "are missing")
    problems += _some([f"{name} has another shape than the configuration says" for name in unlike], "do so too")
    problems += _some([f"{name} belongs to no part of this model" for name in strangers], "do not either")
    if problems:
        raise BadData(f"the weights of {folder} do not fit its configuration", fix=_FIX, problems=problems)
    return {name: weights[name] for name in here}


def _of_model(name: str, prefix: str, names: Mapping[str, Any], weights: Mapping[str, Any]) -> str:
    whole = prefix + name
    return whole if name not in names and whole in names and whole not in weights else name


def _some(lines: List[str], verb: str) -> List[str]:
    """The first few lines, and how many more there are."""
    return lines if len(lines) <= _TOLD else [*lines[:_TOLD], f"{len(lines) - _TOLD} more {verb}"]


def fill(
    model: Any,
    weights: Mapping[str, Any],
    folder: Path,
    *,
    new_head: bool,
    anew: FrozenSet[str] = frozenset(),
    seed: int = 0,
) -> List[str]:
    """Give the model its weights, and draw what may be missing; the names of that. Raises BadData as `check` does."""
    import torch

    names = compat.model_names(model)
    found = check(model, weights, folder, new_head=new_head, anew=anew)
    floats = {
        name: tensor.to(torch.float32) if tensor.is_floating_point() else tensor for name, tensor in found.items()
    }
    model.load_state_dict({names[name]: tensor for name, tensor in floats.items()}, strict=False)
    lacking = sorted(set(names) - set(found))
    _draw(model, [names[name] for name in lacking], seed)
    return lacking


def _draw(model: Any, names: Sequence[str], seed: int) -> None:
    """Draw parts as transformers does: a head, the adapter of a language, the embedding of masked frames."""
    state = model.state_dict()  # tensors outside of autograd
    with seeded(seed):
        for name in names:
            if name.endswith(_MASK_EMBEDDING):
                state[name].uniform_()
            elif name.endswith(("bias", _BATCHES_SEEN)):
                state[name].zero_()
            elif name.endswith(".norm.weight"):
                state[name].fill_(1.0)
            else:
                state[name].normal_(std=model.config.initializer_range)


def _ignorable(name: str, prefix: str, head: FrozenSet[str]) -> bool:
    bare = name[len(prefix) :] if name.startswith(prefix) else name
    return bare.startswith(_PRETRAINING) or name in head or name.endswith(_MASK_EMBEDDING)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers on the CPU from a seed within the block; those of the process go on afterwards as if not used."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
