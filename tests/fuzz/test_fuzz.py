"""Damaged files: every parser returns, or says what is wrong and what to do."""

from __future__ import annotations

from . import campaign, mutations, parsers, runner

SHORT = 60


def test_a_few_damaged_files_for_every_parser() -> None:
    """The short run; another seed each time would make it fail on somebody else's change."""
    halves = [parsers.NAMES[::2], parsers.NAMES[1::2]]
    outcomes = runner.run_all([runner.Job(",".join(names), SHORT, seed=7) for names in halves])
    assert not [campaign.describe(outcome) for outcome in outcomes if outcome.findings]
    assert [outcome.cases for outcome in outcomes] == [SHORT * len(names) for names in halves]
    assert all(0 < outcome.refused < outcome.cases for outcome in outcomes)


def test_the_same_numbers_give_the_same_damage() -> None:
    seeds = [data for name in ("manifest-csv", "preset") for _, data in parsers.find(name).seeds]
    changes = [(kind, 77 * kind + 5, 1013 * kind) for kind in range(len(mutations.KINDS))]
    assert mutations.apply(seeds[0], changes, seeds) == mutations.apply(seeds[0], changes, seeds) != seeds[0]
    for change in changes:
        assert len(mutations.apply(seeds[0] * 20000, [change], seeds)) <= mutations.MAX_BYTES


def test_what_is_measured_is_there() -> None:
    """A pattern without a file would be counted as if nothing of it were left to reach."""
    assert [name for name in runner.PARSER_MODULES if not (runner.ROOT / name[len("*/") :]).is_file()] == []
