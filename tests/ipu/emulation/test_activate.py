"""How the emulation comes into a process, and that it does not come by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def python(code: str) -> str:
    """What a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nothing_is_emulated_before_it_is_activated() -> None:
    code = """
import sys
from asrctl.ipu import emulation
print(emulation.is_emulated(), [name for name in ("torch", "poptorch", "popart") if name in sys.modules])
"""
    assert python(code) == "False []"


def test_activating_twice_is_activating_once() -> None:
    code = """
import sys
from asrctl.ipu import emulation
emulation.activate()
path = list(sys.path)
emulation.activate()
assert sys.path == path and emulation.is_emulated() and "torch" not in sys.modules
import poptorch, popart
emulation.activate()
assert emulation.is_emulated()
print(poptorch.__version__, poptorch.ipuHardwareVersion(), poptorch.__name__, popart.__name__)
"""
    assert python(code) == "3.3.0+emulated 2 poptorch popart"


@pytest.mark.parametrize("name", ["poptorch", "popart"])
def test_a_real_one_that_is_imported_already_is_not_replaced(name, tmp_path) -> None:
    (tmp_path / f"{name}.py").write_text("")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import {name}
from asrctl.errors import DeviceError
from asrctl.ipu import emulation
try:
    emulation.activate()
except DeviceError as error:
    print(error.message, error.exit_code, emulation.is_emulated())
"""
    assert python(code) == (
        f"the real {name} is already imported in this process, so the IPU can not be emulated in it. 6 False"
    )


def test_a_real_one_that_is_only_installed_gives_way(tmp_path) -> None:
    (tmp_path / "poptorch.py").write_text("")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from asrctl.ipu import emulation
before = emulation.is_emulated()
emulation.activate()
import poptorch
print(before, poptorch.__version__)
"""
    assert python(code) == "False 3.3.0+emulated"
