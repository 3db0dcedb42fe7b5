"""float16 arithmetic on a torch whose CPU has only some of it: in float32, rounded after every operation.

That is what a newer torch does inside its own kernels, which add up in float32 and round once.
"""

from __future__ import annotations

import contextlib
from typing import Any, ContextManager, Dict, Set, Tuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from asrctl.runtime import compat

_lacking: Set[Any] = set()
"""The operations that turned out not to know halves."""


def halves() -> ContextManager:
    """Within the block, and in the backward passes that are run within it, every operation takes halves."""
    return contextlib.nullcontext() if compat.cpu_knows_halves() else _InFloat()


class _InFloat(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Tuple = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # What draws random numbers is not tried: it may have drawn some before it fails.
        if function not in _lacking and torch.Tag.nondeterministic_seeded not in function.tags:
            try:
                return function(*args, **kwargs)
            except RuntimeError as error:
                if "'Half'" not in str(error):
                    raise
                _lacking.add(function)
        return _in_float(function, args, kwargs)


def _in_float(function: Any, args: Tuple, kwargs: Dict[str, Any]) -> Any:
    """What `function` would return, and write into its arguments, if it knew halves."""
    call = _Widened()
    result = function(*tree_map(call.widen, args), **tree_map(call.widen, kwargs))
    for place, argument in enumerate(function._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            call.write_back(args[place] if place < len(args) else kwargs.get(argument.name))
    return tree_map(call.narrow, result)


class _Widened:
    """Copies of one call's halves, and what has to become a half again."""

    def __init__(self) -> None:
        self._copies: Dict[int, Tuple[torch.Tensor, torch.Tensor]] = {}  # half and copy, by the id of either
        self._dtypes: Set[torch.dtype] = set()
        self._wanted: Set[torch.dtype] = set()

    def widen(self, value: Any) -> Any:
        if isinstance(value, torch.dtype):
            self._wanted.add(value)
            return torch.float32 if value == torch.float16 else value
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            return value
        self._dtypes.add(value.dtype)
        if value.dtype != torch.float16:
            return value
        if id(value) not in self._copies:
            pair = (value, value.float())
            self._copies[id(value)] = self._copies[id(pair[1])] = pair
        return self._copies[id(value)][1]

    def write_back(self, half: Any) -> None:
        if id(half) in self._copies:
            half.copy_(self._copies[id(half)][1])

    def narrow(self, value: Any) -> Any:
        if id(value) in self._copies:
            return self._copies[id(value)][0]
        # The dtype that was asked for; else that of the halves, where none is wider.
        makes_halves = (self._wanted or self._dtypes) == {torch.float16}
        is_float = isinstance(value, torch.Tensor) and value.dtype == torch.float32
        return value.half() if is_float and makes_halves else value
