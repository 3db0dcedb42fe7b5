"""The only place that knows library generations: transformers 4.29 (IPU) and current, torch 2.0 and current."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from typing import Any, Dict, Iterator, Mapping, Sequence

# Current torch names the two halves of a weight-normed kernel by their parametrization; older torch, transformers 4.29
# and the checkpoints on the hub say weight_g and weight_v. We write those names: every generation reads them.
_WEIGHT_NORM = (
    (".parametrizations.weight.original0", ".weight_g"),
    (".parametrizations.weight.original1", ".weight_v"),
)


def canonical_name(name: str) -> str:
    """A model's tensor name -> the name on disk."""
    for current, canonical in _WEIGHT_NORM:
        if name.endswith(current):
            return name[: -len(current)] + canonical
    return name


def canonical_state(model: Any) -> Dict[str, Any]:
    """The state dict of a torch model under the names on disk (no copies)."""
    return {canonical_name(name): tensor for name, tensor in model.state_dict().items()}


def model_names(model: Any) -> Dict[str, str]:
    """{name on disk: name in this model} for every tensor of the model."""
    return {canonical_name(name): name for name in model.state_dict()}


def canonical_weights(weights: Mapping[str, Any]) -> Dict[str, Any]:
    return {canonical_name(name): tensor for name, tensor in weights.items()}


def weight_norm_halves(module: Any) -> Any:
    """(length, direction) parameters of a weight-normed module; None where it is not one."""
    parametrized = getattr(module, "parametrizations", None)
    if parametrized is not None and hasattr(parametrized, "weight"):
        weight = parametrized.weight
        return (weight.original0, weight.original1) if hasattr(weight, "original1") else None
    return (module.weight_g, module.weight_v) if hasattr(module, "weight_g") else None


def fused_adamw_works(device_type: str) -> bool:
    """Whether torch.optim.AdamW(fused=True) exists for this device: CUDA since torch 2.0, CPU since 2.4."""
    import torch

    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    return device_type == "cuda" or (device_type == "cpu" and (major, minor) >= (2, 4))


def flash_takes_packed(device: Any) -> bool:
    """Whether torch's flash attention takes rows of different lengths there, called as asrctl.engine calls it."""
    import torch

    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    if device.type != "cuda" or (major, minor) < (2, 5) or not torch.backends.cuda.is_flash_attention_available():
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


def copy_all(targets: Sequence[Any], sources: Sequence[Any]) -> None:
    """Each source's values into its target, outside of autograd; in as few calls as this torch can (since 2.1)."""
    import torch

    if hasattr(torch, "_foreach_copy_"):
        torch._foreach_copy_(targets, sources)
        return
    for target, source in zip(targets, sources):
        target.copy_(source)


def grad_scaler(device_type: str, enabled: bool) -> Any:
    """Loss scaling for fp16 on CUDA."""
    import torch

    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler(device_type, enabled=enabled)
    return torch.cuda.amp.GradScaler(enabled=enabled)


def torch_load(path: Any, *, mapped: bool = False) -> Any:
    """Tensors of a torch file; never runs code from it. mapped: read what is asked for only (since torch 2.1)."""
    import torch

    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    options = {"mmap": True} if mapped and (major, minor) >= (2, 1) else {}
    return torch.load(str(path), map_location="cpu", weights_only=True, **options)


def is_plain_tensor(value: Any) -> bool:
    """Whether a value is a tensor with all its numbers in memory (not sparse, not one number that stands for many)."""
    import torch

    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """No advice, progress bars or deprecation warnings of the libraries on stderr; errors still raise.

    What they log as errors is advice as well: transformers complains of each special token that a tokenizer lacks.
    """
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    import transformers

    level, bars = transformers.logging.get_verbosity(), transformers.utils.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity(logging.CRITICAL)
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("torch.distributed").setLevel(logging.ERROR)
    hub = logging.getLogger("huggingface_hub")
    hub_level = hub.level
    hub.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.logging.set_verbosity(level)
        hub.setLevel(hub_level)
        if bars:
            transformers.utils.logging.enable_progress_bar()


@contextlib.contextmanager
def undrawn() -> Iterator[None]:
    """Within the block transformers' models hold what their memory happens to hold, instead of random weights.

    transformers 4.29 leaves out its own draws only; those that torch makes before remain (base: 0.48 of 0.84 s).
    """
    with quiet_transformers():
        try:
            from transformers.initialization import no_init_weights
        except ImportError:
            from transformers.modeling_utils import no_init_weights
    with no_init_weights():
        yield


@contextlib.contextmanager
def known_warnings() -> Iterator[None]:
    """Keep quiet about what the libraries' own models do in a forward pass and no user can change."""
    with warnings.catch_warnings():
        # WavLM passes a boolean padding mask beside a float position bias.
        warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask")
        yield


def use_plain_attention(model: Any) -> None:
    """Attention as matrix products: on a CPU its backward pass is faster than the fused kernel's.

    transformers 4.29 knows no other.
    """
    if hasattr(model, "set_attn_implementation"):
        model.set_attn_implementation("eager")
