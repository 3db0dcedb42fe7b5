"""What every test shares: the program in this process or in its own, a workspace, and speech."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional

import pytest
from hypothesis import settings

from .fault_table import faults, pytest_runtest_makereport, pytest_terminal_summary  # noqa: F401 - hooks, a fixture
from .helpers.emulated import assert_no_emulation_is_left
from .helpers.program import ROOT, Result, copy_workspace, run_here
from .helpers.stops import HANGS_S

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
# What hypothesis draws is the same in every run, and no example fails because the machine was busy.
settings.register_profile("suite", deadline=None, derandomize=True, database=None)
settings.load_profile("suite")
# Started in the background of a shell, we would hand on to our children that Ctrl-C is ignored.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for _name in ("ASRCTL_WORKSPACE", "ASRCTL_PRESETS", "FORCE_COLOR"):
    os.environ.pop(_name, None)


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

    def run(
        *arguments: Any, env: Optional[Dict[str, str]] = None, timeout_s: float = HANGS_S, **options: Any
    ) -> Result:
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


@pytest.fixture(autouse=True)
def _no_emulation_is_left() -> Iterator[None]:
    """A test that imports the emulated IPU outside of `emulated_ipu` fails here, not a later one of another file."""
    yield
    assert_no_emulation_is_left()


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
def real_librispeech(speech: Path) -> Path:
    """106 utterances of LibriSpeech: test-other, dev-clean, test-clean."""
    return _need(speech / "LibriSpeech")


@pytest.fixture(scope="session")
def real_digits(speech: Path) -> Path:
    """The manifest of 2,500 spoken digits by five people."""
    return _need(speech / "fsdd" / "utterances.csv")


@pytest.fixture(scope="session")
def librispeech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """58 utterances of tones in LibriSpeech's layout: test-other, dev-clean, test-clean. Read only."""
    from .helpers.speech import write_librispeech

    return write_librispeech(tmp_path_factory.mktemp("librispeech") / "LibriSpeech")


@pytest.fixture(scope="session")
def prepared_librispeech(librispeech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which `librispeech` is prepared. Shared by all tests: read it, never write to it."""
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
