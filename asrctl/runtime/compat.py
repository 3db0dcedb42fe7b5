"""The only place that knows library generations: transformers 4.29 (IPU) and current, torch 2.0 and current."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from functools import lru_cache
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

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


def tied_names(model: Any) -> Dict[str, str]:
    """{name on disk: another name of the same parameter} where a model has one under several names."""
    found: Dict[int, List[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        found.setdefault(id(parameter), []).append(canonical_name(name))
    return {one: other for names in found.values() for one in names for other in names if one != other}


def canonical_weights(weights: Mapping[str, Any]) -> Dict[str, Any]:
    return {canonical_name(name): tensor for name, tensor in weights.items()}


def weight_norm_halves(module: Any) -> Any:
    """(length, direction) parameters of a weight-normed module; None where it is not one."""
    parametrized = getattr(module, "parametrizations", None)
    if parametrized is not None and hasattr(parametrized, "weight"):
        weight = parametrized.weight
        return (weight.original0, weight.original1) if hasattr(weight, "original1") else None
    return (module.weight_g, module.weight_v) if hasattr(module, "weight_g") else None


def _torch_version() -> Tuple[int, ...]:
    """(2, 0) of "2.0.1+cpu"."""
    import torch

    return tuple(int(part) for part in torch.__version__.split(".")[:2])


def cpu_knows_halves() -> bool:
    """Whether every operation of our models takes fp16 on a CPU."""
    return _torch_version() >= (2, 3)


_mended: List[Any] = []


def mend_torch() -> None:
    """For this process: put right what models meet in an older torch. Doing it again changes nothing.

    - Before 2.2 the gradient of GELU is wrong on a CPU: oneDNN's backward pass returns memory as it was found where the
      strides of a gradient are not those of the input (pytorch issue 107876), as those of a transposed one are. It gets
      every gradient in one piece instead.
    - 2.0 can make no weight-normed layer without memory (on the device "meta").
    """
    import torch

    if _mended or _torch_version() >= (2, 2):
        return
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Overriding a previously registered kernel")
        library.impl("gelu_backward", _gelu_backward, "CPU")
    if not torch._C._dispatch_has_kernel_for_dispatch_key("aten::_weight_norm_interface", "Meta"):
        library.impl("_weight_norm_interface", _weight_norm_outline, "Meta")
    _mended.append(library)  # it holds as long as this does


def _gelu_backward(grad_output: Any, self: Any, *, approximate: str = "none") -> Any:
    import torch

    made = torch.empty_like(self)
    return torch.ops.aten.gelu_backward.grad_input(
        grad_output.contiguous(), self, approximate=approximate, grad_input=made
    )


def _weight_norm_outline(v: Any, g: Any, dim: int = 0) -> Any:
    import torch

    return torch.empty_like(v), torch.empty_like(g)


@lru_cache(maxsize=None)
def has_onednn_bf16() -> bool:
    """Whether oneDNN multiplies bf16 on this CPU, and torch lets it be called (torch 2.0 does not say whether)."""
    import torch

    asks = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported")
    return asks and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@lru_cache(maxsize=None)
def cpu_adds_up_bf16() -> bool:
    """Whether bf16 products on this CPU are added up in something better than bf16, which ends at 256 ones.

    Torch 2.0 leaves that to oneDNN, which does it with AVX-512 only. Later torch always does.
    """
    import torch

    ones = torch.ones(1, 4096, 16, dtype=torch.bfloat16)
    across = ones.transpose(1, 2).contiguous()
    found = (torch.mm(across[0], ones[0]), torch.mm(ones[0].t(), ones[0]), torch.bmm(across, ones))
    return all(bool((sums == 4096).all()) for sums in found)


def ctc_knows_no_frames() -> bool:
    """Whether torch's CTC loss is right for an utterance without a frame (torch pull request 123193)."""
    return _torch_version() >= (2, 4)


def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Any:
    """torch's, for targets (batch, longest). An utterance without a frame has the loss that current torch gives it:
    infinite or, with zero_infinity or without labels, 0, and no gradient. Torch before 2.4 reads foreign memory there.
    """
    import torch
    from torch.nn import functional

    if ctc_knows_no_frames():
        return functional.ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity)
    has_frames = input_lengths > 0
    counts = torch.where(has_frames, target_lengths, 0)
    lengths = input_lengths.clamp(min=1)
    losses = functional.ctc_loss(log_probs, targets, lengths, counts, blank, "none", zero_infinity)
    impossible = torch.where(target_lengths > 0, 0.0 if zero_infinity else float("inf"), 0.0)
    losses = torch.where(has_frames.to(losses.device), losses, impossible.to(losses))
    if reduction == "mean":
        return (losses / target_lengths.clamp(min=1).to(losses.device)).mean()
    return losses.sum() if reduction == "sum" else losses


def fused_adamw_works(device_type: str) -> bool:
    """Whether torch.optim.AdamW(fused=True) exists for this device: CUDA since torch 2.0, CPU since 2.4."""
    return device_type == "cuda" or (device_type == "cpu" and _torch_version() >= (2, 4))


def flash_takes_packed(device: Any) -> bool:
    """Whether torch's flash attention takes rows of different lengths there, called as models.packed calls it."""
    import torch

    if device.type != "cuda" or _torch_version() < (2, 5) or not torch.backends.cuda.is_flash_attention_available():
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

    options = {"mmap": True} if mapped and _torch_version() >= (2, 1) else {}
    with warnings.catch_warnings():
        # Torch 2.0 warns of what it does itself.
        warnings.filterwarnings("ignore", message="TypedStorage is deprecated")
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


def datasets_reads_cards() -> bool:
    """Whether the datasets library goes by what a README.md says of configurations: from 2.14 on."""
    from datasets.utils import metadata

    return hasattr(metadata, "MetadataConfigs")


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
