"""asrctl status."""

import json

import pytest

from asrctl.workspace import Key, Workspace


@pytest.fixture
def place(workspace):
    return Workspace(workspace)


def publish(workspace, kind, name, parameters=None, inputs=None, summary=None):
    key = Key(kind, 1, parameters=parameters or {}, inputs=inputs or {})
    with workspace.publish(key) as draft:
        (draft.path / "file").write_text("x" * 1000)
        draft.summary = summary or {}
    if name is not None:
        workspace.set_ref(kind, name, key.id)
    return key.id


def make_run(workspace, name, state, **values):
    run = workspace.run(name)
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"schema": 1, "name": name, "state": state, **values}))


def items(result):
    return [(item["stage"], item["name"], item["state"]) for item in result["items"]]


def test_an_empty_folder_is_told_where_to_begin(asrctl, workspace):
    result = asrctl("status", "--json").result
    assert (result["items"], result["exists"]) == ([], False)
    assert result["next"][0] == "asrctl demo"
    shown = asrctl("status").succeeded().stdout
    assert "is not there yet" in shown
    assert "next  asrctl prepare folder my-recordings/" in shown
    assert not workspace.exists()


def test_a_stage_is_stale_when_what_it_was_made_from_has_changed(asrctl, place):
    old = publish(place, "vocab", "speech", {"splits": ["train"]})
    data = publish(place, "prepared", "speech", summary={"vocabulary": old})
    make_run(place, "r", "complete", data={"name": "speech", "id": data}, steps=10, best={"step": 10, "wer": 0.125})
    result = asrctl("status", "--json").result
    assert items(result) == [("vocab", "speech", "done"), ("prepare", "speech", "done"), ("train", "r", "complete")]
    assert result["next"] == ["asrctl eval --run r"]
    assert "best WER 12.50 %" in asrctl("status").succeeded().stdout

    publish(place, "vocab", "speech", {"splits": ["train", "eval"]})
    result = asrctl("status", "--json").result
    assert items(result)[1] == ("prepare", "speech", "stale")
    assert result["items"][1]["why"] == "the vocabulary 'speech' was built again since"

    publish(place, "prepared", "speech", inputs={"vocab": "another"}, summary={"vocabulary": "another"})
    result = asrctl("status", "--json").result
    assert items(result)[2] == ("train", "r", "stale")
    assert "prepared again" in result["items"][2]["why"]


def test_a_run_whose_process_is_gone_can_be_resumed(asrctl, place):
    data = publish(place, "prepared", "speech")
    make_run(place, "r", "running", data={"name": "speech", "id": data})
    result = asrctl("status", "--json").result
    assert items(result)[-1] == ("train", "r", "killed")
    assert result["next"] == ["asrctl train --resume --run r"]
    with place.lock("run-r"):
        assert items(asrctl("status", "--json").result)[-1] == ("train", "r", "running")


def test_a_build_that_was_stopped_is_seen(asrctl, place):
    (place.root / ".tmp" / "prepared-0123456789ab").mkdir(parents=True)
    assert items(asrctl("status", "--json").result) == [("prepare", "0123456789ab", "killed")]


def test_damage_is_told_with_its_fix(asrctl, place):
    identity = publish(place, "prepared", "speech")
    (place.folder("prepared", identity) / "meta.json").write_text("{")
    result = asrctl("status", "--json")
    assert result.exit_code == 5
    assert "meta.json" in result.error["message"]
    assert result.error["fix"] == "delete that folder and run the stage again"


def test_the_disk_in_use_is_told_by_kind(asrctl, place):
    publish(place, "prepared", "speech")
    (place.cache("features") / "blob").write_bytes(b"0" * 5000)
    disk = asrctl("status", "--json").result["disk"]
    assert disk["cache"] == 5000
    assert disk["prepared"] > 1000
    assert disk["total"] == sum(count for name, count in disk.items() if name != "total")
    assert "cache 5.0 kB" in asrctl("status").succeeded().stdout


def test_what_the_commands_make_is_what_status_sees(asrctl, trained_run):
    before = asrctl("status", "--json").result
    assert items(before) == [("prepare", "librispeech", "done"), ("train", "tiny", "complete")]
    assert before["next"] == ["asrctl eval --run tiny"]
    asrctl("eval", "--json").succeeded()
    after = asrctl("status", "--json").result
    assert items(after)[2:] == [("eval", "tiny", "done")]
    assert after["next"] == ["asrctl export --run tiny --format hf"]
    shown = asrctl("status").succeeded().stdout
    assert "train 98 utterances" in shown
    assert "2 of 2 steps" in shown

    vocabulary = trained_run / "model" / "special_tokens_map.json"
    vocabulary.write_text(vocabulary.read_text() + " ")
    assert items(asrctl("status", "--json").result)[2:] == [("eval", "tiny", "stale")]


def test_clean_leaves_what_a_run_needs(asrctl, trained_run):
    asrctl("clean", "--yes").succeeded()
    asrctl("eval", "--json").succeeded()
    asrctl("train", "--resume", "--max-steps", "3", "--json").succeeded()
