"""`python -m tests.fuzz [--cases N] [--guided N] [--seed S] [PARSER ...]`: the table of faults, and the coverage.

Exit code 1 where a parser lost a case, saw fewer than it should, or the loops left more than a tenth of the parsers'
branches out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from . import campaign, parsers


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("parsers", nargs="*", default=list(parsers.NAMES))
    options.add_argument("--cases", type=int, default=campaign.CASES)
    options.add_argument("--guided", type=int, default=campaign.CASES)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = campaign.run(chosen.parsers, chosen.cases, chosen.guided, chosen.seed, Path(folder))
    sys.stdout.write("\n".join(campaign.lines(found)) + "\n")
    whole = set(chosen.parsers) == set(parsers.NAMES)
    problems = campaign.problems(found, chosen.cases, coverage=whole)
    sys.stdout.write("\n".join(problems) + "\n")
    raise SystemExit(bool(problems))


if __name__ == "__main__":
    main()
