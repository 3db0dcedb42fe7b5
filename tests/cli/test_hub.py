"""`asrctl prepare hub`: from a folder, and from a hub on this machine, whole and broken."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest

from ..helpers.data_hub import DataHub, asrctl_with, serving
from ..helpers.data_sets import card, repository, rows, write

OPTIONS = ("--preset", "tiny-cpu", "--min-s", "0.1", "--json")


def shards(result: Dict[str, Any]) -> Dict[str, str]:
    """{file: digest} of prepared speech."""
    path = Path(result["path"])
    files = sorted(path.glob("*/shard-*.arrow"))
    return {f"{file.parent.name}/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def as_on_the_hub(corpus: Path, folder: Path, splits: Dict[str, str]) -> None:
    """LibriSpeech's folders as its repository has them: {split of the hub: folder}."""
    for split, name in splits.items():
        found: List[Dict[str, Any]] = []
        for transcripts in sorted((corpus / name).glob("*/*/*.trans.txt")):
            for line in transcripts.read_text(encoding="utf-8").splitlines():
                identity, text = line.split(maxsplit=1)
                recording = transcripts.parent / f"{identity}.flac"
                speaker, chapter, _ = identity.split("-")
                row = {"file": recording.name, "audio": {"bytes": recording.read_bytes(), "path": recording.name}}
                row.update(text=text, speaker_id=int(speaker), chapter_id=int(chapter), id=identity)
                found.append(row)
        half = (len(found) + 1) // 2
        for number, part in enumerate((found[:half], found[half:])):
            if part:
                write(folder / "clean" / split / f"{number:04d}.parquet", part)
    card(folder, {"clean": {split: f"clean/{split}/*.parquet" for split in splits}})


def test_a_repository_and_the_corpus_become_the_same_data(asrctl, librispeech: Path, tmp_path: Path) -> None:
    as_on_the_hub(librispeech, tmp_path / "hub", {"train.100": "test-other", "validation": "dev-clean"})
    hub = asrctl(
        "prepare",
        "hub",
        tmp_path / "hub",
        "--config",
        "clean",
        "--train",
        "train.100",
        "--eval",
        "validation",
        "--json",
    )
    folder = asrctl("prepare", "librispeech", librispeech, "--train", "test-other", "--eval", "dev-clean", "--json")
    assert shards(hub.result) == shards(folder.result) != {}
    assert hub.result["vocabulary"] == folder.result["vocabulary"]
    again = asrctl("prepare", tmp_path / "hub", "--config", "clean", "--train", "train.100", "--eval", "validation")
    assert "nothing to do" in again.succeeded().stderr and "corpus of kind hub" in again.stderr


def test_damaged_recordings_are_rejected_and_the_rest_goes_on(asrctl, tmp_path: Path) -> None:
    whole = rows(8)
    odd = {1: b"no recording at all", 3: None, 5: whole[5]["audio"]["bytes"][:300], 6: b""}
    for number, content in odd.items():
        whole[number]["audio"]["bytes"] = content
    write(tmp_path / "set" / "train.parquet", whole)
    done = asrctl("prepare", "hub", tmp_path / "set", *OPTIONS, "--max-rejects", "0.6")
    split = done.result["splits"]
    assert sum(split[role]["utterances"] for role in split) == 4
    listed = [file.read_text(encoding="utf-8") for file in Path(done.result["path"]).glob("*/rejects.jsonl")]
    found = [json.loads(line) for text in listed for line in text.splitlines()]
    assert sorted((reject["id"][-1], reject["reason"]) for reject in found) == [
        ("1", "unreadable"), ("3", "no-audio"), ("5", "unreadable"), ("6", "unreadable"),
    ]  # fmt: skip
    assert asrctl("prepare", "hub", tmp_path / "set", "--name", "other", *OPTIONS).exit_code == 5


def test_a_dry_run_writes_nothing(asrctl, tmp_path: Path, workspace: Path) -> None:
    repository(tmp_path / "set")
    done = asrctl("prepare", "hub", tmp_path / "set", "--dry-run", "--json").succeeded()
    assert {role: split["utterances"] for role, split in done.result["splits"].items()} == {"train": 8, "eval": 4}
    assert not workspace.exists()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ((), 2, "hub needs a data set"),
        (("nowhere/at/all",), 5, "not there"),
        (("{set}", "--revision", "main"), 2, "--revision is of a name on the hub"),
        (("{set}", "--config", "x"), 2, "no configuration 'x'"),
        (("{set}", "--train", "tarin"), 5, "no split tarin (it has train, validation)"),
        (("{set}/README.md",), 5, "a file, not the folder"),
    ],
)
def test_what_makes_no_sense_is_refused(asrctl, tmp_path: Path, words: Any, code: int, says: str) -> None:
    folder = repository(tmp_path / "set")
    done = asrctl("prepare", "hub", *(word.format(set=folder) for word in words), "--json")
    assert done.exit_code == code, done.stderr
    assert says in done.error["message"]


# -- a hub ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of the hub's client, and the workspace."""
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def serving_hub(home: Path) -> Iterator[DataHub]:
    with serving(home / "cache") as served:
        yield served


@pytest.fixture(scope="module")
def _online(serving_hub: DataHub, home: Path) -> Iterator[Callable[..., Any]]:
    with asrctl_with(serving_hub.environment, home) as run:
        yield run


@pytest.fixture(scope="module")
def _offline(serving_hub: DataHub, home: Path) -> Iterator[Callable[..., Any]]:
    with asrctl_with({**serving_hub.environment, "HF_HUB_OFFLINE": "1"}, home) as run:
        yield run


@pytest.fixture
def hub(serving_hub: DataHub) -> DataHub:
    serving_hub.asked.clear()
    return serving_hub


@pytest.fixture
def prepare(_online: Callable[..., Any], home: Path) -> Callable[..., Any]:
    """`asrctl prepare hub ...` against that hub."""
    return lambda *words, **more: _online("prepare", "hub", *words, *OPTIONS, "--workspace", home / "work", **more)


@pytest.fixture
def prepare_offline(_offline: Callable[..., Any], home: Path) -> Callable[..., Any]:
    return lambda *words: _offline("prepare", "hub", *words, *OPTIONS, "--workspace", home / "work")


def test_a_name_is_fetched_once_and_needs_no_hub_again(hub, prepare, prepare_offline, asrctl, tmp_path: Path) -> None:
    name = "somebody/once"
    commit = hub.commit(name, repository(tmp_path / "set"))
    planned = prepare(name, "--train", "train[:50%]", "--dry-run")
    assert set(planned.result["downloads"]) >= {"data/train-00000-of-00002.parquet"}
    assert not any(asked.startswith("GET") and asked.endswith(".parquet") for asked in hub.asked)
    first = prepare(name)
    assert first.result["name"] == "once" and f"--revision {commit}" in first.stderr
    local = asrctl("prepare", "hub", tmp_path / "set", *OPTIONS)
    assert shards(first.result) == shards(local.result)
    hub.asked.clear()
    again = prepare(name, "--revision", commit)
    assert again.result["id"] == first.result["id"] and not again.result["new"]
    assert not any(".parquet" in asked for asked in hub.asked)
    hub.asked.clear()
    for alone in (prepare_offline(name), prepare(name, "--no-download")):
        assert alone.result["id"] == first.result["id"]
    assert not hub.asked


def test_a_branch_that_moved_is_other_data_and_its_commit_the_same(hub, prepare, tmp_path: Path) -> None:
    name = "somebody/moving"
    old = hub.commit(name, repository(tmp_path / "old"))
    first = prepare(name)
    new = hub.commit(name, repository(tmp_path / "new", train=9))
    second = prepare(name)
    assert (first.result["splits"]["train"]["utterances"], second.result["splits"]["train"]["utterances"]) == (8, 9)
    assert new in second.stderr
    assert prepare(name, "--revision", old).result["id"] == first.result["id"]
    # Another commit with the same rows is other data too: the commit is part of its name.
    shutil.copytree(str(tmp_path / "new"), str(tmp_path / "third"))
    (tmp_path / "third" / "LICENSE").write_text("free", encoding="utf-8")
    hub.commit(name, tmp_path / "third")
    third = prepare(name)
    assert third.result["id"] != second.result["id"] and shards(third.result) == shards(second.result)


def test_a_connection_that_breaks_costs_what_is_missing_only(hub, prepare, tmp_path: Path) -> None:
    name = "somebody/breaking"
    commit = hub.commit(name, repository(tmp_path / "set"))
    broken = tmp_path / "set" / "data" / "train-00001-of-00002.parquet"
    hub.forbidden.append(broken.name)
    failed = prepare(name)
    assert failed.exit_code == 4 and broken.name in failed.error["message"]
    assert "what has arrived is kept" in failed.error["fix"]
    hub.forbidden.clear()
    hub.asked.clear()
    hub.breaks[broken.name] = broken.stat().st_size // 2
    done = prepare(name)
    assert done.result["splits"]["train"]["utterances"] == 8 and commit in done.stderr
    assert not any("train-00000" in asked for asked in hub.asked)


REFUSED = {
    "gone": (("nobody/nothing",), "the hub has no data set nobody/nothing", "HF_TOKEN"),
    "revision": (("open/speech", "--revision", "v9"), "has no revision v9", "leave --revision out"),
    "gated": (("closed/speech",), "is gated", "HF_TOKEN"),
    "no download": (("open/speech", "--no-download"), "--no-download", "run without --no-download"),
}


@pytest.fixture
def open_and_closed(hub: DataHub, tmp_path: Path) -> None:
    for name in ("open/speech", "closed/speech"):
        hub.commit(name, tmp_path / "set" if (tmp_path / "set").exists() else repository(tmp_path / "set"))
    hub.gated[:] = ["closed/speech"]


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_can_not_be_fetched_is_told_at_once(hub, prepare, open_and_closed, case: str) -> None:
    words, says, fix = REFUSED[case]
    done = prepare(*words)
    assert done.exit_code == 4, done.stderr
    assert says in done.error["message"] and fix in done.error["fix"]
    assert len(hub.asked) <= 2 and "Traceback" not in done.stderr


def test_without_a_network_what_is_not_here_is_told(hub, prepare_offline, open_and_closed) -> None:
    done = prepare_offline("open/speech")
    assert done.exit_code == 4
    assert "as HF_HUB_OFFLINE says" in done.error["message"] and "unset HF_HUB_OFFLINE" in done.error["fix"]
    assert not hub.asked


def test_a_token_of_the_environment_opens_what_is_gated(hub, prepare, open_and_closed) -> None:
    done = prepare("closed/speech", HF_TOKEN="hf_open_sesame").succeeded()
    assert "sesame" not in done.stdout + done.stderr
    assert "Bearer hf_open_sesame" in hub.tokens


def test_of_a_data_set_made_by_a_program_the_parquet_branch_is_read(hub, prepare, tmp_path: Path) -> None:
    name = "somebody/program"
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "program.py").write_text("raise SystemExit('it ran')", encoding="utf-8")
    hub.commit(name, tmp_path / "program")
    refused = prepare(name)
    assert refused.exit_code == 5 and "program.py" in refused.error["message"]
    for config, count in (("clean", 3), ("other", 2)):
        write(tmp_path / "parquet" / config / "train.100" / "0000.parquet", rows(count))
    hub.commit(name, tmp_path / "parquet", branch="refs/convert/parquet")
    assert "several configurations: clean, other" in prepare(name).error["message"]
    done = prepare(name, "--config", "clean", "--train", "train.100")
    assert sum(split["utterances"] for split in done.result["splits"].values()) == 3
    assert "refs/convert/parquet" in done.stderr
    named = prepare(name, "--config", "clean", "--train", "train.100", "--revision", "refs/convert/parquet")
    assert named.result["id"] == done.result["id"]


def test_recordings_in_a_repository_that_a_table_names(hub, _online, tmp_path: Path) -> None:
    """hf://, with the token that the client has; a data set itself has its own command."""
    (tmp_path / "set").mkdir()
    found = rows(6)
    for row in found:
        (tmp_path / "set" / row["audio"]["path"]).write_bytes(row["audio"]["bytes"])
    hub.commit("closed/clips", tmp_path / "set")
    hub.gated[:] = ["closed/clips"]
    lines = [f"hf://datasets/closed/clips/{row['audio']['path']},{row['text']},train" for row in found]
    table = tmp_path / "clips.csv"
    table.write_text("path,text,split\n" + "\n".join(lines) + "\n", encoding="utf-8")
    words = ("prepare", "manifest", table, "--workspace", tmp_path / "w", "--json")
    refused = _online(*words)
    assert refused.exit_code == 5 and refused.error["fix"].startswith("set HF_TOKEN to a token"), refused.stderr
    done = _online(*words, HF_TOKEN="hf_open_sesame")
    assert done.succeeded().result["splits"]["train"]["rejected"] == 0
