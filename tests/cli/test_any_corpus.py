"""A corpus is one file: dropped into the package, or brought by another one, it is found, explained and read."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Callable, Dict

import numpy as np
import pytest
import soundfile

import asrctl as package
from asrctl.data import corpora
from asrctl.data.corpus import CorpusOption

PACKAGE = Path(package.__file__).parent
ROOT = PACKAGE.parent
Run = Callable[..., Any]


def documented() -> str:
    """The module of docs/corpora.md: what people copy is what is tried."""
    page = (ROOT / "docs" / "corpora.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]


def dropped(folder: Path, name: str, code: str) -> Path:
    """A copy of asrctl with one file more."""
    shutil.copytree(str(PACKAGE), str(folder / "asrctl"))
    shutil.copytree(str(ROOT / "presets"), str(folder / "presets"))
    (folder / "asrctl" / "data" / "corpora" / f"{name}.py").write_text(code, encoding="utf-8")
    return folder


def installed(folder: Path, name: str, code: str, *, distribution: str = "", entry: str = "") -> Path:
    """A package with a corpus, as pip leaves it in a folder of packages."""
    distribution = distribution or f"asrctl-{name}"
    module = re.sub(r"\W", "_", distribution)
    (folder / module).mkdir(parents=True)
    (folder / module / "__init__.py").touch()
    (folder / module / "reader.py").write_text(code, encoding="utf-8")
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n", encoding="utf-8")
    entry = entry or f"{name} = {module}.reader"
    (info / "entry_points.txt").write_text(f"[asrctl.corpora]\n{entry}\n", encoding="utf-8")
    return folder


def made(name: str, body: str = "", **fields: str) -> str:
    """A module with a corpus of one word, for what the documented one has no need of. body: of its `read`."""
    head = """
        from pathlib import Path
        from asrctl.data.corpus import *
        from asrctl.data.corpus import CorpusOption, Match
        from asrctl.data.utterance import Utterance

        def read(request):
        """
    body = body or "yield from ()"
    extra = "".join(f"    {key}={value},\n" for key, value in fields.items())
    return (
        textwrap.dedent(head).rstrip()
        + "\n"
        + textwrap.indent(textwrap.dedent(body).strip(), "    ")
        + f'\n\nCORPUS = Corpus(\n    name="{name}",\n    help="A corpus.",\n    read=read,\n{extra})\n'
    )


@pytest.fixture
def within(asrctl_process: Run) -> Callable[[Path], Run]:
    """`within(folder)("prepare", ...)`: in a process that finds the packages of a folder before all others."""

    def runner(folder: Path) -> Run:
        path = os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])
        return lambda *words: asrctl_process(*words, env={"PYTHONPATH": path}, cwd=str(folder.parent))

    return runner


@pytest.fixture
def reels(tmp_path: Path) -> Path:
    """Three reels of six recordings each."""
    folder, lines = tmp_path / "my reels", []
    for reel in "123":
        (folder / reel).mkdir(parents=True)
        for number in range(6):
            noise = np.random.default_rng(number).integers(-3000, 3000, 4800 + 160 * int(reel), dtype=np.int16)
            soundfile.write(str(folder / reel / f"{number}.wav"), noise, 16000)
            lines.append(f"{reel} {number} word {'abc'[number % 3]}\n")
    (folder / "lines.txt").write_text("".join(lines), encoding="utf-8")
    return folder


def counts(result: Dict[str, Any]) -> Dict[str, int]:
    return {name: split["utterances"] for name, split in result["splits"].items()}


@pytest.mark.parametrize("add", [dropped, installed])
def test_a_new_corpus_is_explained_found_and_read(within, tmp_path: Path, reels: Path, add: Any) -> None:
    run = within(add(tmp_path / "packages", "reels", documented()))
    shown = run("prepare", "--help").succeeded().stdout
    for told in (
        "\n  reels FOLDER  ", "Reels of tape, with what is said on them in lines.txt.", "\nOptions of reels:\n",
        "--held-out REEL  A reel for evaluation.  [repeatable]", "$ asrctl prepare reels my-reels\n",
    ):  # fmt: skip
        assert told in shown
    wrong = run("prepare", "rels", reels, "--json")
    assert wrong.exit_code == 2 and wrong.error["fix"].startswith("did you mean reels?")
    assert "reels" in wrong.error["fix"].partition("The choices are")[2]

    by_path = run("prepare", reels, "--held-out", 3, "--json")
    assert "is read as a corpus of kind reels" in by_path.stderr
    assert (by_path.result["name"], counts(by_path.result)) == ("my-reels", {"train": 12, "eval": 6})
    assert counts(run("prepare", "reels", reels, "--reel", 2, "--name", "two", "--json").result)["train"] == 5


def test_what_is_to_be_typed_next_keeps_the_options_of_a_corpus(within, tmp_path: Path, reels: Path) -> None:
    run = within(installed(tmp_path / "packages", "reels", documented()))
    following = shlex.split(
        run("vocab", "reels", reels, "--held-out", 2, "--held-out=3").succeeded().stdout.splitlines()[-1]
    )
    assert following[1:3] == ["asrctl", "prepare"] and following.count("--held-out") == 2
    first = run(*following[2:], "--json").result
    assert counts(first) == {"train": 6, "eval": 12}
    (reels / "lines.txt").write_text((reels / "lines.txt").read_text().replace("word a", "word d"), encoding="utf-8")
    items = run("status", "--json").result["items"]
    again = next(item for item in items if item["stage"] == "prepare")
    assert again["state"] == "stale"
    second = run(*shlex.split(again["details"]["command"])[1:], "--json").result
    assert counts(second) == counts(first) and second["id"] != first["id"]


def test_an_option_of_another_corpus_is_refused(within, tmp_path: Path, reels: Path, workspace: Path) -> None:
    run = within(installed(tmp_path / "packages", "reels", documented()))
    (tmp_path / "list.csv").write_text(f"path,text\n{reels}/1/0.wav,a\n{reels}/1/1.wav,b\n", encoding="utf-8")
    for command in ("prepare", "vocab"):
        refused = run(command, "manifest", tmp_path / "list.csv", "--reel", 1, "--json")
        assert refused.exit_code == 2 and not workspace.exists()
        assert refused.error["message"] == "--reel belongs to reels, and this corpus is of kind manifest"
        assert refused.error["fix"] == "leave --reel out"
    elsewhere = run("train", "--reel", 1, "--json")
    assert elsewhere.error["message"].startswith("there is no option --reel here; it belongs to asrctl ")
    assert run("prepare", "reels", reels, "--rel", 1, "--json").error["fix"].startswith("did you mean --reel?")
    assert run("prepare", "reels", reels, "--reel", "", "--json").error["message"] == "--reel is empty"


# -- plug-ins that do not work ----------------------------------------------------------------------------------------


def test_a_package_that_does_not_work_is_told_and_others_do(within, tmp_path: Path, reels: Path) -> None:
    packages = tmp_path / "packages"
    installed(packages, "folder", made("folder"), distribution="shadow")
    installed(packages, "stat", made("stat"), distribution="reserved")
    installed(packages, "broken", "print('loud')\nimport no_such_module", distribution="a-broken")
    installed(packages, "leaves", "raise SystemExit(3)", distribution="b-leaves")
    installed(packages, "other", made("another"), distribution="c-other")
    installed(packages, "none", "CORPUS = 1", distribution="d-none")
    installed(packages, "late", "import", distribution="e-late")
    installed(packages, "odd", made("odd"), distribution="f-odd", entry="../odd = f_odd.reader")
    installed(packages, "cut", made("cut"), distribution="g-cut", entry="[")
    installed(packages, "names", made("names", examples="'my-names'"), distribution="j-names")
    installed(packages, "flags", made("flags", options='[CorpusOption("--train", "Mine.")]'), distribution="h-flags")
    for number in (1, 2):
        installed(packages, "twice", made("twice"), distribution=f"i-twice-{number}")
    run = within(packages)
    done = run("prepare", "folder", reels, "--max-rejects", 1, "--dry-run", "--json")
    assert done.result["splits"]["train"]["utterances"] > 0  # what packages print is not in the document
    warned = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    for name in (
        "shadow",
        "reserved",
        "a-broken",
        "b-leaves",
        "c-other",
        "d-none",
        "e-late",
        "f-odd",
        "i-twice-2",
        "j-names",
    ):
        assert sum(name in line for line in warned) == 1, (name, warned)
    assert sum("g-cut" in line for line in warned) <= 1  # not every Python minds
    assert any("--train of the corpus flags of the package h-flags is left out" in line for line in warned)
    shown = run("prepare", "--help").succeeded().stdout
    assert "\nLeft out:\n" in shown and " twice SOURCE " in shown and " broken " not in shown.partition("Left out:")[0]
    refused = run("prepare", "broken", reels, "--json")
    assert (
        refused.exit_code == 6
        and "a-broken" in refused.error["message"]
        and "no_such_module" in refused.error["message"]
    )
    assert "a-broken" in refused.error["fix"]


def test_what_the_code_of_a_package_does_wrong_is_told_as_its_fault(within, tmp_path: Path, reels: Path) -> None:
    packages = tmp_path / "packages"
    installed(packages, "reads", made("reads", "yield {}['text']"))
    installed(packages, "yields", made("yields", "yield 'a.wav'"))
    installed(packages, "paths", made("paths", "yield Utterance('a', Path('a.wav'), 'a', 'train')"))
    installed(
        packages, "looks", made("looks", recognizes="lambda path: path.no_such", default_name="lambda place: 1 / 0")
    )
    run = within(packages)
    badly = "TypeError: of an utterance that it yields, audio is not text"
    for name, kind in (
        ("reads", "KeyError"),
        ("yields", "TypeError"),
        ("paths", badly),
        ("looks", "ZeroDivisionError"),
    ):
        failed = run("prepare", name, reels, "--json")
        assert failed.exit_code == 5 and failed.error["message"].startswith(
            f"the corpus {name} of the package asrctl-{name} fails ({kind}"
        )
        assert "Traceback" not in failed.stderr
    (tmp_path / "list.csv").write_text(f"path,text\n{reels}/1/0.wav,a\n{reels}/1/1.wav,b\n", encoding="utf-8")
    assert run("prepare", tmp_path / "list.csv", "--dry-run", "--json").result["name"] == "list"


# -- what the next corpora need ---------------------------------------------------------------------------------------

_NET = """
    assert request.source is None
    options = request.options
    told = [request.address, options["config"], options["speed"], options["streaming"], list(options["map"])]
    Path({path!r}).write_text(repr(told))
    request.cache.mkdir(parents=True, exist_ok=True)
    (request.cache / "part-1.bin").touch()
    for number in range(4):
        yield Utterance(f"u{{number}}", f"{folder}/1/{{number}}.wav", f"word {{'ab'[number % 2]}}", request.splits[0])
"""
_NET_OPTIONS = """(
        CorpusOption("--config", "Which part.", metavar="NAME", choices=("clean", "other"), default="clean"),
        CorpusOption("--speed", "How fast.", metavar="N", type=int, default=1),
        CorpusOption("--streaming", "Do not store.", type=bool),
        CorpusOption("--map", "Paths.", metavar="OLD=NEW", repeatable=True),
    )"""


def test_a_corpus_is_fetched_by_name_with_options_of_every_kind(
    within, tmp_path: Path, reels: Path, workspace: Path
) -> None:
    seen, packages = tmp_path / "seen", tmp_path / "packages"
    fields = {"is_address": "lambda word: '://' in word", "default_name": "lambda place: place.rpartition('/')[2]"}
    fields.update(cache_files='["part-*.bin"]', downloads="lambda request: {request.splits[0]: 10 ** 9}")
    fields.update(options=_NET_OPTIONS, splits='{"train": ("train.100",)}', split_names='{"small": "train.10"}')
    installed(packages, "net", made("net", _NET.format(path=str(seen), folder=reels), **fields))
    # Another corpus may have an option of the same name with a meaning of its own.
    installed(packages, "two", made("two", options='[CorpusOption("--config", "A file.", metavar="FILE")]'))
    run = within(packages)
    words = ("--config", "other", "--speed", 3, "--streaming", "--map", "a=b", "--map=c=d", "--train", "small")
    done = run("prepare", "net", "hub://owner/speech", *words, "--json")
    assert (done.result["name"], done.result["splits"]["train"]["sources"]) == ("speech", ["train.10"])
    assert seen.read_text() == "['hub://owner/speech', 'other', 3, True, ['a=b', 'c=d']]"
    planned = run("prepare", "net", "hub://owner/speech", "--dry-run", "--json").result
    assert planned["downloads"] == {"train.100": 10**9}
    assert str(workspace / "cache" / "net") in [item["path"] for item in run("clean", "--json").result["removable"]]
    item = run("status", "--json").result["items"][-1]
    assert (item["state"], item["why"]) == ("done", "")
    assert " ".join(map(str, ("net hub://owner/speech", *words))) in item["details"]["command"]
    assert run("vocab", "net", "hub://owner/speech", "--json").exit_code == 0
    assert seen.read_text() == "['hub://owner/speech', 'clean', 1, False, []]"
    for given, message, fix in (
        (("--config", "x"), "--config can not be 'x'", "use one of clean, other"),
        (("--speed", "fast"), "--speed can not be 'fast'", "give N as the help of --speed says"),
    ):
        refused = run("prepare", "net", "hub://owner/speech", *given, "--json")
        assert refused.exit_code == 2 and message in refused.error["message"] and fix in refused.error["fix"]


def test_nothing_is_loaded_before_it_is_needed(tmp_path: Path) -> None:
    installed(tmp_path, "loud", "import asrctl.data.no_such_module")
    code = (
        "import sys\nfrom asrctl.cli.app import main\n"
        "for words in (['--help'], ['status', '--json'], ['train', '--help']):\n"
        "    try:\n        main(words)\n    except SystemExit:\n        pass\n"
        "loaded = [name for name in sys.modules if name.startswith(('asrctl.data.corpora.', 'asrctl_loud'))]\n"
        "sys.exit(' '.join(loaded) or 0)"
    )
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
        "ASRCTL_WORKSPACE": str(tmp_path / "w"),
    }
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, encoding="utf-8", check=False)
    assert (done.stderr.strip(), done.returncode) == ("", 0)


# -- asrctl's own -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", corpora.built_in())
def test_a_corpus_of_asrctl_says_what_it_is(asrctl, name: str) -> None:
    corpus = corpora.find(name)
    assert (corpus.name, corpus.package) == (name, None)
    assert corpus.help.endswith(".") and corpus.examples and set(corpus.splits) <= {"train", "eval", "test"}
    for command in ("prepare", "vocab"):
        shown = " ".join(asrctl(command, "--help").succeeded().stdout.replace("\\\n", " ").split())
        assert "Left out:" not in shown
        assert f" {name} {corpus.source} {corpus.help} " in shown
        assert f"$ asrctl {command} {name} {corpus.examples[0]}".rstrip() in shown


def test_the_pages_name_corpora_that_are_there() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    named = set(re.findall(r"^ +asrctl (?:prepare|vocab) (\w+)", text, re.MULTILINE))
    assert {"folder", "librispeech"} <= named <= {*corpora.names(), "mix"}
    assert "`asrctl prepare --help`" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_an_option_that_can_not_be_typed_is_no_option() -> None:
    for flag in ("-x", "--Name", "name", "--a b", "--", "--a--b"):
        with pytest.raises(ValueError, match="no name of an option"):
            CorpusOption(flag, "Some.")


def test_a_module_here_that_does_not_work_keeps_nobody_from_others(within, tmp_path: Path, reels: Path) -> None:
    """What it needs may be missing; or it is half written, or a copy that still has the name of the other."""
    packages = dropped(tmp_path / "packages", "needs", "import no_such_module")
    folder = packages / "asrctl" / "data" / "corpora"
    (folder / "copied.py").write_text((folder / "folder.py").read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "empty.py").touch()
    (folder / "_shared.py").touch()
    run = within(packages)
    done = run("prepare", "folder", reels, "--dry-run", "--json")
    assert done.result["name"] == "my-reels"
    assert [
        line.partition(" can not be used (")[::2] for line in done.stderr.splitlines() if "can not be used" in line
    ] == [
        ("warning: the corpus copied", "it calls itself folder)"),
        ("warning: the corpus empty", "empty.py holds no CORPUS of asrctl.data.corpus.Corpus)"),
        ("warning: the corpus needs", "ModuleNotFoundError: No module named 'no_such_module')"),
    ]
    assert run("prepare", "needs", reels, "--json").exit_code == 6
