"""The program in this process, what came of it, and workspaces to run it in."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, Iterator

import pytest

ROOT = Path(__file__).resolve().parents[2]


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


def copy_workspace(source: Path, target: Path) -> Path:
    """A copy that may be changed; what is large and never written in place is linked instead."""

    def link_or_copy(source_file: str, target_file: str) -> None:
        if source_file.endswith((".arrow", ".safetensors")):
            os.link(source_file, target_file)
        else:
            shutil.copy2(source_file, target_file)

    shutil.copytree(str(source), str(target), copy_function=link_or_copy)
    return target


@contextmanager
def timed_by_processor() -> Iterator[None]:
    """Within the block `--max-minutes` goes by the processor time of this process: on a busy machine it takes longer,
    and as many steps fit into it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asrctl.training.loop.time", SimpleNamespace(monotonic=time.process_time))
        yield
