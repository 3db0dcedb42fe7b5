"""What every test shares: the program in this process or in its own, a workspace, and real speech."""

from __future__ import annotations

import ctypes
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict, Iterator, List, Optional

import pytest

from .fault_table import faults, pytest_runtest_makereport, pytest_terminal_summary  # noqa: F401 - hooks, a fixture

ROOT = Path(__file__).resolve().parent.parent

# Before anything imports torch or a tokenizer: no network, and one thread; waiting threads cost small models dear.
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "NO_COLOR": "1",
    "COLUMNS": "80",
    "PYTHONPATH": str(ROOT),
}
os.environ.update(_ENVIRONMENT)
# Started in the background of a shell, we would hand on to our children that Ctrl-C is ignored.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for _name in ("ASRCTL_WORKSPACE", "ASRCTL_PRESETS", "FORCE_COLOR"):
    os.environ.pop(_name, None)


@dataclass(frozen=True)
class Result:
    """What one call of the program did."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Dict[str, Any]:
        """The one document that --json prints; anything else on stdout fails the test."""
        document = json.loads(self.stdout)
        assert document["schema"] == 1, document
        return document

    @property
    def result(self) -> Dict[str, Any]:
        """The `result` of a call that went well."""
        document = self.json
        assert document["ok"], document
        return document["result"]

    @property
    def error(self) -> Dict[str, Any]:
        """The `error` of a call that did not."""
        document = self.json
        assert not document["ok"], document
        return document["error"]

    def succeeded(self) -> "Result":
        """This result; fails the test with what the program said where it went wrong."""
        assert self.exit_code == 0, f"exit {self.exit_code}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"
        return self


class _Stream(io.TextIOWrapper):
    """A text stream over bytes, as a pipe is: it has a buffer and an encoding, and is no terminal."""

    def __init__(self, errors: str = "strict") -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", errors=errors, write_through=True)

    @property
    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode("utf-8")  # type: ignore[attr-defined]


def run_here(*arguments: Any) -> Result:
    """`asrctl ARGUMENTS` in this process, with stdout and stderr apart."""
    from asrctl.cli.app import main

    kept = sys.stdout, sys.stderr, sys.argv
    stdout, stderr = _Stream(), _Stream("backslashreplace")  # as Python's own
    words = [str(argument) for argument in arguments]
    # The program reads its own command line, to tell it again.
    sys.stdout, sys.stderr, sys.argv = stdout, stderr, ["asrctl", *words]
    try:
        main(words)
        exit_code: Any = 0
    except SystemExit as leaving:
        exit_code = leaving.code
    finally:
        sys.stdout, sys.stderr, sys.argv = kept
    return Result(int(exit_code or 0), stdout.text, stderr.text)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for a workspace; commands use it unless --workspace says otherwise."""
    path = tmp_path / "workspace"
    monkeypatch.setenv("ASRCTL_WORKSPACE", str(path))
    return path


@pytest.fixture
def asrctl(workspace: Path) -> Callable[..., Result]:
    """`asrctl("prepare", "folder", path, "--json")` in this process, in `workspace`."""
    return run_here


@pytest.fixture
def asrctl_process(workspace: Path) -> Callable[..., Result]:
    """`python -m asrctl ...` in a process of its own, in `workspace`."""

    def run(*arguments: Any, env: Optional[Dict[str, str]] = None, timeout_s: float = 300, **options: Any) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "asrctl", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, **(env or {})},
            encoding="utf-8",
            timeout=timeout_s,
            check=False,
            **options,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def asrctl_with_permissions(tmp_path: Path, asrctl_process: Callable[..., Result]) -> Callable[..., Result]:
    """`python -m asrctl ...` in `tmp_path`, where permissions hold even for root: root without the right to pass by."""
    options: Dict[str, Any] = {"cwd": str(tmp_path)}
    if os.geteuid() == 0:
        options["preexec_fn"] = _give_up_roots_pass
        (tmp_path / "probe").mkdir(mode=0o500)
        probe = [sys.executable, "-c", "open('probe/x', 'w')"]
        if subprocess.run(probe, stderr=subprocess.DEVNULL, check=False, **options).returncode == 0:
            pytest.skip("we are root, and can not give up root's right to read and write everything")
        (tmp_path / "probe").rmdir()
    return lambda *arguments: asrctl_process(*arguments, env={"ASRCTL_WORKSPACE": ""}, **options)


_LIBC = ctypes.CDLL(None)


def _give_up_roots_pass() -> None:
    """Before exec: drop CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (linux/capability.h) with PR_CAPBSET_DROP."""
    if sys.platform.startswith("linux"):
        for capability in (1, 2):
            _LIBC.prctl(24, capability, 0, 0, 0)


@pytest.fixture(autouse=True)
def _nobody_elses_presets(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The presets in the config folder of whoever runs the tests do not count."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "no-config"))


@contextmanager
def timed_by_processor() -> Iterator[None]:
    """Within the block `--max-minutes` goes by the processor time of this process: on a busy machine it takes longer,
    and as many steps fit into it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asrctl.training.loop.time", SimpleNamespace(monotonic=time.process_time))
        yield


_EMULATION_ONLY = ("poptorch", "popart", "optimum.graphcore") + tuple(
    f"asrctl.ipu.{name}" for name in ("data", "inference", "trainer")
)
_put_aside: Dict[str, Any] = {}
_emulating: List[bool] = []


@pytest.fixture(autouse=True)
def _no_emulation_is_left() -> Iterator[None]:
    """A test that imports the emulated IPU outside of `emulated_ipu` fails here, not a later one of another file."""
    yield
    left = [name for name in sys.modules if name.startswith(_EMULATION_ONLY)]
    assert _emulating or not left, f"imported outside of emulated_ipu(): {left[:3]}"


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


def _speech_folder() -> Path:
    return Path(os.environ.get("ASRCTL_TEST_DATA") or ROOT.parent / "shared" / "data")


def _need(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"no real speech at {path} (set ASRCTL_TEST_DATA to a folder that has it)")
    return path


@pytest.fixture(scope="session")
def speech() -> Path:
    """The folder of real speech; the test is skipped where it is missing."""
    return _need(_speech_folder())


@pytest.fixture(scope="session")
def librispeech(speech: Path) -> Path:
    """106 utterances in LibriSpeech's layout: test-other, dev-clean, test-clean."""
    return _need(speech / "LibriSpeech")


@pytest.fixture(scope="session")
def fsdd(speech: Path) -> Path:
    """The manifest of 2,500 spoken digits by five people."""
    return _need(speech / "fsdd" / "utterances.csv")


def copy_workspace(source: Path, target: Path) -> Path:
    """A copy that may be changed; what is large and never written in place is linked instead."""

    def link_or_copy(source_file: str, target_file: str) -> None:
        if source_file.endswith((".arrow", ".safetensors")):
            os.link(source_file, target_file)
        else:
            shutil.copy2(source_file, target_file)

    shutil.copytree(str(source), str(target), copy_function=link_or_copy)
    return target


@pytest.fixture(scope="session")
def prepared_librispeech(librispeech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which real speech is prepared. Shared by all tests: read it, never write to it."""
    path = tmp_path_factory.mktemp("prepared") / "workspace"
    splits = ("--train", "test-other", "--eval", "dev-clean")
    run_here("prepare", "librispeech", librispeech, *splits, "--workspace", path).succeeded()
    return path


@pytest.fixture
def librispeech_workspace(prepared_librispeech: Path, workspace: Path) -> Path:
    """`workspace`, holding a copy of `prepared_librispeech` that the test may change."""
    return copy_workspace(prepared_librispeech, workspace)


@pytest.fixture(scope="session")
def trained_librispeech(prepared_librispeech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with prepared speech and the run `tiny`, trained for two steps. Read only."""
    path = copy_workspace(prepared_librispeech, tmp_path_factory.mktemp("trained") / "workspace")
    options = ("--preset", "tiny-cpu", "--max-steps", 2, "--run", "tiny", "--device", "cpu")
    run_here("train", *options, "--workspace", path).succeeded()
    return path


@pytest.fixture
def trained_run(trained_librispeech: Path, workspace: Path) -> Path:
    """`workspace`, holding a copy of `trained_librispeech` that the test may change: the folder of its run `tiny`."""
    return copy_workspace(trained_librispeech, workspace) / "runs" / "tiny"


@pytest.fixture(scope="session")
def learned_tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the run `learned`, whose model gets most words of tests/helpers/tones.py right. Read only."""
    from .helpers.tones import prepare, train

    folder = tmp_path_factory.mktemp("tones")
    path = prepare(folder)
    train(folder, "--run", "learned")
    return path


@pytest.fixture
def tones(learned_tones: Path, workspace: Path) -> Path:
    """`workspace`, holding a copy of `learned_tones` that the test may change."""
    return copy_workspace(learned_tones, workspace)


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The test runs in its temporary folder."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
