"""The emulated IPU for the tests of this folder, and gone again after them."""

from __future__ import annotations

from types import ModuleType
from typing import Iterator

import pytest

from asrctl.ipu import emulation
from tests.helpers.emulated import emulated_ipu, need_optimum


@pytest.fixture(scope="package")
def poptorch() -> Iterator[ModuleType]:
    """The emulated poptorch. Tests elsewhere, which may need a machine without one, do not see it."""
    with emulated_ipu():
        emulation.activate()
        yield __import__("poptorch")


@pytest.fixture(scope="package")
def optimum(poptorch: ModuleType) -> ModuleType:
    """The real optimum.graphcore package over the emulated poptorch."""
    need_optimum()
    import optimum.graphcore

    return optimum.graphcore


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small gain nothing from a second thread, and lose a hundredfold if another process wants the core."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pytest_collection_modifyitems(items: list) -> None:
    # transformers 4.29 and optimum-graphcore use what newer torch and numpy warn about; so it is theirs to mend.
    for item in items:
        if "emulation" in item.path.parts and "optimum" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"))
