"""Artifacts, names and locks of a workspace; tests/faults kills what happens in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asrctl.errors import BadData, Locked, MissingArtifact, UsageError
from asrctl.storage.workspace import Key, Workspace


@pytest.fixture
def place(workspace: Path) -> Workspace:
    return Workspace(workspace)


def publish(place: Workspace, text: str = "x", *, kind: str = "vocab", **options: Any) -> Key:
    key = Key(kind, 1, parameters={"text": text})
    with place.publish(key, **options) as draft:
        if draft.published is None:
            (draft.path / "vocab.json").write_text(text)
            draft.summary["text"] = text
    return key


def left(place: Workspace) -> "list[str]":
    """What lies in .tmp, but for locks."""
    return sorted(path.name for path in (place.root / ".tmp").iterdir() if path.suffix != ".lock")


# -- artifacts --------------------------------------------------------------------------------------------------------


def test_an_id_is_made_of_what_an_artifact_is_made_from():
    base = Key("vocab", 1, {"a": 1, "b": 2}, {"corpus": "abc"})
    assert base.id == Key("vocab", 1, {"b": 2, "a": 1}, {"corpus": "abc"}).id
    others = [
        Key("lm", 1, {"a": 1, "b": 2}, {"corpus": "abc"}),
        Key("vocab", 2, {"a": 1, "b": 2}, {"corpus": "abc"}),
        Key("vocab", 1, {"a": 1, "b": 3}, {"corpus": "abc"}),
        Key("vocab", 1, {"a": 1, "b": 2}, {"corpus": "abd"}),
    ]
    assert len({base.id, *(key.id for key in others)}) == 5
    assert base.id == "9b0741185612", "artifacts made by earlier versions must be found"


def test_looking_writes_nothing(place):
    assert place.find("vocab", "0") is None and place.all("vocab") == [] and place.names("vocab") == {}
    assert place.latest("vocab") is None and place.runs() == [] and place.last_sequence() == 0
    assert not place.root.exists()


def test_what_is_published_is_found_with_its_files_and_summary(place):
    key = publish(place)
    found = place.find("vocab", key.id)
    assert found is not None and (found.path / "vocab.json").read_text() == "x"
    assert found.summary == {"text": "x"}
    assert list(found.meta["files"]) == ["vocab.json"]
    assert [artifact.id for artifact in place.all("vocab")] == [key.id]
    assert left(place) == []


def test_a_block_that_fails_publishes_nothing(place):
    key = Key("vocab", 1)
    for keep in (False, True):
        with pytest.raises(ZeroDivisionError):
            with place.publish(key, keep_partial=keep) as draft:
                (draft.path / "vocab.json").write_text("half")
                raise ZeroDivisionError
        assert place.find("vocab", key.id) is None
        assert bool(left(place)) == keep, "what is kept is there for the next try"
    with place.publish(key, keep_partial=True) as draft:
        assert (draft.path / "vocab.json").read_text() == "half"
    assert place.find("vocab", key.id) is not None and left(place) == []


def test_what_is_there_already_is_not_made_again_unless_it_shall_be_replaced(place):
    key = publish(place)
    with place.publish(key) as draft:
        assert draft.artifact.id == key.id
    with place.publish(key, replace=True) as draft:
        assert draft.published is None
        with pytest.raises(RuntimeError):
            _ = draft.artifact
        (draft.path / "other").write_text("new")
        assert (place.folder("vocab", key.id) / "vocab.json").exists(), "the old one stays until the new one is whole"
    assert [path.name for path in place.folder("vocab", key.id).iterdir() if path.name != "meta.json"] == ["other"]


def test_nothing_of_somebody_else_is_replaced(place):
    key = publish(place)
    (place.folder("vocab", key.id) / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        publish(place, replace=True)
    assert (place.folder("vocab", key.id) / "notes.txt").read_text() == "mine"


def test_a_damaged_description_is_told(place):
    key = publish(place)
    meta = place.folder("vocab", key.id) / "meta.json"
    for text in ("", "[]", '{"files": 3}'):
        meta.write_text(text)
        with pytest.raises(BadData, match=r"meta\.json"):
            place.find("vocab", key.id)
    publish(place, replace=True)
    assert place.find("vocab", key.id) is not None, "and made anew where that is asked for"


# -- names ------------------------------------------------------------------------------------------------------------


def test_a_name_an_id_and_the_latest_mean_an_artifact(place):
    first, second = publish(place, "1"), publish(place, "2")
    place.set_ref("vocab", "mine", first.id, corpus="c")
    place.set_ref("vocab", "other", second.id)
    for name, key in (("mine", first), ("other", second), (first.id, first), (None, second)):
        assert place.resolve("vocab", name, fix="-").id == key.id
    place.set_ref("vocab", "mine", second.id, latest=False)
    assert place.resolve("vocab", "mine", fix="-").id == second.id
    assert place.latest("vocab") == {"name": "other", "id": second.id}
    assert place.ref("vocab", "other") == {"id": second.id}
    assert place.names("vocab") == {"mine": second.id, "other": second.id}


def test_a_name_that_is_not_there_is_answered_with_those_that_are(place):
    with pytest.raises(MissingArtifact, match="holds no vocabulary yet"):
        place.resolve("vocab", None, fix="make one")
    place.set_ref("vocab", "english", publish(place).id)
    with pytest.raises(MissingArtifact, match=r"known: english") as refused:
        place.resolve("vocab", "englsh", fix="make one")
    assert "english" in refused.value.fix and "make one" in refused.value.fix


@pytest.mark.parametrize("identity", ["../vocab", "..", "", "a/b", 3, None])
def test_a_name_can_not_lead_elsewhere(place, identity):
    place.create()
    path = place.root / "refs" / "vocab" / "mine.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"id": identity}))
    with pytest.raises(BadData, match="does not name an artifact"):
        place.resolve("vocab", "mine", fix="-")


@pytest.mark.parametrize("name", ["", ".hidden", "-option", "a/b", "..", "a b", "x" * 200])
def test_names_that_can_not_be_file_names_are_refused(place, name):
    with pytest.raises(UsageError):
        place.set_ref("vocab", name, "0")
    with pytest.raises(UsageError):
        place.run(name)


# -- the workspace itself ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marker", "error"),
    [("", BadData), ("[]", BadData), ('{"schema": "1"}', BadData), ('{"schema": 99}', BadData)],
)
def test_a_marker_that_is_not_ours_is_refused(workspace, marker, error):
    workspace.mkdir()
    (workspace / "workspace.json").write_text(marker)
    with pytest.raises(error):
        Workspace(workspace)


def test_a_file_is_no_workspace(workspace):
    workspace.write_text("")
    with pytest.raises(UsageError, match="is not a folder"):
        Workspace(workspace)


def test_a_link_that_leads_out_of_it_is_not_written_through(place, tmp_path):
    place.create()
    (tmp_path / "elsewhere").mkdir()
    (place.root / "vocab").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadData, match="leads out of the workspace"):
        publish(place)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_outputs_may_lie_in_it_but_not_among_what_it_keeps(place, tmp_path):
    place.create()
    assert place.refuse_managed(place.root / "mine")
    assert not place.refuse_managed(tmp_path / "elsewhere")
    for path in (place.root, place.root.parent, place.root / "runs" / "x", place.root / "Vocab" / "x"):
        with pytest.raises(UsageError):
            place.refuse_managed(path)


# -- runs and locks ---------------------------------------------------------------------------------------------------


def run(place: Workspace, name: str, text: str) -> None:
    place.run(name).mkdir(parents=True)
    (place.run(name) / "run.json").write_text(text)


def test_runs_come_in_the_order_in_which_they_were_started(place):
    for name, number in (("b", 1), ("a", 3), ("c", 2)):
        run(place, name, json.dumps({"sequence": number}))
    (place.root / "runs" / "unfinished").mkdir()
    assert [path.name for path in place.runs()] == ["b", "c", "a"]
    assert place.last_sequence() == 3
    run(place, "damaged", "{")
    assert [path.name for path in place.runs()] == ["damaged", "b", "c", "a"]
    with pytest.raises(BadData):
        place.runs(strict=True)


def test_a_lock_is_held_by_one(place):
    place.create()
    with place.lock("run-x"):
        with pytest.raises(Locked, match="process"):
            with Workspace(place.root).lock("run-x"):
                pass
        with place.lock("run-y"):
            pass
    with place.lock("run-x"):
        pass
