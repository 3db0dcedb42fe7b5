"""The project's checks: `nox` runs those of every change, `nox -s NAME` any other. `nox --list` names them."""

import shutil
import subprocess
from pathlib import Path
from typing import Tuple

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["lint", "tests", "old"]
nox.options.error_on_missing_interpreters = True

FLOOR = "3.8"
POD_EXTRAS = "ipu,demo,onnx,plot,dev"
PYTHON_FILES = ("asrctl", "tests", "benchmarks", "noxfile.py")
# Tests use one thread each, so that as many of them run side by side as there are cores; a file stays with one worker,
# because its tests share what was made for them. In the order of their names: by the number of their tests, files with
# a few long ones would come last, and the other cores would wait for them.
SIDE_BY_SIDE = ("-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder")
# It measures processor time, of which a command takes up to half as much again where the other cores are busy.
ALONE = "tests/cli/test_help.py::test_help_is_quick"
# They give a command hardly more memory than it needs by itself.
BARELY_ENOUGH = "tests/cli/test_limits.py"
# About our own code, whatever the libraries: with the current ones alone.
OUR_OWN = (
    "tests/faults",
    "tests/fuzz",
    "tests/config",
    "tests/language_models",
    "tests/messages",
    "tests/storage",
    *(
        f"tests/cli/test_{name}.py"
        for name in (
            "amounts",
            "any_corpus",
            "audit",
            "compare",
            "confined",
            "limits",
            "locale",
            "permissions",
            "python_options",
            "remote",
            "shards",
            "streaming",
            "telemetry",
            "traces",
        )
    ),
)
# Processes that tests start are measured too, and so are those that end by os._exit.
COVERAGE = """
[run]
source = asrctl
branch = true
parallel = true
disable_warnings = no-data-collected
data_file = {folder}/data
patch =
    subprocess
    _exit

[report]
skip_covered = true
sort = cover
"""


def runs(python: str) -> bool:
    """Whether there is such an interpreter; a version manager's stand-in for one is there and does not run."""
    found = shutil.which(python)
    return found is not None and subprocess.run([found, "--version"], capture_output=True).returncode == 0


def install(session: nox.Session, extras: str, constraints: str = "constraints.txt") -> None:
    """asrctl itself and what the tests need, in the versions that were tested."""
    session.install("-c", constraints, "-e", f".[{extras}]")


def suite(session: nox.Session, *words: str) -> None:
    """The tests that are asked for, or all: side by side, and alone the one that a neighbor would disturb."""
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    session.run("pytest", *SIDE_BY_SIDE, "--deselect", ALONE, *words)
    session.run("pytest", ALONE)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types, and that the oldest Python is still served: by syntax, and by releases of all that we depend on."""
    session.install("-c", "constraints.txt", "mypy", "ruff", "types-PyYAML", "uv", "vermin")
    session.run("ruff", "check", *PYTHON_FILES)
    session.run("ruff", "format", "--check", *PYTHON_FILES)
    session.run("mypy")
    # `file` was a function of Python 2; here it is only ever a name of our own.
    session.run("vermin", f"--target={FLOOR}-", "--no-tips", "--violations", "--exclude", "file", "asrctl", "tests")
    for extras in ((), ("demo", "onnx", "plot", "tensorboard", "bench", "dev"), ("ipu",)):
        resolve(session, *extras)
    # On a pod nothing is built: a package without a wheel there would want compilers. cppimport never had one.
    wheels = ("--only-binary", ":all:", "--no-binary", "cppimport", "--python-platform", "x86_64-manylinux_2_31")
    resolve(session, *POD_EXTRAS.split(","), with_words=("--constraints", "constraints-pod.txt", *wheels))


def resolve(session: nox.Session, *extras: str, with_words: Tuple[str, ...] = ()) -> None:
    """Fails unless there are releases for the oldest Python that go together."""
    chosen = [word for extra in extras for word in ("--extra", extra)]
    words = ("--quiet", "--python-version", FLOOR, *with_words, *chosen, "pyproject.toml")
    session.run("uv", "pip", "compile", *words, silent=True)


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite on current libraries."""
    install(session, "demo,onnx,plot,bench,kenlm,lora,lhotse,dev")
    suite(session)


@nox.session
def old(session: nox.Session) -> None:
    """The same test suite on the library generation of optimum-graphcore, where its own tests run too.

    But for what is about our own code (OUR_OWN: kills, limits, permissions, who reads what ...): `tests` has that.
    """
    install(session, "ipu,demo,onnx,plot,kenlm,dev", "constraints-ipu.txt")
    suite(session, *(f"--ignore={path}" for path in OUR_OWN))


@nox.session(python=FLOOR if runs(f"python{FLOOR}") else None, venv_backend="venv")
def pod(session: nox.Session) -> None:
    """The same test suite with what a pod has: torch 2.0.1, and Python 3.8 where there is one (5 GB)."""
    install(session, POD_EXTRAS, "constraints-pod.txt")
    suite(session)


@nox.session
def generations(session: nox.Session) -> None:
    """Prepare here, train there: what one generation of the libraries makes, the other one uses, in both directions."""
    install(session, "dev")
    other = Path(session.virtualenv.location).with_name("generations-old")
    python = str(other / "bin" / "python")
    session.run("python", "-m", "venv", str(other))
    session.run(
        python, "-m", "pip", "install", "--quiet", "-c", "constraints-ipu.txt", "-e", ".[ipu,dev]", external=True
    )
    session.run("pytest", "tests/generations", *session.posargs, env={"ASRCTL_OTHER_PYTHON": python})


@nox.session
def support(session: nox.Session) -> None:
    """What `asrctl support` tells, found anew with current libraries and with old ones; the table of docs/models.md."""
    for extras, constraints in (("demo,onnx,dev", "constraints.txt"), ("ipu,onnx,dev", "constraints-ipu.txt")):
        install(session, extras, constraints)
        session.run("pytest", "tests/models/test_every_architecture.py", env={"ASRCTL_WRITE_SUPPORT": "1"})


@nox.session
def long(session: nox.Session) -> None:
    """The tests that take minutes: the demo, training to a given word error rate."""
    install(session, "demo,onnx,plot,bench,ray,lhotse,dev")
    session.run("pytest", "-m", "slow and not fuzz_full", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Kills, full disks, lost files, two at once, long runs: half an hour on two cores, and a table at its end."""
    install(session, "dev")
    where = ("tests/faults", "tests/data/test_download.py", "tests/commands/test_prepare_faults.py")
    if not session.posargs:
        session.notify("fuzz")
    session.run("pytest", "-m", "not slow", "-n", "2", "--dist", "worksteal", *(session.posargs or where))


@nox.session
def fuzz(session: nox.Session) -> None:
    """Ten thousand damaged files for every parser, by hypothesis and by coverage: a table, and the branches reached."""
    install(session, "fuzz,dev")
    session.run("python", "-m", "tests.fuzz", *session.posargs)
    where = ("tests/fuzz", "tests/cli/test_untrusted.py", "tests/cli/test_confined.py")
    session.run("pytest", "-m", "fuzz_full or not slow", *where)


@nox.session
def coverage(session: nox.Session) -> None:
    """How much of asrctl the suite runs through, branches too, in percent: of each file, the best last, and in all.

    On current libraries, so most of `ipu/` is missed: `old` has its tests. What follows `--` is run instead of all.
    """
    install(session, "demo,onnx,plot,bench,ray,lhotse,dev")
    folder = Path(session.create_tmp()).absolute() / "coverage"
    shutil.rmtree(str(folder), ignore_errors=True)
    folder.mkdir()
    config = folder / "rc"
    config.write_text(COVERAGE.format(folder=folder), encoding="utf-8")
    rc = f"--rcfile={config}"
    tested = session.posargs or (*SIDE_BY_SIDE, "--deselect", ALONE, "--deselect", BARELY_ENOUGH)
    session.run("coverage", "run", rc, "-m", "pytest", *tested, success_codes=[0, 1])
    session.run("coverage", "combine", "--quiet", rc)
    session.run("coverage", "report", rc)


@nox.session
def bench(session: nox.Session) -> None:
    """asrctl beside the stock recipe, on an idle machine: tens of minutes. What follows `--` goes to the benchmark."""
    install(session, "bench")
    session.run("python", "-m", "benchmarks.run", *session.posargs)
