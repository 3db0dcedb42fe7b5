"""The harness finds bugs that were put in on purpose, within the cases it has."""

from __future__ import annotations

from typing import Tuple

import pytest

from . import campaign, runner

pytestmark = pytest.mark.fault("a bug put in on purpose, to be found")

EXPECTED: Tuple[Tuple[str, str], ...] = (
    ("planted-manifest-csv", "IndexError"),
    ("planted-manifest-jsonl", "KeyError"),
    ("planted-archive", "Hang"),
    ("planted-bomb", "MemoryError"),
    ("planted-audio-wav", "the process ended with -11"),
    ("planted-ipu-config", "AssertionError"),
)


# The last ones take a while; they run with `nox -s fuzz`.
_MARKS = (pytest.mark.slow, pytest.mark.fuzz_full)


@pytest.mark.parametrize(
    ("name", "what"),
    [pytest.param(*case, marks=_MARKS if case[1] in ("Hang", "MemoryError") else ()) for case in EXPECTED],
)
def test_a_planted_bug_is_found(name: str, what: str) -> None:
    outcome = runner.run(runner.Job(name, campaign.CASES, seed=3, until_found=True, case_s=1.0))
    assert [finding for finding in outcome.findings if finding["what"].startswith(what)], outcome
    assert all(finding["file"] and finding["input"] for finding in outcome.findings), "each comes with its input"


@pytest.mark.skipif(not campaign.has_atheris(), reason="atheris is not installed: there is no wheel for this Python")
@pytest.mark.parametrize("name", ["planted-maze", "planted-manifest-jsonl"])
def test_a_planted_bug_is_found_by_coverage(name: str) -> None:
    outcome = runner.run(runner.Job(name, campaign.CASES, seed=3, how="atheris", until_found=True))
    assert [finding for finding in outcome.findings if "Error" in finding["what"]], outcome
