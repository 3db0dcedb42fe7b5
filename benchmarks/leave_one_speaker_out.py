"""Leave-one-speaker-out WER of a manifest with speakers: how well a preset does on somebody it has never heard.

    python benchmarks/leave_one_speaker_out.py MANIFEST.csv --preset tiny-cpu --output results.json

For each speaker it writes a manifest in which all of this speaker's utterances are `test` and everybody else's are
`train`, and calls `asrctl prepare`, `train` and `eval` as a user would. Nothing is selected on the speaker left out.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List


def asrctl(workspace: Path, *arguments: str) -> Dict[str, Any]:
    """The result of one command. Raises CalledProcessError."""
    command = [sys.executable, "-m", "asrctl", *arguments, "--workspace", str(workspace), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, encoding="utf-8")
    return json.loads(done.stdout)["result"]


def leave_out(rows: List[Dict[str, str]], folder: Path, speaker: str, target: Path) -> Path:
    """A manifest whose test split is `speaker` and whose training split is everybody else."""
    target.mkdir(parents=True, exist_ok=True)
    path = target / f"without-{speaker}.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "text", "speaker", "split"])
        for row in rows:
            split = "test" if row["speaker"] == speaker else "train"
            writer.writerow([(folder / row["path"]).resolve(), row["text"], row["speaker"], split])
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--preset", default="tiny-cpu")
    parser.add_argument("--work", type=Path, default=Path("leave-one-out"), help="folder for manifests and workspaces")
    parser.add_argument("--output", type=Path, help="JSON file for the table")
    parser.add_argument("--only", action="append", default=[], help="only this speaker; repeatable")
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="passed on to train; repeatable")
    options = parser.parse_args()
    with options.manifest.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    speakers = options.only or sorted({row["speaker"] for row in rows})
    table: Dict[str, Dict[str, Any]] = {}
    for speaker in speakers:
        manifest = leave_out(rows, options.manifest.parent, speaker, options.work)
        workspace = options.work / speaker
        asrctl(workspace, "prepare", "manifest", str(manifest))
        overrides = [word for value in options.overrides for word in ("--set", value)]
        trained = asrctl(workspace, "train", "--preset", options.preset, *overrides)
        result = asrctl(workspace, "eval", "--split", "test")
        table[speaker] = {
            "wer": result["wer"],
            "interval": result["wer_interval"],
            "dev_wer": trained["best_wer"],
            "seconds": trained["seconds"],
        }
        print(f"{speaker:12s} WER {100 * result['wer']:5.1f} %   (dev {100 * trained['best_wer']:.1f} %)", flush=True)
    mean = sum(row["wer"] for row in table.values()) / len(table)
    print(f"{'mean':12s} WER {100 * mean:5.1f} %")
    if options.output:
        options.output.write_text(
            json.dumps({"preset": options.preset, "speakers": table, "mean": mean}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
