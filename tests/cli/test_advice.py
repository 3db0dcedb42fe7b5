"""Every line that a message gives to type is typed: it works, or what is wrong then is the next thing."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shutil
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import pytest
import typer

from asrctl.cli import app, prepare
from asrctl.cli.text_options import TextOptions
from asrctl.cli.usage import COMPLAINT
from asrctl.errors import UsageError

from ..helpers.corpora import corpus, plain_rows
from ..helpers.ipu_tiny import TINY
from ..helpers.program import copy_workspace, run_here
from ..helpers.tiny import QUIET
from ..helpers.typing_in import in_backticks, next_lines, repaired, type_line

PACKAGE = Path(app.__file__).resolve().parent.parent
# Something in a command that only the reader knows.
TO_FILL_IN = re.compile(r"\b[A-Z]{3,}\b")
PRESET: Dict[str, Any] = {
    "model": dict(QUIET, config=TINY, ctc_zero_infinity=True),
    "optim": {"global_batch": 4, "max_steps": 1},
    "cpu": {"precision": "fp32"},
}
TRAIN = ("train", "--preset", "small.yaml", "--device", "cpu")


# -- what any message can say -----------------------------------------------------------------------------------------


def texts(path: Path) -> Iterator[Tuple[int, str]]:
    """(line, text) of the strings of a module but its docstrings; what is put into them stands as X."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    inner |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(str(p.value) if isinstance(p, ast.Constant) else "X" for p in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.lineno, node.value


def printed(pattern: str) -> List[Tuple[str, str]]:
    """(place, text) of all that any message has in backticks and that begins like this."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for line, text in texts(path):
            found += [(f"{path.relative_to(PACKAGE)}:{line}", part) for part in re.findall(f"`({pattern}[^`]+)`", text)]
    return found


def commands(group: Any, context: Any) -> Iterator[Any]:
    """Every command of the program."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield from commands(command, context) if hasattr(command, "list_commands") else [command]


@pytest.mark.parametrize(("where", "command"), printed("asrctl "))
def test_a_command_in_a_message_is_one(where: str, command: str) -> None:
    """Its name, its options and its arguments are there; `--help` needs none, and a name that is put in is one."""
    words = command.split()[1:]
    if "--help" in words or words == ["X"]:
        return
    context = typer.main.get_command(app.app).make_context("asrctl", list(words), resilient_parsing=False)
    name, found, rest = context.command.resolve_command(context, words)
    while hasattr(found, "list_commands"):
        assert rest, f"{where}: `{command}` is a group of commands"
        name, found, rest = found.resolve_command(context, rest)
    try:
        found.make_context(name, list(rest))
    except COMPLAINT as complaint:
        # X stands for a number too.
        assert not re.search("No such|Missing|unexpected", complaint.format_message()), f"{where}: `{command}`"
    except UsageError as error:
        assert "'X'" in error.message, f"{where}: `{command}`"  # a word that was put in: a device, a format


def test_an_option_in_a_message_is_one() -> None:
    root = typer.main.get_command(app.app)
    every = commands(root, root.make_context("asrctl", ["status"]))
    known = {name for command in every for param in command.params for name in param.opts}
    wrong = [(where, text) for where, text in printed("--") if text.split()[0] not in known]
    assert not wrong and len(printed("--")) > 10


# -- prepare, with each of its options --------------------------------------------------------------------------------


@pytest.fixture
def place(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("ASRCTL_WORKSPACE", raising=False)
    (in_folder / "small.yaml").write_text(json.dumps(PRESET), encoding="utf-8")
    (in_folder / "my presets").mkdir()
    (in_folder / "my presets" / "mine.yaml").write_text(json.dumps(PRESET), encoding="utf-8")
    (in_folder / "my presets" / "a table.yaml").write_text("o: a\n", encoding="utf-8")
    return in_folder


OPTIONS: Dict[str, Sequence[Any]] = {
    "train": ("--train", "alpha"),
    "eval": ("--train", "alpha", "--eval", "the beta"),
    "test": ("--train", "alpha", "--test", "the beta"),
    "name": ("--name", "other"),
    "preset": ("--preset", "my presets/mine.yaml"),
    "vocab": ("--train", "alpha", "--eval", "the beta", "--vocab", "v"),
    "min_s": ("--min-s", "0.3"),
    "max_s": ("--max-s", "0.55"),
    "sample_rate": ("--sample-rate", "8000"),
    "case": ("--case", "upper"),
    "remove": ("--remove", "'$o"),
    "language": ("--language", "tr"),
    "replace": ("--replace", "my presets/a table.yaml"),
    "phonemes": ("--phonemes", "en-us"),
    "max_rejects": ("--max-rejects", "1"),
    "root": ("--root", "."),
    "no_download": ("--no-download",),
    "workers": ("--workers", "1"),
    "force": ("--force",),
    "dry_run": (),
    "show": (),
    "shard": (),
    "merge": (),
    "drop": (),
    "engine": (),
    "address": (),
    "workspace": ("--workspace", "~/$HOME \"quoted\" 'place'"),
    "json": (),
    "verbose": ("--verbose",),
}


def test_every_option_of_prepare_is_tried() -> None:
    own = set(inspect.signature(prepare.command).parameters) - {"corpus", "source", "own", "text"}
    assert own | set(TextOptions._fields) == set(OPTIONS)


@pytest.mark.parametrize("name", [name for name, words in OPTIONS.items() if words])
def test_what_prepare_says_comes_next_can_be_typed(place: Path, name: str) -> None:
    splits = {"alpha": 6, "the beta": 2, "train": 4, "dev": 2}
    path = corpus(place / "my corpus", [row for split, n in splits.items() for row in plain_rows(n, split)], 0.5)
    options = OPTIONS[name]
    if "--vocab" in options:
        run_here("vocab", "manifest", path, *options[:4], "--name", "v", "-w", "my work").succeeded()
    where = () if name == "workspace" else ("-w", "my work")
    done = run_here("prepare", "manifest", path, *options, *where)
    # It is the last one; so is what it is made of, wherever the next command looks it up.
    checked = type_line(next_lines(done)[-1], "--device", "cpu", "--dry-run", "--json").succeeded()
    assert checked.result["data"]["name"] == ("other" if name == "name" else "utterances")
    asked = options[-2:] if name == "workspace" else ("-w", "my work")
    planned = next_lines(run_here("status", *asked))[0]
    again = type_line(planned, "--device", "cpu", "--dry-run", "--json").succeeded()
    assert again.result["data"] == checked.result["data"]
    assert again.result["steps"] == checked.result["steps"]


# -- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus, a workspace of another name than the default, and in it data and a run. Read only."""
    folder = tmp_path_factory.mktemp("made")
    path = corpus(folder / "corpus", plain_rows(6) + plain_rows(2, "dev"), seconds=0.5)
    (folder / "small.yaml").write_text(json.dumps(PRESET), encoding="utf-8")
    run_here("prepare", "manifest", path, "-w", folder / "my work").succeeded()
    words = ("train", "--preset", folder / "small.yaml", "--device", "cpu")
    run_here(*words, "--run", "first", "-w", folder / "my work").succeeded()
    return folder


@pytest.fixture
def work(made: Path, place: Path) -> Path:
    """A copy of it, in which the test runs."""
    shutil.copytree(str(made / "corpus"), str(place / "corpus"))
    return copy_workspace(made / "my work", place / "my work")


def forget_checkpoints(work: Path) -> None:
    shutil.rmtree(str(work / "runs" / "first" / "checkpoints"))


def damage_checkpoints(work: Path) -> None:
    for path in work.glob("runs/first/checkpoints/*/model.safetensors"):
        path.write_bytes(b"half")


def empty(work: Path) -> None:
    shutil.rmtree(str(work))


def nothing(work: Path) -> None:
    """The workspace is as it should be."""


WRONG: List[Tuple[Any, Sequence[Any]]] = [
    (nothing, ("train", "--device", "cpu", "--max-steps", "1")),
    (nothing, ("train", "--preset", "tiny-cpuu")),
    (nothing, ("train", "--preset", "nowhere.yaml")),
    (nothing, (*TRAIN, "--data", "nope")),
    (nothing, (*TRAIN, "--run", "first")),
    (nothing, (*TRAIN, "--device", "cuda")),
    (nothing, (*TRAIN, "--set", "cpu.precision=fp16")),
    (nothing, (*TRAIN, "--set", "text.remove=,.?\"'")),
    (nothing, (*TRAIN, "--set", "audio.max_s=0.25")),
    (nothing, (*TRAIN, "--set", "text.case=upper")),
    (nothing, ("train", "--resume", "--device", "cpu", "--set", "optim.learning_rate=1")),
    (nothing, ("train", "--resume", "--run", "nope")),
    (forget_checkpoints, ("train", "--resume", "--device", "cpu", "--max-steps", "2")),
    (damage_checkpoints, ("train", "--resume", "--device", "cpu", "--max-steps", "2")),
    (empty, (*TRAIN, "--dry-run")),
    (empty, ("train", "--resume")),
    (nothing, ("eval", "--run", "nope")),
    (nothing, ("eval", "--split", "test")),
    (nothing, ("eval", "--split", "nope", "--device", "cpu")),
    (nothing, ("eval", "--data", "nope")),
    (nothing, ("eval", "--device", "mps")),
    (empty, ("eval",)),
    (empty, ("export",)),
    (nothing, ("prepare", "manifest", "corpus")),
    (nothing, ("prepare", "folder")),
    (nothing, ("prepare", "manifest", "corpus/utterances.jsonl", "--train", "nope")),
    (nothing, ("prepare", "manifest", "corpus/utterances.jsonl", "--vocab", "nope")),
    (nothing, ("prepare", "manifest", "corpus/utterances.jsonl", "--max-s", "0.25")),
    (nothing, ("prepare", "librispeech", "--no-download")),
    (nothing, ("clean", "caches")),
    (nothing, ("presets", "show", "tinycpu")),
    (nothing, ("presets", "sho")),
]


@pytest.mark.parametrize(("harm", "words"), WRONG, ids=[f"{harm.__name__}: {' '.join(words)}" for harm, words in WRONG])
def test_each_way_out_leads_on(work: Path, harm: Any, words: Sequence[Any]) -> None:
    harm(work)
    failed = [*words, *(() if words[:2] == ("presets", "sho") else ("-w", "my work"))]
    refused = run_here(*failed, "--json")
    if refused.exit_code == 0 and "--device" in words:
        pytest.skip("this machine has that device")
    assert refused.exit_code > 1
    error = refused.error
    for advice in in_backticks(" ".join([error["fix"], *error["problems"]])):
        if TO_FILL_IN.search(advice.replace("my work", "")):
            continue
        before = sorted(path for path in work.glob("runs/*"))
        led = repaired(failed, advice)
        assert led.exit_code == 0 or (led.exit_code > 1 and error["message"] not in led.stderr), (advice, led.stderr)
        for path in set(work.glob("runs/*")) - set(before):
            shutil.rmtree(str(path))


def test_a_finished_run_says_how_to_extend_it(work: Path) -> None:
    done = run_here("train", "--resume", "--device", "cpu", "-w", "my work").succeeded()
    (command,) = in_backticks(done.stdout)
    assert "2 steps, finished" in type_line(command, "--device", "cpu").succeeded().stdout
    assert type_line(next_lines(done)[0], "--device", "cpu").succeeded()


def test_what_clean_would_delete_is_deleted_by_what_it_prints(work: Path) -> None:
    (command,) = in_backticks(run_here("clean", "cache", "-w", "my work").succeeded().stdout)
    assert "freed" in type_line(command).succeeded().stdout
    assert "nothing to clean" in run_here("clean", "cache", "-w", "my work").succeeded().stdout


def test_a_good_preset_says_how_to_train_by_it(work: Path, place: Path) -> None:
    (place / "no suffix").write_text(json.dumps(PRESET), encoding="utf-8")
    for file in ("small.yaml", "my presets/mine.yaml", "no suffix"):
        done = run_here("presets", "check", file, "-w", "my work")
        type_line(next_lines(done)[0], "--dry-run", "--device", "cpu").succeeded()


@pytest.mark.parametrize("output", [(), ("--output", "my pod.yaml")])
def test_an_imported_preset_says_how_to_plan_with_it(work: Path, place: Path, output: Sequence[str]) -> None:
    (place / "ipu_config.json").write_text(
        '{"layers_per_ipu": [9, 4, 4, 4], "ipus_per_replica": 4, "gradient_accumulation_steps": 8}', encoding="utf-8"
    )
    done = run_here("presets", "import", "ipu_config.json", *output, "-w", "my work")
    type_line(next_lines(done)[0]).succeeded()


def test_the_workspace_is_in_every_command_that_a_message_prints(work: Path) -> None:
    refused = run_here("train", "--resume", "--run", "nope", "-w", "my work")
    assert "`asrctl status --workspace 'my work'`" in refused.stderr
    told = run_here("train", "--resume", "--run", "nope", "-w", "my work", "--json").error
    assert "`asrctl status --workspace 'my work'`" in told["fix"]
