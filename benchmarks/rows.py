"""The measurements: each gives rows of the table, from rounds in which the stock recipe and asrctl take turns."""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Set

from benchmarks import machine
from benchmarks.gate import Arm
from benchmarks.material import Material


@dataclass(frozen=True)
class Setting:
    """How much is measured.

    device: cpu or cuda. precision: bf16 or fp32, what both sides are fastest in there. rounds: turns of each arm.
    steps: optimizer steps in a turn. batch: utterances of an update; stock evaluates twice as many at a time. loaders:
    processes that load the stock recipe's data, where its best is more than none.
    """

    material: Material
    geometry: str
    device: str
    precision: str
    rounds: int
    steps: int
    epochs: int
    prepare_hours: float
    dropout: float
    eval_model: Optional[Path]
    batch: int = 4
    loaders: int = 0

    def model(self) -> Path:
        return self.material.model(self.geometry)

    def stock_at_best(self) -> List[str]:
        """Options of the stock recipe: batches of like lengths, in the precision that is fastest."""
        return [*(["--bf16"] if self.precision == "bf16" else []), "--grouped"]


def row(name: str, unit: str, stock: Sequence[float], ours: Sequence[float], target: float, **more: Any) -> Dict:
    """A row of the table. stock, ours: a number per round, taken in turns; the more the better.

    ratio: of the medians; low, high: the least and the greatest ratio of one round.
    """
    ratios = [mine / theirs for theirs, mine in zip(stock, ours)]
    return dict(
        name=name,
        unit=unit,
        stock=statistics.median(stock),
        asrctl=statistics.median(ours),
        ratio=statistics.median(ours) / statistics.median(stock),
        low=min(ratios),
        high=max(ratios),
        rounds=len(ratios),
        target=target,
        stock_rounds=list(stock),
        asrctl_rounds=list(ours),
        **more,
    )


def with_share(found: Dict[str, Any], geometry: str, work: str) -> Dict[str, Any]:
    """The row with the TFLOP/s that each side reached."""
    works = {"stock": "train" if work == "cached" else work, "asrctl": work}
    reached = {side: machine.reached_tflops(geometry, works[side], found[side]) for side in works}
    return dict(found, tflops=reached) if None not in reached.values() else found


def inverse(name: str, unit: str, stock: Sequence[float], ours: Sequence[float], target: float, **more: Any) -> Dict:
    """A row whose numbers are better when less: the ratios are stock over asrctl."""
    found = row(name, unit, stock, ours, target, **more)
    low, high = 1 / found["high"], 1 / found["low"]
    return dict(found, ratio=1 / found["ratio"], low=low, high=high)


def speed(steps: Sequence[Dict[str, Any]]) -> float:
    """Seconds of real audio per second of a turn."""
    return sum(step["audio_s"] for step in steps) / sum(step["seconds"] for step in steps)


# -- the arms ---------------------------------------------------------------------------------------------------------


def stock_arm(setting: Setting, name: str, command: str, *options: str, model: Optional[Path] = None) -> Arm:
    here = setting.material
    arguments = ["benchmarks.stock", command, "--data", here.arrow, "--model", model or setting.model()]
    arguments += ["--output", here.work / "stock-output", "--device", setting.device]
    arguments += ["--dropout", str(setting.dropout), "--loaders", setting.loaders]
    arguments += ["--batch", setting.batch, "--eval-batch", 2 * setting.batch, *options]
    return Arm(name, arguments, here.work / f"{name}.log")


def asrctl_train(setting: Setting, name: str, *overrides: str) -> Arm:
    here = setting.material
    arguments = ["benchmarks.ours", "train", "--workspace", here.workspace, "--model", setting.model(), "--run", name]
    dropouts = [f"model.{kind}_dropout={setting.dropout}" for kind in ("hidden", "attention", "activation")]
    always = (f"{setting.device}.precision={setting.precision}", f"optim.global_batch={setting.batch}", *dropouts)
    for override in (*always, *overrides):
        arguments += ["--set", override]
    return Arm(name, [*arguments, "--device", setting.device], here.work / f"{name}.log")


# -- training ---------------------------------------------------------------------------------------------------------


def training(setting: Setting) -> List[Dict[str, Any]]:
    """Steady state, in turns of `steps` steps: the encoder's output computed each time, and stock at its best."""
    uncached = f"{setting.device}.cache_features=false"
    return [_steady(setting, "training without the cache", (), (uncached,))]


def unfrozen(setting: Setting) -> List[Dict[str, Any]]:
    """The same with an encoder that learns, on both sides."""
    return [_steady(setting, "training, encoder not frozen", ("--unfrozen",), ("model.freeze_feature_encoder=false",))]


def _steady(setting: Setting, name: str, options: Sequence[str], overrides: Sequence[str]) -> Dict[str, Any]:
    turns: Dict[str, List[List[Dict[str, Any]]]] = {"stock": [], "asrctl": []}
    with ExitStack() as stack:
        arms = {
            "stock": stack.enter_context(stock_arm(setting, "stock-best", "train", *setting.stock_at_best(), *options)),
            "asrctl": stack.enter_context(asrctl_train(setting, "asrctl-uncached", *overrides)),
        }
        for arm in arms.values():
            arm.run(4)  # start-up and the first steps
        for _ in range(setting.rounds):
            for side, arm in arms.items():
                turns[side].append(arm.run(setting.steps))
        memory = {side: arm.peak_mb() for side, arm in arms.items()}
    stock, ours = ([speed(turn) for turn in turns[side]] for side in ("stock", "asrctl"))
    found = row(name, "audio-s/s", stock, ours, 1.25, peak_mb=memory, **_told(turns))
    return with_share(found, setting.geometry, "train") if not options else found


def epochs(setting: Setting) -> List[Dict[str, Any]]:
    """Whole epochs from the start of the program: asrctl builds its cache in the first and uses it in the others.

    As many steps on each side, but stock fp32 is slow and does the first turn only.
    """
    from benchmarks.ours import StepSeconds

    per_epoch = StepSeconds(setting.material.workspace, (f"optim.global_batch={setting.batch}",)).steps_per_epoch
    turns: Dict[str, List[List[Dict[str, Any]]]] = {"stock": [], "asrctl": [], "fp32": []}
    _forget_cache(setting)
    with ExitStack() as stack:
        arms = {
            "stock": stack.enter_context(stock_arm(setting, "stock-best", "train", *setting.stock_at_best())),
            "asrctl": stack.enter_context(asrctl_train(setting, "asrctl")),
            "fp32": stack.enter_context(stock_arm(setting, "stock-fp32", "train")),
        }
        starts = {name: arm.run(1) for name, arm in arms.items()}
        for epoch in range(setting.epochs):
            for turn in cut(per_epoch - (epoch == 0), setting.steps):
                for name, arm in arms.items():
                    if name != "fp32" or not turns[name]:
                        turns[name].append(arm.run(turn))
        memory = {name: arm.peak_mb() for name, arm in arms.items()}
    return _epoch_rows(setting, turns, starts, memory, per_epoch)


def whole_s(first: Dict[str, Any], steps: Sequence[Dict[str, Any]], audio_s: float) -> float:
    """Seconds from the start of the program until `audio_s` were trained on: the first step, the rest as `steps` went.

    Not what the steps took: stock draws full batches from a pool, the longest first, and as many steps as make three
    epochs of 98 utterances of LibriSpeech hold 12 % more speech than these epochs do.
    """
    return float(first["seconds"] + (audio_s - first["audio_s"]) / speed(steps))


def cut(steps: int, most: int) -> List[int]:
    """`steps` in equal turns of at most about `most`."""
    turns = max(1, round(steps / most))
    return [steps * (turn + 1) // turns - steps * turn // turns for turn in range(turns)]


def _epoch_rows(setting: Setting, turns: Any, starts: Any, memory: Any, per_epoch: int) -> List[Dict[str, Any]]:
    first = len(cut(per_epoch - 1, setting.steps))  # turns of the first epoch
    later = {name: [speed(turn) for turn in turns[name][first:]] for name in ("stock", "asrctl")}
    seconds = {name: [sum(step["seconds"] for step in turn) for turn in turns[name]] for name in turns}
    audio_s = setting.epochs * setting.material.audio_s
    whole = {name: whole_s(starts[name][0], [step for turn in turns[name] for step in turn], audio_s) for name in turns}
    begun = {key: {name: steps[0][key] for name, steps in starts.items()} for key in ("seconds", "audio_s")}
    detail = {"start_s": begun["seconds"], "start_audio_s": begun["audio_s"]}
    detail.update(peak_mb=memory, seconds=seconds, others=_told(turns)["others"])
    found = [
        inverse(f"{setting.epochs} epochs, cache built", "s", [whole["stock"]], [whole["asrctl"]], 1.7, **detail),
        inverse(f"{setting.epochs} epochs, stock in fp32", "s", [whole["fp32"]], [whole["asrctl"]], 4.0),
        row(
            "stock fp32, random order (for comparison: stock at its best)",
            "audio-s/s",
            [speed(turn) for turn in turns["stock"][:1]],
            [speed(turn) for turn in turns["fp32"]],
            0.0,
        ),
    ]
    if setting.epochs > 1:
        cached = row("training, features cached", "audio-s/s", later["stock"], later["asrctl"], 2.0, **_told(turns))
        found.insert(0, with_share(cached, setting.geometry, "cached"))
    return found


def _forget_cache(setting: Setting) -> None:
    cache = setting.material.workspace / "cache" / "features"
    if cache.exists():
        from asrctl.storage import files

        files.remove_tree(cache)


def stock_modes(setting: Setting) -> List[Dict[str, Any]]:
    """The stock recipe against itself: fp32 and bf16, in random order and grouped by length."""
    options = {
        "fp32": (),
        "fp32 grouped": ("--grouped",),
        "bf16": ("--bf16",),
        "bf16 grouped": ("--bf16", "--grouped"),
    }
    turns: Dict[str, List[List[Dict[str, Any]]]] = {name: [] for name in options}
    with ExitStack() as stack:
        arms = {name: stack.enter_context(stock_arm(setting, name, "train", *more)) for name, more in options.items()}
        for arm in arms.values():
            arm.run(2)
        for _ in range(setting.rounds):
            for name, arm in arms.items():
                turns[name].append(arm.run(setting.steps))
    speeds = {name: [speed(turn) for turn in values] for name, values in turns.items()}
    told = _told(turns)
    return [
        row(f"stock {name} (for comparison: stock fp32)", "audio-s/s", speeds["fp32"], speeds[name], 0.0, **told)
        for name in options
        if name != "fp32"
    ]


def _told(turns: Any) -> Dict[str, Any]:
    """What else was at work on the machine, how far batches were padded, and what a GPU had to hold."""
    steps = {name: [step for turn in values for step in turn] for name, values in turns.items()}
    found: Dict[str, Any] = {"others": max(step["others"] for values in steps.values() for step in values)}
    found["padding"] = {name: padding(values) for name, values in steps.items() if "padded_s" in values[0]}
    on_device = {name: max(step.get("device_mb", 0.0) for step in values) for name, values in steps.items()}
    return dict(found, device_mb=on_device) if any(on_device.values()) else found


def padding(steps: Sequence[Dict[str, Any]]) -> float:
    """Seconds that were computed by seconds of speech."""
    return sum(step["padded_s"] for step in steps) / sum(step["audio_s"] for step in steps)


# -- evaluation -------------------------------------------------------------------------------------------------------


def evaluation(setting: Setting) -> List[Dict[str, Any]]:
    """Whole passes over the split, each side at its best. Agreement is with asrctl in fp32."""
    model = setting.eval_model or setting.model()
    here = setting.material
    ours = ["benchmarks.ours", "eval", "--workspace", here.workspace, "--model", model, "--device", setting.device]
    best = [*ours, "--precision", setting.precision]
    passes: Dict[str, List[Dict[str, Any]]] = {}
    with Arm("eval-fp32", [*ours, "--precision", "fp32"], here.work / "eval-fp32.log") as exact:
        exact.run(1)
        passes["exact"] = exact.run(1)
    with ExitStack() as stack:
        arms = {
            "stock": stack.enter_context(
                stock_arm(setting, "eval-stock", "eval", *setting.stock_at_best(), model=model)
            ),
            "asrctl": stack.enter_context(Arm("eval-asrctl", best, here.work / "eval-asrctl.log")),
        }
        for name, arm in arms.items():
            arm.run(1)
            passes[name] = []
        for _ in range(setting.rounds):
            for name, arm in arms.items():
                passes[name] += arm.run(1)
        memory = {name: arm.peak_mb() for name, arm in arms.items()}
    return _evaluation_rows(setting, passes, memory)


def _evaluation_rows(
    setting: Setting, passes: Dict[str, List[Dict[str, Any]]], memory: Dict[str, float]
) -> List[Dict[str, Any]]:
    speeds = {name: [speed([one]) for one in values] for name, values in passes.items()}
    exact = passes["exact"][0]
    differs = {name: disagreement(exact, values[0]) for name, values in passes.items()}
    told = {
        "wer": {name: values[0]["wer"] for name, values in passes.items()},
        "against_fp32": {name: found for name, found in differs.items() if found},
        "padding": {"stock": padding(passes["stock"])},
    }
    name = "evaluation" if setting.eval_model is None else f"evaluation of {setting.eval_model.resolve().parent.name}"
    found = row(name, "audio-s/s", speeds["stock"], speeds["asrctl"], 2.5, peak_mb=memory, **told)
    found["others"] = max(one["others"] for values in passes.values() for one in values)
    return [found if setting.eval_model else with_share(found, setting.geometry, "eval")]


def disagreement(exact: Dict[str, Any], other: Dict[str, Any]) -> Dict[str, float]:
    """Character and word error rate of the hypotheses against those in fp32.

    Both sides have orders of their own, and what they share is the reference: a text that gave different hypotheses
    was said differently, and is left out.
    """
    import jiwer

    found: Dict[str, Set[str]] = {}
    for reference, hypothesis in exact["pairs"]:
        found.setdefault(reference, set()).add(hypothesis)
    known = {reference: hypotheses.pop() for reference, hypotheses in found.items() if len(hypotheses) == 1}
    compared = [(known[text], hypothesis) for text, hypothesis in other["pairs"] if known.get(text, "").strip()]
    if not compared:
        return {}
    references, hypotheses = map(list, zip(*compared))
    return {"cer": jiwer.cer(references, hypotheses), "wer": jiwer.wer(references, hypotheses)}
