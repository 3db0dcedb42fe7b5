"""Inputs of a compiled model: named, cut into micro-batches, and held to the shapes that it was compiled for."""

from __future__ import annotations

import inspect
from typing import Any, Dict, NamedTuple, Tuple

import torch

from ._errors import Error, NotEmulated
from ._trees import map_tensors, tensors

_RECOMPILE = (
    "\nThis error occurred because the inputs passed at runtime don't match the inputs used to compile the model."
    "\nTo recompile the model for the new inputs create a new inferenceModel / trainingModel wrapper or call destroy() "
    "on the current one and try again."
)


class _Tensor(NamedTuple):
    dtype: torch.dtype
    shape: Tuple[int, ...]


def name_inputs(model: torch.nn.Module, args: Any, kwargs: Dict[str, Any]) -> Dict[str, Any]:
    """The arguments of `model.forward` by name. Raises Error if it does not take them."""
    signature = inspect.signature(model.forward)
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    if kinds - {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}:
        raise NotEmulated("a model whose forward() takes *args or **kwargs")
    try:
        return dict(signature.bind(*args, **kwargs).arguments)
    except TypeError as error:
        raise Error(f"the model's forward() does not fit the inputs: {error}") from None


def describe(inputs: Dict[str, Any]) -> Dict[str, Any]:
    """What a compiled model holds its inputs to: type and shape of tensors, and the value of anything else."""
    return {
        name: map_tensors(value, lambda tensor: _Tensor(tensor.dtype, tuple(tensor.shape)))
        for name, value in inputs.items()
    }


def check(inputs: Dict[str, Any], compiled: Dict[str, Any]) -> None:
    """Raises Error unless `inputs` are such as `compiled` (of `describe`) says."""
    given = describe(inputs)
    if given.keys() != compiled.keys():
        raise Error(f"Keys mismatch: expected {list(compiled)} but got {list(given)}.{_RECOMPILE}")
    for name, expected in compiled.items():
        got = given[name]
        if got == expected:
            continue
        what = "Value"
        if isinstance(got, _Tensor) and isinstance(expected, _Tensor):
            if got.dtype != expected.dtype:
                what, expected, got = "Data type", expected.dtype, got.dtype
            else:
                what, expected, got = "Shape", expected.shape, got.shape
        raise Error(f"{what} mismatch for {name}: expected {expected} but got {got}.{_RECOMPILE}")


def micro_batch(inputs: Dict[str, Any], index: int, count: int) -> Dict[str, Any]:
    """A copy (the model may write into it) of one of `count` slices of all tensors along the batch dimension.

    Raises AssertionError, as poptorch does, if the batch dimension can not be cut so.
    """
    for tensor in tensors(inputs):
        size = tensor.shape[0] if tensor.dim() else 1
        if size % count:
            raise AssertionError(
                f"Invalid batch dimension: In the input {tuple(tensor.shape)}, the batch dimension ({size}) must be a "
                f"multiple of {count}, the device iterations x replicas x gradient accumulation"
            )

    def cut(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.dim():
            return tensor.clone()
        size = tensor.shape[0] // count
        return tensor[index * size : (index + 1) * size].detach().clone()

    return map_tensors(inputs, cut)
