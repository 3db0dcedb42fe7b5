"""Several prepared data as one: what is drawn, in which order, and what other commands make of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Dict

import pytest
import yaml
from safetensors.numpy import load_file

from asrctl.data.dataset import PreparedData
from asrctl.storage.workspace import Workspace

from ..helpers import tones
from ..helpers.corpora import corpus, plain_rows
from ..helpers.program import copy_workspace, run_here
from ..helpers.typing_in import in_backticks, type_line

PRESET: Dict[str, Any] = dict(
    tones.PRESET, optim=dict(tones.PRESET["optim"], global_batch=4, epochs=4), run={"save_every": 5, "keep": 5}
)
TRAIN = ("train", "--preset", "tones.yaml", "--device", "cpu", "--data", "first,second", "--weights", "4,2")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two small corpora of other letters, prepared in `workspace` with tones.yaml. Read only."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "tones.yaml").write_text(yaml.safe_dump(PRESET), encoding="utf-8")
    for name, train, seed in (("first", 10, 1), ("second", 6, 2)):
        manifest = tones.write_corpus(folder / name, train=train, held_out=2, seed=seed)
        if name == "second":
            head, *rows = manifest.read_text(encoding="utf-8").splitlines()
            rows = [
                ",".join((path, text.replace("a", "d"), split)) for path, text, split in (r.split(",") for r in rows)
            ]
            manifest.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
        words = ("prepare", "manifest", manifest, "--name", name, "--preset", folder / "tones.yaml")
        run_here(*words, "--workspace", folder / "workspace").succeeded()
    return folder


@pytest.fixture(scope="module")
def trained(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the run `straight`, on a mixture without a name. Read only."""
    folder = tmp_path_factory.mktemp("trained")
    copy_workspace(made / "workspace", folder / "workspace")
    words = (*TRAIN[:2], made / "tones.yaml", *TRAIN[3:])
    run_here(*words, "--run", "straight", "--workspace", folder / "workspace").succeeded()
    return folder


@pytest.fixture
def ready(made: Path, workspace: Path, in_folder: Path) -> Path:
    """`workspace` with both corpora prepared, and tones.yaml in the folder that the test runs in."""
    shutil.copy(str(made / "tones.yaml"), str(in_folder))
    return copy_workspace(made / "workspace", workspace)


@pytest.fixture
def after_training(trained: Path, made: Path, workspace: Path, in_folder: Path) -> Path:
    shutil.copy(str(made / "tones.yaml"), str(in_folder))
    return copy_workspace(trained / "workspace", workspace)


def opened(workspace: Path, name: str) -> PreparedData:
    return PreparedData(Workspace(workspace).resolve("prepared", name, fix=""))


def weights(run: Path) -> Dict[str, Any]:
    newest = max((run / "checkpoints").glob("step-*"))
    return load_file(str(newest / "model.safetensors"))


def test_a_mixture_holds_its_parts_without_copying_them(ready, asrctl):
    result = asrctl("prepare", "mix", "first=2", "second=1", "--name", "both", "--json").succeeded().result
    assert [(part["name"], part["utterances"], part["per_epoch"]) for part in result["parts"]] == [
        ("first", 10, 11),
        ("second", 6, 5),
    ]
    assert not list(Path(result["path"]).rglob("*.arrow"))
    data = opened(ready, "both")
    vocabulary = data.vocabulary()
    assert set("abcd") <= set(vocabulary.tokens)
    for name, count in (("train", 16), ("eval", 4)):
        split = data.split(name)
        assert len(split) == count
        assert len({item.id for item in split}) == count
        for item in split:
            part, _, own = item.id.partition("/")
            theirs = next(other for other in opened(ready, part).split(name) if other.id == own)
            assert vocabulary.text(vocabulary.tokens[label] for label in item.labels) == item.text == theirs.text
            assert (item.pcm == theirs.pcm).all()


def test_equal_weights_are_the_same_mixture_with_and_without_a_name(after_training, asrctl):
    named = asrctl("prepare", "mix", "first=2", "second=1", "--name", "both", "--json").succeeded().result
    run = json.loads((after_training / "runs" / "straight" / "run.json").read_text(encoding="utf-8"))
    assert run["data"] == {"name": "first,second", "id": named["id"], "content": opened(after_training, "both").content}
    assert named["new"] is False
    again = asrctl(*TRAIN[:5], "--data", "both", "--if-new", "--json").succeeded().result
    assert (again["run"], again["new"]) == ("straight", False)
    other = asrctl(*TRAIN[:7], "--temperature", "2", "--if-new", "--dry-run", "--json").succeeded().result
    assert other["new"] is True


def test_a_dry_run_writes_nothing_and_names_the_data_that_will_be(ready, asrctl):
    before = sorted(ready.rglob("*"))
    planned = asrctl(*TRAIN, "--dry-run", "--json").succeeded().result
    mixed = asrctl("prepare", "mix", "first=2", "second=1", "--dry-run", "--json").succeeded().result
    assert planned["data"] == {"name": "first,second", "id": mixed["id"]}
    assert sorted(ready.rglob("*")) == before


def test_resumed_it_is_bit_for_bit_the_straight_run(after_training, asrctl):
    run = after_training / "runs" / "straight"
    straight = weights(run)
    *older, newest = sorted((run / "checkpoints").glob("step-*"))
    for path in (*older[1:], newest):
        shutil.rmtree(str(path))
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    (run / "run.json").write_text(json.dumps(dict(record, state="interrupted")), encoding="utf-8")
    asrctl("train", "--resume", "--run", "straight").succeeded()
    resumed = weights(run)
    assert max((run / "checkpoints").glob("step-*")).name == newest.name
    assert straight.keys() == resumed.keys()
    assert all((straight[name] == resumed[name]).all() for name in straight)


def test_eval_export_and_clean_know_its_parts(after_training, asrctl):
    result = asrctl("eval", "--json").succeeded().result
    lines = Path(result["hypotheses"]).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"].partition("/")[0] for line in lines] == ["first"] * 2 + ["second"] * 2
    asrctl("export", "--format", "hf", "--output", "exported").succeeded()
    for name in ("first", "second"):
        (after_training / "refs" / "prepared" / f"{name}.json").unlink()
    asrctl("clean", "unreferenced", "--yes").succeeded()
    assert asrctl("eval", "--force", "--json").succeeded().result["wer"] == result["wer"]


def test_a_part_that_was_prepared_again_is_told_and_mixing_again_mends_it(ready, made, asrctl):
    asrctl("prepare", "mix", "first=2", "second=1", "--name", "both").succeeded()
    words = ("prepare", "manifest", made / "first" / "tones.csv", "--name", "first", "--preset", "tones.yaml")
    asrctl(*words, "--max-s", "0.9", "--max-rejects", "1").succeeded()
    status = asrctl("status", "--json").succeeded().result
    line = next(item for item in status["items"] if item["name"] == "both")
    assert (line["state"], line["why"]) == ("stale", "the part first was prepared again since")
    assert line["details"]["command"] in status["next"]
    before = opened(ready, "both").artifact.id
    type_line(line["details"]["command"])
    assert opened(ready, "both").artifact.id != before


def test_a_part_that_holds_other_speech_under_its_id_is_refused(ready, asrctl):
    asrctl("prepare", "mix", "first", "second", "--name", "both").succeeded()
    path = opened(ready, "first").artifact.path / "meta.json"
    meta = json.loads(path.read_text(encoding="utf-8"))
    meta["files"]["train/shard-00000.arrow"] = "0" * 64
    path.write_text(json.dumps(meta), encoding="utf-8")
    error = asrctl("train", "--preset", "tones.yaml", "--data", "both", "--json").error
    assert "was made again and holds other speech" in error["message"]


@pytest.mark.parametrize(
    "words, told",
    [
        (("prepare", "mix", "first"), "one is named"),
        (("prepare", "mix", "first=1", "first=2"), "named twice"),
        (("prepare", "mix", "first=1", "nobody=2"), "no prepared data called 'nobody'"),
        (("prepare", "mix", "first=0", "second=1"), "'0' is no weight"),
        (("prepare", "mix", "first=1", "second=-2"), "'-2' is no weight"),
        (("prepare", "mix", "first=1", "second=nan"), "'nan' is no weight"),
        (("prepare", "mix", "first=1", "second"), "second has no weight"),
        (("prepare", "mix", "first=100000", "second=1"), "of second nothing would be drawn"),
        (("prepare", "mix", "first=1", "second=1", "--temperature", "2"), "exclude each other"),
        (("prepare", "mix", "first", "second", "--name", "first"), "is a part of the mixture"),
        (("train", "--data", "first,second", "--weights", "1"), "2 parts (first, second) and 1 weight"),
        (("train", "--data", "first", "--weights", "1"), "--data does not name several"),
        (("train", "--temperature", "2"), "--data does not name several"),
    ],
)
def test_what_makes_no_mixture_is_refused(ready, asrctl, words, told):
    assert told in asrctl(*words, "--json").error["message"]


def test_mixtures_of_mixtures_and_data_for_evaluation_are_refused(ready, asrctl):
    asrctl("prepare", "mix", "first", "second", "--name", "both").succeeded()
    error = asrctl("prepare", "mix", "both=1", "second=1", "--json").error
    assert "is a mixture itself" in error["message"] and "first, second" in error["fix"]
    rows = plain_rows(3, "test")
    asrctl("prepare", "manifest", corpus(Path("judging"), rows), "--name", "judging", "--test", "test").succeeded()
    error = asrctl("prepare", "mix", "first", "judging", "--json").error
    assert "no split for training" in error["message"]


@pytest.mark.parametrize("options", [("--case", "upper"), ("--sample-rate", "8000")], ids=lambda words: words[0])
def test_parts_by_other_rules_are_refused_with_a_command_that_mends_it(ready, asrctl, options):
    manifest = corpus(Path("third"), plain_rows(4) + plain_rows(2, "eval"))
    asrctl("prepare", "manifest", manifest, "--name", "third", *options).succeeded()
    error = asrctl("prepare", "mix", "first", "third", "--json").error
    (line,) = in_backticks(error["fix"])
    type_line(line)
    asrctl("prepare", "mix", "first", "third").succeeded()


def test_a_vocabulary_that_was_given_is_for_all_parts_or_none(ready, asrctl):
    tokens = ["[PAD]", "<s>", "</s>", "[UNK]", "|", *"abcdeorw"]
    Path("checkpoint").mkdir()
    Path("checkpoint/vocab.json").write_text(json.dumps({token: place for place, token in enumerate(tokens)}))
    manifest = corpus(Path("third"), plain_rows(4) + plain_rows(2, "eval"))
    asrctl("vocab", "manifest", manifest, "--from", "checkpoint", "--name", "theirs").succeeded()
    asrctl("prepare", "manifest", manifest, "--name", "third", "--vocab", "theirs").succeeded()
    asrctl("prepare", "manifest", corpus(Path("fourth"), plain_rows(3)), "--name", "fourth").succeeded()
    error = asrctl("prepare", "mix", "fourth", "third", "--json").error
    assert "a vocabulary that was given to it" in error["message"]
    (line,) = in_backticks(error["fix"])
    type_line(line).succeeded()
    asrctl("prepare", "mix", "fourth", "third", "--name", "both").succeeded()
    assert opened(ready, "both").vocabulary().tokens == tuple(tokens)


def test_characters_without_a_label_in_their_part_are_told(ready, asrctl):
    odd = {"path": "odd.wav", "text": "word z", "split": "train"}
    asrctl("vocab", "manifest", corpus(Path("few"), plain_rows(4)), "--name", "few").succeeded()
    manifest = corpus(Path("third"), [*plain_rows(40), odd])
    asrctl("prepare", "manifest", manifest, "--name", "third").succeeded()
    asrctl("prepare", "manifest", manifest, "--name", "fourth", "--vocab", "few").succeeded()
    told = asrctl("prepare", "mix", "third", "fourth").succeeded().stderr
    assert "1 character of fourth had no label" in told
    assert "of third had no label" not in told


def test_parts_may_be_of_several_languages(ready, asrctl):
    rows = [dict(row, text="KIRIK") for row in plain_rows(4)]
    manifest = corpus(Path("third"), rows)
    asrctl("prepare", "manifest", manifest, "--name", "third", "--language", "tr").succeeded()
    asrctl("prepare", "mix", "first", "third", "--name", "both").succeeded()
    data = opened(ready, "both")
    train = data.split("train")
    assert [train.raw_texts()(index) for index in (0, len(train) - 1)] == [None, "KIRIK"]
    assert "\N{LATIN SMALL LETTER DOTLESS I}" in data.vocabulary().tokens
    assert "language" not in data.summary.text
