"""asrctl clean: shows first, deletes only what nothing leads to and nobody uses."""

import json

import pytest
import torch

from asrctl.storage import scratch
from asrctl.storage.workspace import Key, Workspace
from asrctl.training import checkpoints
from asrctl.training.trainer_state import TrainerState


def publish(workspace, kind, name=None, inputs=None, text="x" * 1000):
    """An artifact of our own making, named if `name` is given: its folder."""
    key = Key(kind, 1, parameters={"text": text}, inputs=inputs or {})
    with workspace.publish(key) as draft:
        (draft.path / "file").write_text(text)
    if name is not None:
        workspace.set_ref(kind, name, key.id)
    return workspace.folder(kind, key.id)


def make_run(workspace, name, state, **values):
    run = workspace.run(name)
    for step in (10, 20, 100):
        weights = {"weight": torch.zeros(step)}
        checkpoints.save(run / "checkpoints", step, model=weights, optimizer=weights, state=TrainerState())
    (run / "run.json").write_text(json.dumps({"schema": 1, "name": name, "state": state, **values}))
    return run


@pytest.fixture
def place(workspace):
    made = Workspace(workspace)
    made.create()
    return made


def found(result):
    return {(item["what"], item["path"]) for item in result["removable"]}


def test_an_empty_folder_has_nothing_to_clean(asrctl, workspace):
    result = asrctl("clean", "--json").result
    assert (result["removable"], result["bytes"], result["deleted"]) == ([], 0, False)
    assert not workspace.exists()


def test_a_folder_that_is_no_workspace_is_left_alone(asrctl, workspace):
    """A wrong $ASRCTL_WORKSPACE must not cost a project its own cache/ or .tmp/."""
    for name in ("cache/x/f", "cache/features/f", "prepared/mine/data", ".tmp/y", ".tmp/z/y", "src/.swap.tmp"):
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / name).write_text("mine")
    result = asrctl("clean", "--yes", "--json").succeeded().result
    assert (result["removable"], result["freed_bytes"]) == ([], 0)
    assert len([path for path in workspace.rglob("*") if path.is_file()]) == 6


def test_a_workspace_in_somebodys_project_takes_only_its_own(asrctl, place):
    (place.cache("stat") / "stat.sqlite").write_text("ours")
    theirs = ("cache/x/f", "prepared/mine/data", "src/.swap.tmp", ".editor.tmp")
    for name in theirs:
        (place.root / name).parent.mkdir(parents=True, exist_ok=True)
        (place.root / name).write_text("mine")
    asrctl("clean", "--yes").succeeded()
    assert all((place.root / name).exists() for name in theirs)
    assert not (place.root / "cache" / "stat").exists()


def test_it_shows_first_and_deletes_when_told(asrctl, place):
    (place.cache("ipu") / "blob").write_bytes(b"0" * 5000)
    shown = asrctl("clean").succeeded()
    assert "5.0 kB" in shown.stdout
    assert "asrctl clean --yes" in shown.stdout
    assert (place.root / "cache" / "ipu" / "blob").exists()
    result = asrctl("clean", "--yes", "--json").result
    assert (result["deleted"], result["freed_bytes"]) == (True, 5000)
    assert not (place.root / "cache" / "ipu").exists()


def test_what_a_name_or_a_run_leads_to_stays(asrctl, place):
    vocabulary = publish(place, "vocab", text="a")
    named = publish(place, "prepared", name="speech", inputs={"vocabulary": vocabulary.name})
    used = publish(place, "prepared", text="used")
    make_run(place, "r", "interrupted", data={"name": "speech", "id": used.name})
    superseded = publish(place, "prepared", text="old")
    evaluation = publish(place, "evals")
    result = asrctl("clean", "--yes", "--json").result
    assert found(result) == {("unreferenced", str(superseded))}
    assert [path.exists() for path in (vocabulary, named, used, evaluation, superseded)] == [True] * 4 + [False]


def test_of_a_complete_run_the_last_checkpoint_stays(asrctl, place):
    complete = make_run(place, "done", "complete")
    interrupted = make_run(place, "half", "interrupted")
    asrctl("clean", "checkpoints", "--yes").succeeded()
    assert [path.name for path in (complete / "checkpoints").iterdir()] == ["step-00000100"]
    assert len(list((interrupted / "checkpoints").iterdir())) == 3


@pytest.mark.parametrize("damaged, kept", [((100,), [20]), ((20, 100), [10]), ((10,), [100]), ((10, 20, 100), None)])
def test_of_a_complete_run_the_last_whole_checkpoint_stays(asrctl, place, damaged, kept):
    """Else it could never be resumed; where none is whole, somebody should look first."""
    folder = make_run(place, "done", "complete") / "checkpoints"
    for step in damaged:
        weights = checkpoints.path_of(folder, step) / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    asrctl("clean", "--yes").succeeded()
    assert checkpoints.steps(folder) == (kept or [10, 20, 100])


def test_leftovers_of_dead_builds_go(asrctl, place):
    place.create()
    half = place.root / ".tmp" / "prepared-0123456789ab"
    half.mkdir(parents=True)
    (half / "shard").write_bytes(b"0" * 100)
    unsealed = place.root / "vocab" / "0123456789ab"
    unsealed.mkdir(parents=True)
    file = place.root / "refs" / ".x.json.123.tmp"
    file.parent.mkdir()
    file.write_text("{")
    result = asrctl("clean", "unfinished", "--yes", "--json").result
    assert found(result) == {("unfinished", str(path)) for path in (half, unsealed, file)}
    assert not any(path.exists() for path in (half, unsealed, file))


def test_what_is_locked_stays(asrctl, place):
    half = place.root / ".tmp" / "prepared-0123456789ab"
    half.mkdir(parents=True)
    (place.cache("ipu") / "blob").write_bytes(b"0")
    superseded = publish(place, "prepared", text="old")
    with place.lock("prepared-0123456789ab"):
        result = asrctl("clean", "--yes", "--json").result
        assert (result["removable"], result["held"]) == ([], ["prepared-0123456789ab"])
    assert half.exists()
    assert superseded.exists()
    asrctl("clean", "--yes").succeeded()
    assert not half.exists()
    assert not superseded.exists()


def test_the_scratch_of_a_running_command_stays(asrctl, place):
    with scratch.folder(place) as folder:
        result = asrctl("clean", "--yes", "--json").result
        assert (result["removable"], result["held"]) == ([], [folder.name])
        assert folder.exists()


def test_a_wrong_word_is_refused(asrctl):
    result = asrctl("clean", "everything", "--json")
    assert result.exit_code == 2
    assert "cache, unfinished, unreferenced, checkpoints" in result.error["fix"]
