"""All parsers, one after the other: what was tried, lost and reached."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import List, Sequence

from . import parsers, runner

CASES = 10_000
COVERED_PERCENT = 90.0
# Slower than a millisecond a case: these begin first, so that no core is left alone with one at the end.
_SLOW = ("config", "preset", "workspace", "prepared", "weights", "export-sums", "ipu-config", "vocabulary")


@dataclass(frozen=True)
class Campaign:
    """What the loops did, and the branch coverage of the parsers in percent, with a line for each module."""

    outcomes: List[runner.Outcome]
    covered: float
    modules: List[str]


def has_atheris() -> bool:
    """There are wheels for some Pythons only; without it, only hypothesis looks for damage."""
    try:
        import atheris  # noqa: F401
    except ImportError:
        return False
    return True


def run(names: Sequence[str], cases: int, guided: int, seed: int, folder: Path) -> Campaign:
    """`cases` of hypothesis for every parser, and `guided` of atheris for those that are Python alone."""
    ordered = sorted(names, key=lambda name: name not in _SLOW)
    data = {name: folder / f"coverage-{name}" for name in ordered}
    jobs = [runner.Job(name, cases, seed, coverage=data[name]) for name in ordered]
    if guided and has_atheris():
        jobs += [runner.Job(name, guided, seed, "atheris") for name in ordered if parsers.is_pure(name)]
    outcomes = runner.run_all(jobs)
    covered, modules = runner.covered(list(data.values()), folder)
    return Campaign(outcomes, covered, modules)


def lines(found: Campaign) -> List[str]:
    more = [f"  {outcome.parser}: {finding['what']}" for outcome in found.outcomes for finding in outcome.findings]
    return [*runner.table(found.outcomes), *more, "", *found.modules]


def problems(found: Campaign, cases: int, *, coverage: bool) -> List[str]:
    """What is not as it should be, a sentence each."""
    problems = [describe(outcome) for outcome in found.outcomes if outcome.findings]
    for outcome in found.outcomes:
        if outcome.cases < cases and outcome.how == "hypothesis":
            problems.append(f"{outcome.parser} saw {outcome.cases} cases, not {cases}")
    if coverage and found.covered < COVERED_PERCENT:
        problems.append(f"the loops reach {found.covered:.1f} % of the parsers' branches, less than {COVERED_PERCENT}")
    return problems


def describe(outcome: runner.Outcome) -> str:
    """The findings of a loop, each with what is needed to see it again."""
    parts = []
    for finding in outcome.findings:
        shown = bytes.fromhex(finding["input"])[:400]
        parts.append(f"{outcome.parser}: {finding['what']}\n{finding['file']} holds {shown!r}\n{finding['trace']}")
    return "\n".join(parts)
