"""What the fault tests share: a nursery of processes, and small jobs that were once carried out undisturbed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Iterator

import pytest

from .job import Job, long_job, short_job
from .processes import Nursery


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    if not sys.platform.startswith("linux"):
        pytest.skip("NOT TESTED: these tests look at processes through Linux's /proc")
    with Nursery(tmp_path_factory.mktemp("nursery")) as found:
        yield found


@pytest.fixture(scope="session")
def job(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """prepare, train, eval and export of a few tones, and what they come to when nobody disturbs them."""
    return short_job(tmp_path_factory.mktemp("job"), nursery)


@pytest.fixture(scope="session")
def many_shards(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """prepare of four shards, and what it comes to when nobody disturbs it."""
    return long_job(tmp_path_factory.mktemp("many-shards"), nursery)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a workspace may be made."""
    return tmp_path / "workspace"
