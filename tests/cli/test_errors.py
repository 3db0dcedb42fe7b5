"""What goes wrong on the command line and around it: one sentence, one fix, the right exit code, one JSON document."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from asrctl import errors
from asrctl.cli import progress
from asrctl.cli.report import Output, session

from ..helpers.stops import HANGS_S


@pytest.mark.parametrize(
    ("arguments", "message", "fix"),
    [
        (["trian"], "there is no command 'trian'", "did you mean train? `asrctl --help` lists all"),
        (["xyzzy"], "there is no command 'xyzzy'", "`asrctl --help` lists all"),
        (["--hepl"], "there is no option --hepl", "did you mean --help? `asrctl --help` lists all"),
        (["clean", "--yess"], "there is no option --yess", "did you mean --yes? `asrctl clean --help` lists all"),
        (["presets", "shwo"], "there is no command 'shwo'", "did you mean show? `asrctl presets --help` lists all"),
        (["presets", "show"], "missing argument 'NAME'", "`asrctl presets show --help` shows what it takes"),
        (["-w", "x"], "no command is named", "`asrctl --help` lists all"),
    ],
)
def test_a_wrong_command_line_says_what_was_meant(asrctl, arguments, message, fix):
    result = asrctl(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"error: {message}\nfix: {fix}\n"
    asked_for_json = asrctl(*arguments, "--json")
    assert asked_for_json.exit_code == 2
    assert asked_for_json.error == {"kind": "usage", "message": message, "fix": fix, "problems": []}


TYPING_ERRORS = [
    (("--device", "gpu"), "there is no device 'gpu'", "use one of auto, cpu, cuda, mps, ipu, ipu-emulated"),
    (("--device", "CPU"), "there is no device 'CPU'", "did you mean cpu? The choices are"),
    (("--run", "../x"), "'../x' can not be used as a run name", "use letters, digits"),
    (("--from-run", "a/b"), "'a/b' can not be used as a run name", "use letters, digits"),
    (("--precision", "fp8"), "there is no precision 'fp8'", "use one of fp32, bf16"),
    (("--format", "tflite"), "there is no export format 'tflite'", "use one of hf, onnx"),
]
TAKES = {
    ("train", "--preset", "tiny-cpu"): ("--device", "--run", "--from-run"),
    ("train", "--resume"): ("--device", "--run"),
    ("eval",): ("--device", "--run", "--precision"),
    ("eval", "--dry-run"): ("--device", "--run", "--precision"),
    ("export",): ("--run", "--format"),
}


@pytest.mark.parametrize(("typed", "message", "fix"), TYPING_ERRORS, ids=lambda value: value[0])
def test_a_typing_error_is_told_before_what_is_missing(asrctl, typed, message, fix):
    for words in (words for words, options in TAKES.items() if typed[0] in options):
        refused = asrctl(*words, *typed, "--json")
        assert (refused.exit_code, refused.error["message"]) == (2, message)
        assert refused.error["fix"].startswith(fix)


def run_body(body, output=Output(json=True)):
    """A session around `body`: the exit code with which it leaves."""
    with pytest.raises(SystemExit) as leaving, session("test", output) as report:
        body(report)
    return leaving.value.code


def raiser(problem):
    def body(report):
        raise problem

    return body


@pytest.mark.parametrize(
    ("problem", "code", "kind"),
    [
        (errors.PresetError("wrong.", fix="right."), 3, "preset"),
        (errors.MissingArtifact("wrong.", fix="right."), 4, "missing"),
        (errors.BadData("wrong.", fix="right."), 5, "data"),
        (errors.DeviceError("wrong.", fix="right."), 6, "device"),
        (errors.Locked("wrong.", fix="right."), 7, "locked"),
        (errors.Diverged("wrong.", fix="right."), 9, "diverged"),
        (OSError(28, "No space left on device", "/x"), 5, "storage"),
        (PermissionError(13, "Permission denied", "/x"), 5, "storage"),
        (MemoryError(), 6, "device"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ValueError("our own fault"), 1, "bug"),
    ],
)
def test_every_failure_is_one_document_and_an_exit_code(capsys, problem, code, kind):
    assert run_body(raiser(problem)) == code
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert (document["schema"], document["command"], document["ok"]) == (1, "test", False)
    assert document["error"]["kind"] == kind
    assert document["error"]["fix"]
    assert ("Traceback" in err) == (kind == "bug")


def test_problems_are_told_one_by_one(capsys):
    error = errors.BadData("two files are broken.", fix="mend them.", problems=["a.wav", "b.wav"])
    assert run_body(raiser(error), Output()) == 5
    assert capsys.readouterr() == ("", "error: two files are broken.\n  - a.wav\n  - b.wav\nfix: mend them.\n")


def test_a_quality_gate_shows_its_number_too(capsys):
    def body(report):
        report.done({"wer": 0.5}, lines=["WER 50 %"])
        raise errors.QualityGate("too many errors.", fix="train longer.")

    assert run_body(body) == 8
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["result"]) == (False, {"wer": 0.5})
    assert run_body(body, Output()) == 8
    assert capsys.readouterr().out == "WER 50 %\n"


def test_what_libraries_print_does_not_spoil_the_document(capsys):
    with session("test", Output(json=True)) as report:
        print("a library talks")
        report.done({"n": 1})
    out, err = capsys.readouterr()
    assert json.loads(out)["result"] == {"n": 1}
    assert err == "a library talks\n"


# A process that says when it has started, and then waits for a signal.
WAITING = """
import signal, sys
from asrctl.cli.report import Output, session
from asrctl.cli.signals import interruptible
{before}
with interruptible(), session("test", Output(json=True)) as report:
    try:
        sys.stderr.write("ready\\n"); sys.stderr.flush()
        {wait}
    except KeyboardInterrupt:
        {then}
    report.done({{}})
"""


def waiting(before="", wait="signal.pause()", then="raise"):
    code = WAITING.format(before=before, wait=wait, then=then)
    # Its own open stdin: where ours is /dev/null, as under CI, reading it would end the wait at once.
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", code], encoding="utf-8", **streams)
    assert process.stderr.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_an_interruption(number):
    # Under nohup the tests themselves ignore SIGHUP, and what is ignored is inherited.
    process = waiting(before=f"signal.signal({int(number)}, signal.SIG_DFL)")
    process.send_signal(number)
    out, err = process.communicate(timeout=HANGS_S)
    assert process.returncode == 130
    assert json.loads(out)["error"]["kind"] == "interrupted"
    assert "Traceback" not in err


def test_the_second_signal_leaves_at_once():
    process = waiting(then='sys.stderr.write("busy\\n"); sys.stderr.flush(); signal.pause(); signal.pause()')
    process.send_signal(signal.SIGTERM)
    assert process.stderr.readline() == "busy\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=HANGS_S)
    assert (process.returncode, out, err) == (130, "", "")


# What is let go of here waits for the signal itself: it comes where nothing can be raised.
UNHEARD = {
    "the callback of a weak reference": "weakref.ref(Holder(), lambda ref: wait())",
    "a finalizer": "Finalized()",
    "a callback from C": "ctypes.CFUNCTYPE(None)(wait)()",
}
HOLDERS = """
import ctypes, weakref
def wait(*_):
    sys.stderr.write("waiting\\n"); sys.stderr.flush()
    signal.pause()
class Holder: pass
class Finalized:
    def __del__(self): wait()
"""


@pytest.mark.parametrize("place", UNHEARD)
def test_a_signal_where_nothing_can_be_raised_is_not_lost(place):
    process = waiting(before=HOLDERS, wait=f"kept = {UNHEARD[place]}; del kept; signal.pause()")
    assert process.stderr.readline() == "waiting\n"
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=HANGS_S)
    assert process.returncode == 130
    assert json.loads(out)["error"]["kind"] == "interrupted"
    assert "Traceback" not in err


def test_what_nohup_ignores_stays_ignored():
    process = waiting(before="signal.signal(signal.SIGHUP, signal.SIG_IGN)", wait="sys.stdin.readline()")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=HANGS_S)
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["presets", "show", "tiny-cpu"], 0),
        ([], 0),
        (["--help"], 0),
        (["train", "--help"], 0),
        (["--version"], 0),
        (["status", "--json"], 0),
        (["trian", "--json"], 2),
        (["eval", "--run", "none", "--json"], 4),
    ],
)
def test_a_reader_who_leaves_is_no_error(workspace, arguments, code):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stdout:
        done = subprocess.run(
            [sys.executable, "-m", "asrctl", *arguments],
            stdout=stdout,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
    assert done.returncode == code
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == (["error", "fix"] if code else [])


def test_work_goes_on_when_nobody_reads_along(tmp_path, asrctl_process, workspace):
    """`asrctl prepare ... 2>&1 | head -1`: the reader leaves before the work is done."""
    (tmp_path / "texts.csv").write_text("path,text,split\n" + "".join(f"{n}.wav,abc,train\n" for n in range(2500)))
    command = (
        f"{sys.executable} -m asrctl vocab manifest texts.csv --splits train 2>&1 | head -c 1; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", command], cwd=str(tmp_path), capture_output=True, encoding="utf-8", check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(workspace.glob("vocab/*/vocab.json"))


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(tmp_path, workspace, closed):
    (tmp_path / "texts.csv").write_text("path,text\na.wav,abc\nb.wav,abc\n")
    command = f"{sys.executable} -m asrctl vocab manifest texts.csv {closed}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=str(tmp_path), capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert len(list(workspace.glob("vocab/*/vocab.json"))) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device of Linux")
def test_a_full_disk_under_stdout_is_told_on_stderr():
    with open("/dev/full", "w") as stdout:
        done = subprocess.run(
            [sys.executable, "-m", "asrctl", "presets", "list", "--json"],
            stdout=stdout,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
    assert done.returncode == 5
    assert "error: the disk is full" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_terminal_of_another_alphabet_gets_valid_json(asrctl_process):
    result = asrctl_process("presets", "show", "größe", "--json", env={"PYTHONIOENCODING": "ascii"})
    assert result.exit_code == 3
    assert "größe" in result.error["message"]


def test_a_terminal_of_another_alphabet_shows_what_it_can(asrctl_process, tmp_path):
    (tmp_path / "a.wav").touch()
    (tmp_path / "table.csv").write_text("path,text\na.wav,żołw na плоту\n", encoding="utf-8")
    shown = asrctl_process("vocab", "manifest", tmp_path / "table.csv", env={"PYTHONIOENCODING": "ascii"}).succeeded()
    assert "\\u" in shown.stdout


def test_a_home_folder_is_a_home_folder_in_an_environment_variable_too(asrctl_process, tmp_path):
    env = {"HOME": str(tmp_path), "ASRCTL_WORKSPACE": "~/ws"}
    assert asrctl_process("status", "--json", env=env).succeeded().result["workspace"] == str(tmp_path / "ws")


def test_a_workspace_without_a_name_is_refused(asrctl_process):
    assert asrctl_process("status", "--workspace", "").exit_code == 2


def test_the_time_left_is_that_of_the_task_that_goes_on(monkeypatch, capsys):
    """A training evaluates again and again; an hour between two evaluations is no part of the second."""
    shown, now = progress.Display(verbose=False), [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    for at, done in ((0, 0), (10, 100), (3610, 0), (3630, 10)):
        now[0] = at
        shown.progress("evaluate", done, 100, "s", "")
    assert capsys.readouterr().err.splitlines()[-1].endswith("3:00 left")


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ({"schema": "1"}, "schema is not a whole number"),
        ({"schema": True}, "schema is not a whole number"),
        ({"schema": None}, "schema is not a whole number"),
        ({"made": 1}, "schema is missing"),
        ([1], "not a section of keys"),
        ({"schema": 2}, "has workspace schema 2, this asrctl knows 1"),
    ],
)
def test_a_marker_that_is_none_is_told_by_what_is_wrong_with_it(asrctl, workspace, marker, said):
    workspace.mkdir()
    (workspace / "workspace.json").write_text(json.dumps(marker))
    refused = asrctl("status", "--json")
    assert refused.exit_code == 5 and said in refused.error["message"]
