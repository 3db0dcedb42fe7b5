"""asrctl status."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from asrctl.commands.status import status
from asrctl.data import staleness
from asrctl.models.model_files import model_digest
from asrctl.storage import records
from asrctl.storage.checksums import write_sums
from asrctl.storage.workspace import Key, Workspace


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
    place = f" --workspace {workspace}"
    assert result["next"][0] == f"asrctl demo{place}"
    shown = asrctl("status").succeeded().stdout
    assert "is not there yet" in shown
    assert f"next  asrctl prepare folder FOLDER{place}" in shown
    assert not workspace.exists()


def test_a_stage_is_stale_when_what_it_was_made_from_has_changed(asrctl, place):
    old = publish(place, "vocab", "speech", {"splits": ["train"]})
    data = publish(place, "prepared", "speech", summary={"vocabulary": old})
    make_run(place, "r", "complete", data={"name": "speech", "id": data}, steps=10, best={"step": 10, "wer": 0.125})
    result = asrctl("status", "--json").result
    assert items(result) == [("vocab", "speech", "done"), ("prepare", "speech", "done"), ("train", "r", "complete")]
    assert result["next"] == [place.command("eval", "--run", "r")]
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
    assert result["next"] == [place.command("train", "--resume", "--run", "r")]
    with place.lock("run-r"):
        assert items(asrctl("status", "--json").result)[-1] == ("train", "r", "running")


def test_a_build_that_was_stopped_is_seen(asrctl, place):
    (place.root / ".tmp" / "prepared-0123456789ab").mkdir(parents=True)
    assert items(asrctl("status", "--json").result) == [("prepare", "0123456789ab", "interrupted")]


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


def test_what_the_commands_make_is_what_status_sees(asrctl, trained_run, workspace):
    before = asrctl("status", "--json").result
    assert items(before) == [("prepare", "librispeech", "done"), ("train", "tiny", "complete")]
    assert before["next"] == [f"asrctl eval --run tiny --workspace {workspace}"]
    asrctl("eval", "--json").succeeded()
    after = asrctl("status", "--json").result
    assert items(after)[2:] == [("eval", "tiny", "done")]
    assert after["next"] == [f"asrctl export --run tiny --format hf --workspace {workspace}"]
    shown = asrctl("status").succeeded().stdout
    assert "train 48 utterances" in shown
    assert "2 of 2 steps" in shown

    vocabulary = trained_run / "model" / "special_tokens_map.json"
    vocabulary.write_text(vocabulary.read_text() + " ")
    assert items(asrctl("status", "--json").result)[2:] == [("eval", "tiny", "stale")]


def recordings(folder, count):
    folder.mkdir(parents=True)
    for number in range(count):
        soundfile.write(str(folder / f"{number}.wav"), np.arange(8000, dtype=np.int16) + number, 16000)
        (folder / f"{number}.txt").write_text(f"word {'abc'[number % 3]}")
    return folder


def why(result):
    (line,) = [item for item in result["items"] if item["stage"] == "prepare"]
    return line["state"], line["why"]


def test_recordings_that_changed_or_went_make_data_stale(asrctl, in_folder):
    folder = recordings(in_folder / "mine", 12)
    asrctl("prepare", "folder", folder).succeeded()
    assert why(asrctl("status", "--json").result) == ("done", "")

    soundfile.write(str(folder / "3.wav"), np.arange(9000, dtype=np.int16), 16000)
    assert why(asrctl("status", "--json").result) == (
        "stale",
        f"1 of 12 audio files looked at is changed, such as {folder / '3.wav'}",
    )
    asrctl("prepare", "folder", folder).succeeded()
    assert why(asrctl("status", "--json").result) == ("done", "")
    (folder / "3.wav").unlink()
    assert "1 of 12 audio files looked at is gone" in why(asrctl("status", "--json").result)[1]
    asrctl("prepare", "folder", folder, "--max-rejects", 0.1).succeeded()

    recordings(folder / "more", 2)
    assert why(asrctl("status", "--json").result)[1].endswith("holds 24 files and folders, 23 when it was prepared")
    asrctl("prepare", "folder", folder, "--max-rejects", 0.1).succeeded()
    assert why(asrctl("status", "--json").result) == ("done", "")
    shutil.rmtree(str(folder))
    assert why(asrctl("status", "--json").result) == ("stale", f"{folder} is gone")
    assert "asrctl prepare" not in asrctl("train", "--preset", "tiny-cpu", "--dry-run").stderr, (
        "the data are still good"
    )


def test_transcripts_that_changed_make_data_stale(asrctl, in_folder):
    folder = recordings(in_folder / "mine", 12)
    rows = [f"{number}.wav,word {'abc'[number % 3]}" for number in range(12)]
    (recordings(folder / "more", 12) / "metadata.csv").write_text("file_name,text\n" + "\n".join(rows))
    asrctl("prepare", "folder", folder).succeeded()
    assert why(asrctl("status", "--json").result) == ("done", "")

    for path, text in (
        (folder / "5.txt", "word and word"),
        (folder / "more" / "metadata.csv", "file_name,text\n" + "\n".join(["0.wav,word and word", *rows[1:]])),
    ):
        path.write_text(text)
        state, told = why(asrctl("status", "--json").result)
        assert (state, told) == ("stale", f"1 of 13 files of transcripts looked at is changed, such as {path}")
        assert asrctl("prepare", "folder", folder, "--json").result["new"]
        assert why(asrctl("status", "--json").result) == ("done", "")

    (folder / "5.txt").unlink()
    assert "1 of 13 files of transcripts looked at is gone" in why(asrctl("status", "--json").result)[1]


def test_transcripts_of_librispeech_are_looked_at_too(asrctl, in_folder):
    chapter = in_folder / "LibriSpeech" / "dev-clean" / "1" / "2"
    recordings(chapter, 4)
    for number in range(4):
        (chapter / f"{number}.txt").unlink()
    (chapter / "1-2.trans.txt").write_text("".join(f"{number} WORD\n" for number in range(4)))
    asrctl("prepare", "librispeech", in_folder / "LibriSpeech", "--train", "dev-clean").succeeded()
    assert why(asrctl("status", "--json").result) == ("done", "")
    (chapter / "1-2.trans.txt").write_text("".join(f"{number} WORDS\n" for number in range(4)))
    assert "files of transcripts looked at is changed" in why(asrctl("status", "--json").result)[1]


def test_data_prepared_before_transcripts_were_looked_at_are_still_understood(asrctl, in_folder, place):
    folder = recordings(in_folder / "mine", 12)
    asrctl("prepare", "folder", folder).succeeded()
    ref = place.ref("prepared", "mine")
    del ref["source"]["texts"]
    place.set_ref("prepared", "mine", ref["id"], source=ref["source"])
    (folder / "5.txt").write_text("another word")
    assert why(asrctl("status", "--json").result) == ("done", "")


def test_a_list_that_changed_is_told_with_the_command_to_type(asrctl_process, in_folder, workspace, monkeypatch):
    recordings(in_folder / "mine", 12)
    (in_folder / "list.csv").write_text("path,text\n" + "".join(f"mine/{n}.wav,word {n % 3}\n" for n in range(12)))
    words = ("manifest", "list.csv", "--name", "my data", "--json", "--force")
    assert asrctl_process("prepare", *words).exit_code == 2
    asrctl_process("prepare", *words[:3], "mine", *words[4:]).succeeded()
    with open(in_folder / "list.csv", "a") as stream:
        stream.write("mine/0.wav,word 2\n")
    done = asrctl_process("status", "--json").result
    assert why(done) == ("stale", f"{in_folder / 'list.csv'} has changed since")
    again = f"asrctl prepare manifest list.csv --name mine --workspace {workspace}"
    assert done["next"][0] == again
    (in_folder / "elsewhere").mkdir()
    monkeypatch.chdir(in_folder / "elsewhere")
    assert asrctl_process("status", "--json").result["next"][0] == f"cd {in_folder} && {again}"


def test_a_workspace_among_the_recordings_is_none_of_them(asrctl, in_folder):
    folder = recordings(in_folder / "mine", 12)
    place = ("--workspace", folder / "asr-workspace")
    asrctl("prepare", "folder", folder, *place).succeeded()
    assert why(asrctl("status", "--json", *place).result) == ("done", "")


def test_looking_takes_no_longer_for_a_large_corpus(tmp_path):
    watcher = staleness.Watcher(None, tmp_path / "workspace")
    status = tmp_path.stat()
    for number in range(20000):
        watcher.saw(f"/nowhere/{number // 100}/{number}.flac", status)
    written = json.dumps(records.as_dict(watcher.record(["asrctl", "prepare"])))
    record = staleness.checked(json.loads(written), "x")
    assert len(record.audio) == staleness.SAMPLE
    assert len({path.rpartition("/")[0] for path in record.audio}) > staleness.SAMPLE / 2, (
        "they are drawn from all over"
    )
    assert staleness.changes(record).startswith("64 of 64 audio files looked at are gone, such as /nowhere/")


def test_clean_leaves_what_a_run_needs(asrctl, trained_run):
    asrctl("clean", "--yes").succeeded()
    asrctl("eval", "--json").succeeded()
    asrctl("train", "--resume", "--max-steps", "3", "--json").succeeded()


def test_a_look_at_what_is_done_loads_nothing_heavy(place):
    """And reads no weights: they may be gigabytes, and their digests stand beside them."""
    data = publish(place, "prepared", "speech")
    make_run(place, "r", "complete", data={"name": "speech", "id": data}, steps=10)
    model = place.run("r") / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"x")
    write_sums(model)
    publish(place, "evals", None, inputs={"model": model_digest(model)}, summary={"run": "r"})
    code = (
        "import sys\nfrom asrctl.cli.app import main\n"
        f"try:\n    main(['status', '--json', '--workspace', {str(place.root)!r}])\nexcept SystemExit:\n    pass\n"
        "sys.exit(' '.join({'torch', 'numpy', 'pyarrow', 'transformers'} & set(sys.modules)))"
    )
    (model / "model.safetensors").write_bytes(b"y")  # a digest taken now would be another
    os.utime(model / "model.safetensors", ns=(0, 0))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.stderr.decode().strip() == ""
    assert [state for _, _, state in items(json.loads(done.stdout)["result"])] == ["done", "complete", "done"]

    os.utime(model / "model.safetensors")
    assert [item.state for item in status(place).lines][-1] == "stale"
