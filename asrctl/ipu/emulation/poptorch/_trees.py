"""Tensors in nested tuples, lists and dictionaries."""

from __future__ import annotations

from typing import Any, Callable, List, Sequence

import torch


def map_tensors(tree: Any, function: Callable[[torch.Tensor], Any]) -> Any:
    """`tree` with `function` of each tensor in its place. Dictionaries keep their class (transformers' outputs too)."""
    if isinstance(tree, torch.Tensor):
        return function(tree)
    if isinstance(tree, dict):
        items = {key: map_tensors(value, function) for key, value in tree.items()}
        return items if type(tree) is dict else type(tree)(**items)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(map_tensors(value, function) for value in tree))
    if isinstance(tree, (tuple, list)):
        return type(tree)(map_tensors(value, function) for value in tree)
    return tree


def tensors(tree: Any) -> List[torch.Tensor]:
    """The tensors of `tree`, in order."""
    found: List[torch.Tensor] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        found.append(tensor)
        return tensor

    map_tensors(tree, note)
    return found


def zip_tensors(trees: Sequence[Any], function: Callable[[List[torch.Tensor]], Any]) -> Any:
    """The shape of the first tree, with `function` of the tensors that stand in one place in all of them."""
    columns = iter(list(zip(*(tensors(tree) for tree in trees))))
    return map_tensors(trees[0], lambda _: function(list(next(columns))))
