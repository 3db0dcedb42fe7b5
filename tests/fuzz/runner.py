"""Start the loops, side by side, and gather what they found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

ROOT = Path(__file__).resolve().parent.parent.parent
# Everything in asrctl that reads files which somebody else may have written.
PARSER_MODULES = [
    f"*/asrctl/{name}.py"
    for name in (
        "data/audio", "data/containers", "data/utterance", "data/text", "data/dataset", "config/presets",
        "config/preset_file", "config/schema", "models/processor", "models/weights", "models/weight_files",
        "storage/json_shape", "storage/records", "training/checkpoints", "data/corpora/folder",
        "data/corpora/librispeech", "data/corpora/manifest", "data/reading/archives", "data/reading/cells",
        "data/reading/columns", "data/reading/encodings", "data/reading/pairing", "data/reading/recording_paths",
        "data/reading/split_names", "data/reading/tables", "ipu/import_config", "data/corpora/commonvoice",
        "data/corpora/ljspeech", "data/corpora/mls", "data/corpora/an4", "data/corpora/webdataset",
        "data/corpora/lhotse", "data/reading/commonvoice_release", "data/reading/json_objects",
        "data/corpora/kaldi", "data/reading/kaldi_folder", "data/reading/keyed", "data/corpora/nemo",
        "data/reading/nemo_manifests", "data/corpora/fairseq", "data/reading/hub/card", "data/reading/columnar",
        "data/reading/embedded",
    )
]  # fmt: skip
_LIMIT_S = 900


@dataclass(frozen=True)
class Outcome:
    """What one loop did. findings: {"what", "error", "trace", "file", "bytes", "input"}."""

    parser: str
    how: str
    cases: int
    refused: int
    seconds: float
    findings: List[Dict[str, Any]] = field(default_factory=list)

    @property
    def lost(self) -> int:
        return len(self.findings)


@dataclass(frozen=True)
class Job:
    """One loop to run. how: hypothesis or atheris."""

    parser: str
    cases: int
    seed: int
    how: str = "hypothesis"
    coverage: Optional[Path] = None
    until_found: bool = False
    case_s: Optional[float] = None


def memory_folder() -> Optional[str]:
    """Where files cost no disk, if there is such a place: every case writes some."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def run(job: Job) -> Outcome:
    """Run a loop in a process of its own; its crash or hang is a finding."""
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory_folder()) as name:
        folder = Path(name)
        words = [sys.executable, "-m", "tests.fuzz.loop", job.parser, "--cases", job.cases, "--seed", job.seed]
        words += ["--folder", folder]
        words += ["--guided"] if job.how == "atheris" else []
        words += ["--coverage", job.coverage] if job.coverage is not None else []
        words += ["--until-found"] if job.until_found else []
        words += ["--case-s", job.case_s] if job.case_s is not None else []
        environment = dict(
            os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1", PYTHONHASHSEED="0", MALLOC_ARENA_MAX="2"
        )
        with open(folder / "stderr", "wb") as stderr:
            try:
                ended: Optional[int] = subprocess.run(
                    [str(word) for word in words], cwd=str(ROOT), env=environment, stdin=subprocess.DEVNULL,
                    stdout=stderr, stderr=stderr, timeout=_LIMIT_S, check=False,
                ).returncode  # fmt: skip
            except subprocess.TimeoutExpired:
                ended = None
        return _outcome(job, folder, ended)


def _outcome(job: Job, folder: Path, ended: Optional[int]) -> Outcome:
    report = folder / "report.json"
    told = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    findings = list(told.get("findings", []))
    if ended != 0:
        current = folder / "current"
        name, _, damaged = current.read_bytes().partition(b"\n") if current.exists() else (b"", b"", b"")
        how = "the loop took too long" if ended is None else f"the process ended with {ended}"
        last = (folder / "stderr").read_text(encoding="utf-8", errors="replace")[-3000:]
        findings.append(
            {"what": how, "error": how, "trace": last, "file": name.decode(), "bytes": len(damaged),
             "input": damaged[:65536].hex()}
        )  # fmt: skip
    return Outcome(
        job.parser, job.how, told.get("cases", 0), told.get("refused", 0), told.get("seconds", 0.0), findings
    )


def run_all(jobs: Sequence[Job], workers: Optional[int] = None) -> List[Outcome]:
    with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(run, jobs))


def table(outcomes: Sequence[Outcome]) -> List[str]:
    """fault, tries, survived, lost: a line for each loop."""
    lines = [f"{'fault: damaged files for':<40} {'tries':>8} {'survived':>9} {'lost':>5} {'refused':>8} {'s':>6}"]
    for outcome in outcomes:
        name = f"{outcome.parser} ({outcome.how})"
        lines.append(
            f"{name:<40} {outcome.cases:>8} {outcome.cases - outcome.lost:>9} {outcome.lost:>5}"
            f" {outcome.refused:>8} {outcome.seconds:>6.0f}"
        )
    return lines


def covered(data: Sequence[Path], folder: Path) -> "tuple[float, List[str]]":
    """(branch coverage of the parsers in percent, a line for each module) of what the loops reached."""
    import io

    import coverage

    measured = coverage.Coverage(data_file=str(folder / "combined"), branch=True, include=PARSER_MODULES)
    measured.combine([str(path) for path in data if path.exists()], keep=True)
    told = io.StringIO()
    try:
        total = measured.report(file=told, show_missing=True, skip_empty=True)
    except coverage.exceptions.CoverageException as error:  # no loop came to its end
        return 0.0, [str(error)]
    return total, told.getvalue().splitlines()
