"""Command lines that are wrong in one word: what is told is ours, no library's, and suggests what was meant."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
from typing import Any, Iterator, List, Tuple

import pytest

from asrctl.cli import app
from asrctl.cli.numbers import Number
from asrctl.cli.text_options import OPTIONS, TextOptions
from asrctl.cli.usage import ordered
from asrctl.data import corpora
from asrctl.messages import suggestions

from ..helpers.program import run_here

# Of pydantic, Click and Python.
FOREIGN = re.compile(
    r"Input should|unable to parse|invalid value for|is not a valid|got unexpected|argument\(s\)|could not convert|"
    r"invalid literal|requires an argument|Traceback|a bug in asrctl|in the range|env var",
    re.IGNORECASE,
)
BAD_NUMBERS = (" ", "-1", "nan", "inf", "-inf", "1e999", "soon", "20 percent", "1,5", "0x10", "--", "1e99", "9" * 30)


def everything() -> Iterator[Tuple[List[str], Any]]:
    """(words that name a command, the Click command) of all."""
    for command in app._all_commands():
        yield command.name.split(), command


def options(command: Any) -> Iterator[Any]:
    for param in command.params:
        if param.param_type_name == "option" and not getattr(param, "is_flag", False):
            yield param


def declared() -> Iterator[Tuple[List[str], str, Any]]:
    """(words that name a command, annotation, what Typer is told) of every parameter."""
    for name, (module, _) in app.COMMANDS.items():
        inside = importlib.import_module(f"asrctl.cli.{module}")
        functions = {name: inside.command} if hasattr(inside, "command") else {}
        for command in getattr(getattr(inside, "app", None), "registered_commands", ()):
            functions[f"{name} {command.name}"] = command.callback
        for typed, function in functions.items():
            for parameter in inspect.signature(function).parameters.values():
                if isinstance(parameter.default, TextOptions):
                    yield from ((typed.split(), "Optional[str]", option) for option in OPTIONS.values())
                elif parameter.name != "own":  # what corpora add is theirs to read
                    yield typed.split(), str(parameter.annotation), parameter.default


NUMERIC = [
    (words, info.parser.__self__)
    for words, _, info in declared()
    if isinstance(getattr(info.parser, "__self__", None), Number)
]


# -- numbers ----------------------------------------------------------------------------------------------------------


def test_no_option_is_left_to_a_library() -> None:
    """What asks a library whether a value is good is told in that library's words."""
    for words, annotation, info in declared():
        assert info.parser is not None or not re.search("int|float|Enum|Literal", annotation), (words, info.param_decls)
        if "Path" in annotation and info.parser is None:
            assert not (info.readable or info.writable or info.exists), (words, info.param_decls)
    assert {number.option for _, number in NUMERIC} >= {"--max-wer", "--max-minutes", "--workers", "--max-rejects"}


@pytest.mark.parametrize(
    ("words", "number"), NUMERIC, ids=[f"{' '.join(words)} {number.option}" for words, number in NUMERIC]
)
def test_a_number_that_is_none_is_told_in_one_sentence_and_one_fix(asrctl, words, number) -> None:
    source = {"prepare": ["folder", "nowhere"], "vocab": ["folder", "nowhere"]}.get(words[0], [])
    for typed in BAD_NUMBERS:
        refused = asrctl(*words, *source, f"{number.option}={typed}", "--json")
        is_fine = number.low is not None and number.low < 0 and typed == "-1"
        if not (number.high is None and typed in ("1e99", "9" * 30)) and not is_fine:
            assert refused.exit_code == 2, (typed, refused.stderr)
            assert refused.error["message"].startswith(f"{number.option} is ")
            assert refused.error["fix"].startswith("give a ") and "such as" in refused.error["fix"]
        assert not FOREIGN.search(refused.stderr), refused.stderr


def test_what_a_fix_proposes_is_taken() -> None:
    for _, number in NUMERIC:
        for example in number.example.split(" or "):
            number.parse(example)


@pytest.mark.parametrize(
    ("typed", "meant"), [("20%", 0.2), ("20 %", 0.2), ("0.2", 0.2), (".2", 0.2), ("2e-1", 0.2), ("150%", 1.5)]
)
def test_a_share_may_be_written_in_percent(typed: str, meant: float) -> None:
    assert Number("--max-wer", "a share", "0.2", low=0, share=True).parse(typed) == pytest.approx(meant)


def test_percent_on_the_command_line(asrctl) -> None:
    assert asrctl("eval", "--max-wer", "20%").exit_code == 4  # taken: there is only nothing to evaluate
    refused = asrctl("prepare", "folder", "nowhere", "--max-rejects", "101%", "--json")
    assert refused.error["message"] == "--max-rejects is 101%, and the most is 1"
    assert "20%" in asrctl("eval", "--help").stdout


def test_whole_numbers() -> None:
    number = Number("--n", "a whole number", "5", low=1, high=10**9, whole=True)
    assert [number.parse(typed) for typed in ("16000", "1e3", "5.0", " 7 ")] == [16000, 1000, 5, 7]
    assert isinstance(number.parse("1e3"), int)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("optim.learning_rate=fast", "must be a number, not 'fast'"),
        ("optim.epochs=x", "must be a number, not 'x'"),
        ("optim.learning_rate=[1]", "must be a number, not a list"),
        ("optim.learning_rate={a: 1}", "must be a number"),
        ("optim.warmup_share=10%", "must be a number, not '10%'; write 0.1"),
        ("optim.seed=1.5", "must be a whole number, not 1.5"),
        ("optim.adam_betas=3", "must be a list"),
        ("model.freeze_feature_encoder=maybe", "must be true or false, not 'maybe'"),
        ("optim.learning_rate=nan", "must be a number"),
        ("optim.learning_rate=1e999", "must be a number of sensible size"),
        ("optim.learning_rate=", "must have a value"),
    ],
)
def test_values_of_keys(asrctl, typed: str, told: str) -> None:
    refused = asrctl("presets", "show", "tiny-cpu", "--set", typed, "--json")
    assert refused.exit_code == 3
    (problem,) = refused.error["problems"]
    assert told in problem and not FOREIGN.search(refused.stderr)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("do_stable_layer_norm=maybe", "do_stable_layer_norm is 'maybe', not true or false"),
        ("layer_norm_eps=x", "layer_norm_eps is 'x', not a number"),
        ("initializer_range=[1]", "initializer_range is [1], not a number"),
        ("hidden_act=gleu", "hidden_act is 'gleu', which there is not; did you mean 'gelu'"),
        ("feat_extract_norm=none", "feat_extract_norm is 'none', which there is not"),
        ("hidden_size=wide", "model.config.hidden_size is 'wide', not a whole number"),
    ],
)
def test_values_of_the_models_configuration(asrctl, tones, learned_tones, typed: str, told: str) -> None:
    words = ("train", "--preset", learned_tones.parent / "tones.yaml", "--device", "cpu", "--dry-run", "--json")
    refused = asrctl(*words, "--set", f"model.config.{typed}")
    assert refused.exit_code == 3
    assert told in " ".join([refused.error["message"], *refused.error["problems"]])
    assert not re.search("Validation error|TypeError|has to be one of", refused.stderr)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("optim:\n\tepochs: 3", "line 2: a tab stands where only spaces may"),
        ("audio: {max_s: 3}\noptim: {epochs: 3", "line 2: a bracket is not closed"),
        ("text: {remove: 'abc}", "line 1: a quote is not closed"),
        ("optim: epochs: 3", "line 1: a colon stands where none can"),
        ("optim:\n  epochs: 3\n seed: 1", "line 3: it does not fit the lines above it"),
        ("name: @x", "line 1: a value begins with a character that has another meaning"),
        ("optim: *x", "line 1: presets take no YAML aliases (*name)"),
        ("optim: !!python/object:os.system x", "line 1: presets take no YAML tags (!name)"),
        ('name: "\\q"', "line 1: a backslash in double quotes has another meaning"),
        ("name: a\n---\nname: b", "line 2: a second document begins (---)"),
        ("name: \x00", ": there is a character that no text has"),
        ("%YAML 3.0\n---\nname: a", "line 1: it can not be read as YAML"),
        ("optim: " + "[" * 50, "it is nested too deeply"),
    ],
)
def test_a_file_that_is_no_yaml(asrctl, in_folder, text: str, told: str) -> None:
    (in_folder / "p.yaml").write_text(f"{text}\n", encoding="utf-8")
    refused = asrctl("presets", "check", "p.yaml", "--json")
    assert refused.exit_code == 3
    assert str(in_folder / "p.yaml") in refused.error["message"] and told in refused.error["message"]
    assert not re.search("while (scanning|parsing)|unicode string|<block|expected", refused.stderr)


def test_names_of_what_is_there_are_suggested(asrctl, tones) -> None:
    for words in (
        ("eval", "--run", "leraned"),
        ("train", "--resume", "--run", "learnd"),
        ("export", "--run", "Learned"),
    ):
        assert asrctl(*words, "--json").error["fix"].startswith("did you mean learned? `asrctl status")
    assert asrctl("eval", "--data", "tone", "--json").error["fix"].startswith("did you mean tones?")
    assert "did you mean" not in asrctl("eval", "--run", "xyzzy", "--json").error["fix"]


# -- empty words ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [words for words, _ in everything()], ids=" ".join)
def test_an_empty_word_is_refused_wherever_it_stands(asrctl, in_folder, words) -> None:
    """As a path it would mean the current folder: `export --force --output "$FOLDER"`."""
    (command,) = [command for other, command in everything() if other == words]
    for param in options(command):
        if param.name in ("remove", "overrides", "set_"):
            continue
        refused = asrctl(*words, *_arguments(command), param.opts[0], "", "--json")
        assert refused.exit_code == 2, (param.name, refused.stderr)
        assert refused.error["message"] == f"{param.opts[0]} is empty"
    for position, param in enumerate(one for one in command.params if one.param_type_name == "argument"):
        refused = asrctl(*words, *["x"] * position, "", "--json")
        assert refused.error["message"] == f"the argument {param.name} is empty"


def _arguments(command: Any) -> List[str]:
    return ["x" for param in command.params if param.param_type_name == "argument" and param.required]


def test_nothing_to_remove_may_be_said(asrctl) -> None:
    assert asrctl("vocab", "folder", "nowhere", "--remove", "").exit_code == 5


# -- Click's complaints -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "message", "fix"),
    [
        ("train --run", "--run needs a value", "give one; `asrctl train --help` shows what it takes"),
        ("presets show x --set", "--set needs a value", "give one; `asrctl presets show --help` shows what it takes"),
        ("train --json=1", "--json takes no value", "leave out what stands behind --json"),
        (
            "train my preset",
            "nothing more is taken here, and 'my preset' was given",
            "leave it out, or put a value with spaces in quotes; `asrctl train --help` shows what it takes",
        ),
        ("train --bogus", "there is no option --bogus", "`asrctl train --help` lists all"),
        ("--bogus train", "there is no option --bogus", "`asrctl --help` lists all"),
        ("--preset x train", "there is no option --preset before the command", "put --preset after the command's name"),
        ("train -json", "there is no option -json", "did you mean --json?"),
        ("-json train", "there is no option -json", "`asrctl --help` lists all"),
        (
            "eval --max-steps 3",
            "there is no option --max-steps here; it belongs to asrctl train",
            "`asrctl eval --help` lists all",
        ),
        ("version", "there is no command 'version'", "did you mean --version? `asrctl --help` lists all"),
        ("help", "there is no command 'help'", "did you mean --help? `asrctl --help` lists all"),
        ("presets --json", "no command is named", "`asrctl presets --help` lists all"),
    ],
)
def test_a_complaint_is_a_sentence_and_a_fix_of_ours(asrctl, typed, message, fix) -> None:
    refused = asrctl(*shlex.split(typed))
    assert refused.exit_code == 2
    assert refused.stderr == f"error: {message}\nfix: {fix}\n"


# -- options of every command, before its name ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "typed",
    [
        "status --json --workspace W",
        "--json status --workspace W",
        "--workspace W --json status",
        "--workspace=W status --json",
        "-w W -v --json status",
        "-wW --json status",
    ],
)
def test_options_of_every_command_stand_on_either_side_of_its_name(in_folder, typed: str) -> None:
    done = run_here(*shlex.split(typed))
    assert done.succeeded().result["workspace"] == "W"
    assert done.json["command"] == "status"


@pytest.mark.parametrize("typed", ["--json presets list", "presets --json list", "presets list --json"])
def test_before_the_name_of_a_group_too(asrctl, typed: str) -> None:
    assert asrctl(*shlex.split(typed)).succeeded().json["command"] == "presets list"


def test_alone_they_are_no_command(asrctl) -> None:
    refused = asrctl("--json")
    assert refused.exit_code == 2 and refused.error["message"] == "no command is named"
    assert asrctl("--json", "--version").succeeded().stdout.startswith("asrctl ")
    assert "Usage" in asrctl("--json", "--help").succeeded().stdout


def test_what_is_kept_of_a_command_line_names_the_command_first(in_folder, monkeypatch) -> None:
    """`status` gives it again, and looks for what it was at its beginning."""
    monkeypatch.delenv("ASRCTL_WORKSPACE", raising=False)
    (in_folder / "a.csv").write_text("path,text,split\na.wav,abc!,train\nb.wav,abc,eval\n", encoding="utf-8")
    done = run_here("--json", "--workspace", "W", "vocab", "manifest", "a.csv")
    again = done.result["alphabet"]["proposal"]["command"]
    assert again == "asrctl vocab --workspace W manifest a.csv --remove '!'"
    assert run_here(*shlex.split(again)[1:], "--json").result["tokens"]


def test_the_order_of_words() -> None:
    assert ordered(["train", "--json"]) == ["train", "--json"]
    assert ordered(["--json", "-w", "train", "eval", "x"]) == ["eval", "--json", "-w", "train", "x"]
    assert ordered(["--json", "presets"], groups=["presets"]) == ["presets", "--json"]
    assert ordered([]) == []


# -- what was meant ---------------------------------------------------------------------------------------------------

COMMANDS = list(app.COMMANDS)
MEANT = [
    ("trian", COMMANDS, ["train"]),
    ("tarin", COMMANDS, ["train"]),
    ("TRAIN", COMMANDS, ["train"]),
    ("evla", COMMANDS, ["eval"]),
    ("evaluate", COMMANDS, ["eval"]),
    ("prep", COMMANDS, ["prepare"]),
    ("prepar", COMMANDS, ["prepare"]),
    ("pre", COMMANDS, ["prepare", "presets"]),
    ("preset", COMMANDS, ["presets"]),
    ("xport", COMMANDS, ["export"]),
    ("stauts", COMMANDS, ["status"]),
    ("version", COMMANDS, []),
    ("bogus", COMMANDS, []),
    ("ls", COMMANDS, []),
    ("e", COMMANDS, []),
    ("", COMMANDS, []),
    ("run", COMMANDS, []),
    ("--bogus", ["--json", "--run", "--data", "--help"], []),
    ("--max_steps", ["--max-steps", "--max-minutes"], ["--max-steps"]),
    ("--max", ["--max-steps", "--max-minutes"], ["--max-steps", "--max-minutes"]),
    ("--dryrun", ["--dry-run", "--run"], ["--dry-run"]),
    ("--verbos", ["--verbose", "-v"], ["--verbose"]),
    ("--quiet", ["--verbose", "--json"], []),
    ("foldr", ["librispeech", "manifest", "folder", "demo"], ["folder"]),
    ("manifset", ["librispeech", "manifest", "folder", "demo"], ["manifest"]),
    ("LibriSpeech", ["librispeech", "manifest", "folder", "demo"], ["librispeech"]),
    ("csv", ["librispeech", "manifest", "folder", "demo"], []),
    ("gpu", ["auto", "cpu", "cuda", "mps", "ipu"], []),
    ("cup", ["auto", "cpu", "cuda", "mps", "ipu"], ["cpu"]),
    ("lr", ["learning_rate", "warmup_steps"], ["learning_rate"]),
    ("epoch", ["epochs", "seed"], ["epochs"]),
    ("batch_size", ["global_batch", "micro_batch"], []),
]


@pytest.mark.parametrize(("wrong", "known", "meant"), MEANT, ids=[wrong for wrong, _, _ in MEANT])
def test_what_was_meant_or_nothing(wrong: str, known: List[str], meant: List[str]) -> None:
    assert suggestions.closest(wrong, known) == meant


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("run.seed=1", "run.seed is unknown; did you mean 'optim.seed'?"),
        ("seed=1", "seed is unknown; did you mean 'optim.seed'?"),
        ("optim.lr=1", "optim.lr is unknown; did you mean 'optim.learning_rate'?"),
        ("lr=1", "lr is unknown; did you mean 'optim.learning_rate'?"),
        ("optim.epoch=1", "optim.epoch is unknown; did you mean 'optim.epochs'?"),
        ("model.max_s=1", "model.max_s is unknown; did you mean 'audio.max_s'?"),
        ("optim.checkpoint=x", "optim.checkpoint is unknown; did you mean 'model.checkpoint'?"),
        ("audio.xyzzy=1", "audio.xyzzy is unknown; known here: sample_rate, min_s, max_s"),
        ("cpu.precison=fp32", "cpu.precison is unknown; did you mean 'cpu.precision'?"),
    ],
)
def test_a_key_that_stands_in_another_section(asrctl, in_folder, typed: str, told: str) -> None:
    refused = asrctl("presets", "show", "tiny-cpu", "--set", typed, "--json")
    (problem,) = refused.error["problems"]
    assert problem.startswith(told)


@pytest.mark.parametrize(
    ("typed", "fix"),
    [
        ("prepare foldr x", f"did you mean folder? The choices are {', '.join(corpora.names())}"),
        ("prepare folder x --case Lower", "did you mean lower? The choices are lower, upper, keep"),
        ("prepare folder x --case title", "use one of lower, upper, keep"),
        ("clean cach", "did you mean cache? The choices are cache, unfinished, unreferenced, checkpoints"),
    ],
)
def test_a_word_of_few_that_are_known(asrctl, typed: str, fix: str) -> None:
    refused = asrctl(*shlex.split(typed), "--json")
    assert (refused.exit_code, refused.error["fix"]) == (2, fix)


# -- help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", ["80", "120", "200"])
def test_no_help_is_cut(monkeypatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for words in [[], ["presets"], *(words for words, _ in everything())]:
        shown = run_here(*words, "--help").succeeded().stdout
        cut = [line for line in shown.splitlines() if re.search(r"\w\.\.\.|…", line) and not line.startswith("Usage:")]
        assert not cut, cut
    assert "Turn an ipu_config.json of optimum-graphcore, of any release, into a preset." in " ".join(
        run_here("presets", "--help").stdout.split()
    )
