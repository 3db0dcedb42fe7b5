"""Errors of the emulated device, and the refusal of every name that it does not have."""

from __future__ import annotations

from typing import Any, Callable


class Error(Exception):
    """Stands for poptorch.Error."""


class NotEmulated(Error):
    """A part of poptorch or popart that the emulation does not have.

    No AttributeError on purpose: `from poptorch import NAME` and `hasattr` would swallow that, and with it the name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"not emulated: {name}")
        self.name = name


def refuse_unknown(module_name: str) -> Callable[[str], Any]:
    """A module's `__getattr__` that refuses whatever the module lacks, but for the names Python itself probes."""

    def __getattr__(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotEmulated(f"{module_name}.{name}")

    return __getattr__
