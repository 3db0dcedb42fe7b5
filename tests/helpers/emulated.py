"""The emulated IPU for a part of the tests, in a process where others must not find it."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List

import pytest

_EMULATION_ONLY = ("poptorch", "popart", "optimum.graphcore") + tuple(
    f"asrctl.ipu.{name}" for name in ("data", "inference", "trainer")
)
_put_aside: Dict[str, Any] = {}
_emulating: List[bool] = []


def need_optimum() -> None:
    """Skip the test where there is no optimum-graphcore, which the emulated poptorch runs under."""
    if importlib.util.find_spec("optimum") is None or importlib.util.find_spec("optimum.graphcore") is None:
        pytest.skip("optimum-graphcore is not installed (pip install -c constraints-ipu.txt 'asrctl[ipu]')")


@contextmanager
def emulated_ipu() -> Iterator[None]:
    """Within the block poptorch may be the emulated one; outside, this process looks as if it had none.

    The modules are put aside and taken back, never imported twice: two copies of a class can not be pickled.
    """
    path = list(sys.path)
    sys.modules.update(_put_aside)
    _emulating.append(True)
    try:
        yield
    finally:
        _emulating.pop()
        sys.path[:] = path
        for name in [name for name in sys.modules if name.startswith(_EMULATION_ONLY)]:
            _put_aside[name] = sys.modules.pop(name)


def assert_no_emulation_is_left() -> None:
    """Fails where a module of the emulated IPU was imported outside of `emulated_ipu`."""
    left = [name for name in sys.modules if name.startswith(_EMULATION_ONLY)]
    assert _emulating or not left, f"imported outside of emulated_ipu(): {left[:3]}"
