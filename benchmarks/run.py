"""asrctl beside the stock recipe, in turns, on one machine: `nox -s bench`, or `python -m benchmarks.run`.

    python -m benchmarks.run                                   everything, on ../shared/data/LibriSpeech
    python -m benchmarks.run --only train,eval --rounds 3      some rows, in a few minutes
    python -m benchmarks.run folder recordings --only train    any corpus that `asrctl prepare` reads

Rows of another call stay in the JSON file, so that the table can be made in pieces.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

from benchmarks import commands, machine, report, rows
from benchmarks.material import GEOMETRIES, Corpus, ensure, longer
from benchmarks.rows import Setting

HERE = Path(__file__).resolve().parent
SPEECH = HERE.parent.parent / "shared" / "data" / "LibriSpeech"
MEASUREMENTS = {
    "epochs": rows.epochs,
    "train": rows.training,
    "unfrozen": rows.unfrozen,
    "eval": rows.evaluation,
    "prepare": commands.preparation,
    "help": commands.help_time,
    "stock": rows.stock_modes,
}
SPLITS = ("--train", "test-other", "--eval", "dev-clean")


def parse(arguments: Optional[List[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", nargs="?", default="librispeech", help="as for `asrctl prepare`")
    parser.add_argument("source", nargs="?", type=Path, help="folder or file of the corpus")
    parser.add_argument("--train", action="append", default=[], help="corpus split to measure on")
    parser.add_argument("--eval", action="append", default=[])
    parser.add_argument("--only", default="epochs,train,eval,prepare,help", help=f"of {', '.join(MEASUREMENTS)}")
    parser.add_argument("--geometry", choices=sorted(GEOMETRIES), default="base")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="of both sides")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--steps", type=int, default=8, help="optimizer steps in a turn")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--prepare-hours", type=float, default=1.1)
    parser.add_argument("--batch", type=int, default=4, help="utterances of an update; the stock recipe's is 4")
    parser.add_argument(
        "--loaders", type=int, help="processes that load stock's data; 0 on a CPU, 3/4 of the cores else"
    )
    parser.add_argument("--hours", type=float, help="repeat the corpus until it lasts as long")
    parser.add_argument("--dropout", type=float, default=0.0, help="of both sides; the stock recipe's default is 0")
    parser.add_argument("--eval-model", type=Path, help="a fine-tuned model to evaluate instead of random weights")
    parser.add_argument("--work", type=Path, default=Path("benchmark-work"))
    parser.add_argument("--results", type=Path, help="JSON file; default: this machine's in benchmarks/results/")
    return parser.parse_args(arguments)


def main(arguments: Optional[List[str]] = None) -> None:
    options = parse(arguments)
    chosen = options.only.split(",")
    unknown = sorted(set(chosen) - set(MEASUREMENTS))
    if unknown:
        raise SystemExit(f"there is no measurement {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}")
    device = options.device if options.device != "auto" else _device()
    about = machine.describe()
    results = options.results or report.file_of(HERE / "results", f"{options.geometry}-{device}", about)
    report.refuse_another_machine(results, about)
    material = ensure(_corpus(options), options.work)
    if options.hours is not None:
        material = longer(material, options.hours)
    how = {name: getattr(options, name) for name in ("rounds", "steps", "batch", "dropout")}
    how["loaders"] = options.loaders if options.loaders is not None else _best_loaders(device)
    how["precision"] = options.precision if options.precision != "auto" else _best_precision(device)
    how.update(utterances=len(material.utterances), audio_s=material.audio_s)
    setting = Setting(
        material=material,
        geometry=options.geometry,
        device=device,
        precision=how["precision"],
        rounds=options.rounds,
        steps=options.steps,
        epochs=options.epochs,
        prepare_hours=options.prepare_hours,
        dropout=options.dropout,
        eval_model=options.eval_model,
        batch=options.batch,
        loaders=how["loaders"],
    )
    table: List[Dict[str, Any]] = []
    for name in chosen:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        found = MEASUREMENTS[name](setting)
        print("\n".join([report.table(found), *report.notes(found), ""]), file=sys.stderr, flush=True)
        table = report.store(results, about, how, found)
    print(report.table(table))
    print("\n".join(report.notes(table)))
    picture = results.with_suffix(".png")
    print(results, picture if report.plot(picture, about, table) else "(no plot: pip install matplotlib)")


def default_corpus() -> Corpus:
    """The real speech beside the project, where it is."""
    return Corpus("librispeech", SPEECH, SPLITS)


def _corpus(options: argparse.Namespace) -> Corpus:
    splits = [word for name in options.train for word in ("--train", name)]
    splits += [word for name in options.eval for word in ("--eval", name)]
    if options.source is None and options.corpus == "librispeech":
        return Corpus("librispeech", SPEECH, splits) if splits else default_corpus()
    if options.source is None:
        raise SystemExit("say where the speech lies: python -m benchmarks.run CORPUS SOURCE")
    return Corpus(options.corpus, options.source, splits)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _best_loaders(device: str) -> int:
    """On a CPU they would take cores from the training; a GPU would wait for the data without them."""
    return 3 * (os.cpu_count() or 1) // 4 if device == "cuda" else 0


def _best_precision(device: str) -> str:
    """bf16 where the chip multiplies in it; without that it is slower than fp32, for the stock recipe too."""
    from asrctl.runtime import devices

    return "bf16" if devices.precision(device, "auto") == "bf16" else "fp32"


if __name__ == "__main__":
    main()
