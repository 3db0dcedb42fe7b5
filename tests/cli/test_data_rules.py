"""Text and audio rules belong to prepared data: `train` takes them from there, whatever its preset says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Sequence

import pytest
import yaml

from asrctl.training.runs import Run

from ..helpers.corpora import corpus
from ..helpers.ipu_tiny import TINY
from ..helpers.program import Result, run_here
from ..helpers.tiny import QUIET
from ..helpers.typing_in import following, in_backticks, next_lines, repaired, typed

SMALL: Dict[str, Any] = {
    "model": dict(QUIET, config=TINY, ctc_zero_infinity=True),
    "optim": {"global_batch": 4, "max_steps": 1},
    "cpu": {"precision": "fp32"},
}
FEW = ("--max-steps", 1, "--device", "cpu")


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_space(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASRCTL_WORKSPACE", raising=False)
    (in_folder / "my work").mkdir()
    monkeypatch.chdir(in_folder / "my work")


def preset(name: str, **sections: Any) -> str:
    path = Path(f"my presets/{name}.yaml")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**SMALL, **sections}), encoding="utf-8")
    return str(path)


def listed(seconds: Sequence[float] = (0.5,) * 8, words: str = "Ja, so.") -> Path:
    """A manifest of noise; every second recording is for evaluation."""
    parts: List[Dict[str, Any]] = []
    for number, length in enumerate(seconds):
        row = {"path": f"{number}.wav", "text": words, "split": "eval" if number % 2 else "train"}
        corpus(Path("a corpus"), [row], seconds=length)
        parts.append(row)
    return corpus(Path("a corpus"), parts)


def prepared(path: Path, *options: Any) -> Result:
    return run_here("prepare", "manifest", path, "-w", "my results", *options).succeeded()


def recorded(run: str) -> Dict[str, Any]:
    return yaml.safe_load(Run(Path("my results/runs") / run).recipe_path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("options", "key", "value"),
    [
        (("--case", "upper"), "text.case", "upper"),
        (("--case", "keep"), "text.case", "keep"),
        (("--remove", ",. '\"$-"), "text.remove", " \"$',-."),
        (("--max-s", "0.6"), "audio.max_s", 0.6),
        (("--max-s", "30"), "audio.max_s", 30.0),
        (("--min-s", "0.25"), "audio.min_s", 0.25),
        (("--sample-rate", "8000"), "audio.sample_rate", 8000),
        (("--preset", "my presets/upper.yaml"), "text.case", "upper"),
        (("--preset", "my presets/upper.yaml", "--case", "lower"), "text.case", "lower"),
        (("--preset", "my presets/tokens.yaml"), "text.unk", "<unk>"),
        (("--preset", "my presets/both.yaml"), "text.vocab_splits", ["train", "eval"]),
    ],
)
def test_what_prepare_says_comes_next_runs_as_it_stands(options: Sequence[str], key: str, value: Any) -> None:
    preset("upper", text={"case": "upper"})
    preset("tokens", text={"unk": "<unk>", "pad": "<pad>", "word_delimiter": "_"})
    preset("both", text={"vocab_splits": ["train", "eval"]}, audio={"sample_rate": 12000, "max_s": 5})
    done = prepared(listed(), *options)
    assert next_lines(run_here("status", "-w", "my results"))[0].split()[:3] == ["asrctl", "train", "--preset"]
    given = dict(zip(options[::2], options[1::2]))
    assert following(done)[:3] == ["train", "--preset", given.get("--preset", "tiny-cpu")]
    trained = typed(done, *FEW).succeeded()
    section, name = key.split(".")
    assert recorded(following(trained)[2])[section][name] == value


def test_a_preset_that_says_otherwise_is_told_in_one_line_and_the_run_records_what_holds() -> None:
    wants = preset("other", text={"case": "lower", "remove": "!"}, audio={"max_s": 5, "sample_rate": 16000})
    prepared(listed(), "--case", "upper", "--remove", ",")
    trained = run_here("train", "--preset", wants, *FEW, "-w", "my results").succeeded()
    told = [line for line in trained.stderr.splitlines() if "decides" in line]
    assert told == [
        "warning: the data utterances decides its rules: audio.max_s is 20 (other: 5), text.case is 'upper' "
        "(other: 'lower'), text.remove is ',' (other: '!')"
    ]
    found = recorded("other")
    assert (found["text"]["case"], found["text"]["remove"], found["audio"]["max_s"]) == ("upper", ",", 20.0)
    # Nothing has changed for a run to resume, whether its preset is named again or not.
    for more in ((), ("--preset", wants)):
        again = run_here("train", "--resume", *more, "--device", "cpu", "-w", "my results", "--json")
        assert again.succeeded().result["nothing_to_do"]


def test_a_run_that_was_stored_with_its_own_wording_goes_on() -> None:
    """Runs of earlier releases hold what their preset said, where data and preset meant the same."""
    wants = preset("wording", text={"remove": "b,a"}, audio={"max_s": 30})
    prepared(listed(), "--remove", ",ab")
    run_here("train", "--preset", wants, *FEW, "-w", "my results").succeeded()
    run = Run(Path("my results/runs/wording"))
    stored = recorded("wording")
    stored["text"]["remove"], stored["audio"]["max_s"] = "b,a", 30.0
    run.recipe_path.write_text(yaml.safe_dump(stored), encoding="utf-8")
    for steps, more in ((2, ()), (3, ("--preset", wants))):
        options = (*more, "--max-steps", steps, "--device", "cpu", "-w", "my results", "--json")
        assert run_here("train", "--resume", *options).succeeded().result["steps"] == steps


@pytest.mark.parametrize("override", ["text.case=upper", "text.remove='!'", "audio.sample_rate=8000", "text.pad=<p>"])
def test_only_what_is_set_conflicts_and_either_way_out_works(override: str) -> None:
    prepared(listed(), "--remove", ",")
    words = ("train", "--preset", preset("mine"), *FEW, "-w", "my results")
    refused = run_here(*words, "--set", override, "--json")
    assert refused.exit_code == 3
    key = override.partition("=")[0]
    assert f"leave out --set {key}" in refused.error["fix"]
    commands = in_backticks(refused.error["fix"])
    assert len(commands) == (0 if key == "text.pad" else 1)
    for command in commands:
        repaired((), command).succeeded()
        run_here(*words, "--set", override).succeeded()
    run_here(*words).succeeded()


def test_what_is_set_as_the_data_has_it_is_no_conflict() -> None:
    prepared(listed(), "--case", "upper", "--remove", ",.")
    same = ("--set", "text={case: upper, remove: '.,'}", "--set", "audio.max_s=0.5")
    trained = run_here("train", "--preset", preset("mine"), *FEW, *same, "-w", "my results").succeeded()
    assert "decides" not in trained.stderr
    assert recorded("mine")["audio"]["max_s"] == 0.5


STATIC = {"batches": {"shapes": "static", "drop_last": True, "max_labels": 6}, "audio": {"max_s": 0.75}}


def test_all_that_comes_after_goes_by_the_data_too() -> None:
    prepared(listed(), "--case", "upper", "--sample-rate", "8000")
    trained = run_here("train", "--preset", preset("mine"), *FEW, "-w", "my results")
    run_here("train", "--resume", "--max-steps", 2, "--device", "cpu", "-w", "my results").succeeded()
    evaluated = typed(trained, "--device", "cpu")
    assert typed(evaluated, "--json").result["verified"]


def test_a_static_shape_stays_the_recipes_own() -> None:
    prepared(listed(words="ab"), "--max-s", "0.6")
    run_here("train", "--preset", preset("padded", **STATIC), *FEW, "-w", "my results").succeeded()
    assert recorded("padded")["audio"]["max_s"] == 0.75


def test_utterances_beyond_a_static_shape_are_refused_and_either_way_out_works() -> None:
    path = listed([0.5, 0.5, 1.003, 0.5, 0.5, 0.5, 0.5, 1.25])
    wants = preset("padded", **STATIC)
    prepared(path)
    words = ("train", "--preset", wants, *FEW, "-w", "my results")
    refused = run_here(*words, "--json")
    assert refused.exit_code == 3
    assert refused.error["problems"][0] == "1 utterance of train is longer than audio.max_s (0.75 s)"
    shape, labels, command = in_backticks(refused.error["fix"])
    run_here(*words, *shape.split(), *labels.split()).succeeded()
    assert "--max-s 0.75" in command and "--max-rejects" in command
    repaired((), command).succeeded()
    run_here(*words, *labels.split()).succeeded()


def test_what_prepare_says_comes_next_has_the_shape_that_the_data_needs() -> None:
    wants = preset("padded", **STATIC)
    done = prepared(listed([0.5] * 7 + [0.9]), "--preset", wants, "--max-s", "2")
    shape = ["--set", "audio.max_s=0.9", "--set", "batches.max_labels=7"]
    assert following(done) == ["train", "--preset", wants, *shape, "--workspace", "my results"]
    typed(done, *FEW).succeeded()


def test_nobody_is_sent_to_train_a_model_that_can_not_align_the_data() -> None:
    """tiny-cpu sees 100 ms at a time, and has two frames for these recordings."""
    done = prepared(listed([0.14] * 8, words="abcde"))
    assert following(done)[:2] == ["presets", "list"]
    typed(done).succeeded()
    words = ("train", "--preset", "tiny-cpu", *FEW, "-w", "my results")
    refused = run_here(*words, "--json")
    # To prepare them again for this model would leave nothing.
    assert (refused.exit_code, refused.error["fix"]) == (3, "choose another preset")
