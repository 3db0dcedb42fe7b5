"""Run one parser over many damaged files, in a process of its own: `python -m tests.fuzz.loop PARSER ...`.

A case is survived when the parser returns, or raises an AsrctlError (or what the parser declares) that says what is
wrong and what to do. Anything else is a finding: another exception, more than CASE_S seconds, memory beyond the limit.
The input of the case at hand lies in a file, so that the parent sees what a crash or a hang was about.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, Dict, List, Optional

from . import runner

# Of the processor; a busy machine is no hang. Whoever waits for something else is ended after _WAIT_S.
CASE_S = 5.0
_WAIT_S = 60.0
# Beyond what the process has mapped once everything is imported and the valid files were read.
MEMORY_BYTES = 1 << 30
_MAX_FINDINGS = 40


class Hang(BaseException):
    """A case took too long; no parser can catch it by accident."""


class _Enough(SystemExit):
    """What was looked for is found; hypothesis lets this through at once."""


class Session:
    """Runs cases of one parser and keeps what was found."""

    def __init__(self, parser: Any, scratch: Path, current: Path, *, case_s: float, until_found: bool) -> None:
        self.parser = parser
        self.case_s = case_s
        self.until_found = until_found
        self.folder = scratch
        self.cases = self.refused = 0
        self._watched_since = 0.0
        self.findings: Dict[str, Dict[str, Any]] = {}
        # What loops before this one, in the same process, have come to.
        self.earlier: Dict[str, Any] = {"cases": 0, "refused": 0, "findings": []}
        self._current = os.open(str(current), os.O_RDWR | os.O_CREAT, 0o600)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for name, data in parser.files.items():
            self._put(name, data)
        for name, data in parser.seeds:
            self._check_seed(name, data)
        self._limit_memory()
        signal.signal(signal.SIGPROF, self._too_long)

    @property
    def is_over(self) -> bool:
        return self.until_found and bool(self.findings)

    def case(self, seed: int, damaged: bytes) -> None:
        """One case: the file of seed number `seed` holds `damaged`."""
        name = self.parser.seeds[seed][0]
        os.ftruncate(self._current, 0)
        os.pwrite(self._current, name.encode() + b"\n" + damaged, 0)
        self.cases += 1
        self._put(name, damaged)
        self._watch()
        signal.setitimer(signal.ITIMER_PROF, self.case_s)
        try:
            self.parser.run(self.folder)
        except self.parser.refusals as refusal:
            self._check_refusal(refusal, name, damaged)
        except (Exception, Hang) as error:
            self._found(error, name, damaged)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        if name in self.parser.files:
            self._put(name, self.parser.files[name])
        elif (self.folder / name).exists():
            (self.folder / name).unlink()

    def _watch(self) -> None:
        """End the process where nothing moves for a while; a thread for each case would take most of the time."""
        if time.monotonic() - self._watched_since > _WAIT_S / 3:
            faulthandler.dump_traceback_later(_WAIT_S, exit=True)
            self._watched_since = time.monotonic()

    def _put(self, name: str, data: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def _check_seed(self, name: str, data: bytes) -> None:
        """The files that everything starts from are good."""
        self._put(name, data)
        self.parser.run(self.folder)
        if name in self.parser.files:
            self._put(name, self.parser.files[name])
        else:
            (self.folder / name).unlink()

    def _check_refusal(self, refusal: Any, name: str, damaged: bytes) -> None:
        self.refused += 1
        reason = getattr(refusal, "reason", None)
        complete = reason in self.parser.reasons if reason is not None else refusal.message and refusal.fix
        if not complete:
            self._found(AssertionError(f"a refusal that does not help: {refusal!r}"), name, damaged)

    def _found(self, error: BaseException, name: str, damaged: bytes) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "asrctl" in frame.filename] or frames
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
        key = f"{type(error).__name__} at {where}"
        if key in self.findings or len(self.findings) < _MAX_FINDINGS:
            before = self.findings.get(key)
            if before is None or len(damaged) < before["bytes"]:
                text = "".join(traceback.format_exception(type(error), error, error.__traceback__))[-1500:]
                self.findings[key] = {
                    "what": key, "error": str(error)[:300], "trace": text,
                    "file": name, "bytes": len(damaged), "input": damaged[:4096].hex(),
                }  # fmt: skip

    def _too_long(self, number: int, frame: Any) -> None:
        raise Hang(f"more than {self.case_s:g} s")

    @staticmethod
    def _limit_memory() -> None:
        with open("/proc/self/statm", encoding="ascii") as stream:
            mapped = int(stream.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY_BYTES, resource.RLIM_INFINITY))

    def report(self, path: Path, seconds: float) -> None:
        temporary = path.with_suffix(".part")
        temporary.write_text(json.dumps(dict(self.told(), seconds=seconds)), encoding="utf-8")
        os.replace(temporary, path)

    def told(self) -> Dict[str, Any]:
        return {
            "cases": self.earlier["cases"] + self.cases,
            "refused": self.earlier["refused"] + self.refused,
            "findings": self.earlier["findings"] + list(self.findings.values()),
        }


def by_hypothesis(session: Session, cases: int, seed: int, report: Path) -> None:
    """At least `cases` cases, drawn by hypothesis."""
    import hypothesis
    from hypothesis import strategies

    from . import mutations

    seeds = [data for _, data in session.parser.seeds]
    began = time.monotonic()
    # One draw for a whole case: the parsers shall take the time, not the dice.
    drawn = strategies.binary(min_size=1 + mutations.CHANGE_BYTES, max_size=1 + 6 * mutations.CHANGE_BYTES)

    def one(case: bytes) -> None:
        index, changes = case[0] % len(seeds), mutations.changes(case[1:])
        damaged = mutations.apply(seeds[index], changes, seeds)
        session.case(index, session.parser.finish(damaged))
        if session.cases % 500 == 0:
            session.report(report, time.monotonic() - began)
        if session.is_over:
            raise _Enough

    round_ = 0
    while session.cases < cases and not session.is_over:
        settings = hypothesis.settings(
            max_examples=cases - session.cases,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        with contextlib.suppress(_Enough):
            hypothesis.seed(seed + round_)(settings(hypothesis.given(drawn)(one)))()
        round_ += 1


def by_coverage(session: Session, cases: int, seed: int, report: Path, folder: Path) -> None:
    """About `cases` cases, found by libFuzzer, which keeps what reaches new branches. Ends the process."""
    import atheris

    from . import mutations

    corpus = folder / "corpus"
    corpus.mkdir()
    for index, (_, data) in enumerate(session.parser.seeds):
        (corpus / f"seed-{index:03d}").write_bytes(bytes([index]) + data)
    began = time.monotonic()

    def one(data: bytes) -> None:
        session.case(data[0] % len(session.parser.seeds) if data else 0, session.parser.finish(data[1:]))
        if session.cases % 500 == 0 or session.cases >= cases or session.is_over:
            session.report(report, time.monotonic() - began)
        if session.is_over:
            os._exit(0)

    seeds = [data for _, data in session.parser.seeds]

    def mutate(data: bytes, most: int, number: int) -> bytes:
        chosen = random.Random(number)
        if chosen.random() < 0.3:
            return atheris.Mutate(data, most)
        count = chosen.randint(1, 3)
        changes = [tuple(chosen.randrange(mutations.WIDEST) for _ in range(3)) for _ in range(count)]
        return data[:1] + mutations.apply(data[1:], changes, seeds)[: most - 1]

    # libFuzzer reads the corpus first, which counts as runs; a few more make the number round.
    words = [sys.argv[0], f"-runs={cases + 200}", f"-seed={seed}", "-max_len=65536", "-len_control=0", "-timeout=60"]
    words += ["-rss_limit_mb=0", "-verbosity=0", f"-artifact_prefix={folder}/", str(corpus)]
    atheris.Setup(words, one, custom_mutator=mutate)
    atheris.Fuzz()


def main(arguments: Optional[List[str]] = None) -> None:
    options = argparse.ArgumentParser()
    options.add_argument("parser", help="one, or several with commas between them, each for so many cases")
    options.add_argument("--cases", type=int, required=True)
    options.add_argument("--seed", type=int, required=True)
    options.add_argument("--folder", type=Path, required=True)
    options.add_argument("--guided", action="store_true")
    options.add_argument("--coverage", type=Path)
    options.add_argument("--until-found", action="store_true")
    options.add_argument("--case-s", type=float, default=CASE_S)
    chosen = options.parse_args(arguments)
    measured = None
    if chosen.coverage is not None:
        import coverage

        measured = coverage.Coverage(data_file=str(chosen.coverage), branch=True, include=runner.PARSER_MODULES)
        measured.start()
    if chosen.guided:
        import atheris

        with atheris.instrument_imports(include=["asrctl", "yaml", "tests.fuzz.planted"]):
            from . import planted  # noqa: F401 - and with it all parsers
    earlier = None
    for name in chosen.parser.split(","):
        earlier = _carry_out(name, chosen, earlier)
    if measured is not None:
        measured.stop()
        measured.save()


def _carry_out(name: str, chosen: Any, earlier: Optional[Dict[str, Any]]) -> Dict[str, Any]:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=runner.memory_folder()) as scratch:
        how = {"case_s": chosen.case_s, "until_found": chosen.until_found}
        session = Session(_find(name), Path(scratch), chosen.folder / "current", **how)
        session.earlier = earlier or session.earlier
        report = chosen.folder / "report.json"
        if chosen.guided:
            by_coverage(session, chosen.cases, chosen.seed, report, chosen.folder)
        else:
            by_hypothesis(session, chosen.cases, chosen.seed, report)
        session.report(report, time.monotonic() - began)
        faulthandler.cancel_dump_traceback_later()
        return session.told()


def _find(name: str) -> Any:
    from . import parsers, planted

    return planted.find(name) if name in planted.PLANTED else parsers.find(name)


if __name__ == "__main__":
    main()
