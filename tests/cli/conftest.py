"""What tests of strangers' files and hostile names share."""

from pathlib import Path

import pytest

from ..helpers.program import copy_workspace
from ..helpers.tones import prepare, train


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a workspace in which the run `r` has taken two steps. Read only."""
    folder = tmp_path_factory.mktemp("honest")
    prepare(folder)
    train(folder, "--run", "r", "--max-steps", 2)
    return folder


@pytest.fixture
def honest_workspace(honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, and the workspace of every command."""
    path = copy_workspace(honest / "workspace", tmp_path / "workspace")
    monkeypatch.setenv("ASRCTL_WORKSPACE", str(path))
    return path
