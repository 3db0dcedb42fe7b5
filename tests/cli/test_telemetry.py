"""No command leaves anything in the home folder, asks for a connection, or lets a library report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, Dict, List

import pytest

from asrctl.runtime import telemetry

from ..helpers.program import ROOT
from ..helpers.tones import PRESET, write_corpus

# Every command in one process, since what takes long is to import the libraries. After each: its exit code, what is in
# the home folder, and the hosts that Python code asked for since the one before.
PROGRAM = """
import json, os, socket, sys
asked = []
def hook(event, arguments):
    if event == "socket.getaddrinfo" or (event == "socket.connect" and arguments[0].family != socket.AF_UNIX):
        asked.append(repr(arguments[1:]))
sys.addaudithook(hook)
from asrctl.cli.app import main
found = {}
for words in json.load(open("commands.json")):
    try:
        main(words)
    except SystemExit as leaving:
        code = leaving.code or 0
    at_home = [name for _, folders, names in os.walk(os.environ["HOME"]) for name in folders + names]
    found[" ".join(words)] = [code, at_home, list(asked)]
    asked.clear()
found["hub"] = sys.modules["huggingface_hub.constants"].HF_HUB_DISABLE_TELEMETRY
json.dump(found, open("found.json", "w"))
"""
COMMANDS = [
    "--help", "--version", "doctor", "presets list", "presets show tones.yaml", "presets check tones.yaml",
    "vocab manifest corpus/tones.csv", "prepare manifest corpus/tones.csv --preset tones.yaml", "status",
    "plan --preset tones.yaml", "train --preset tones.yaml --device cpu --max-steps 2 --run r --dry-run",
    "train --preset tones.yaml --device cpu --max-steps 2 --run r", "train --resume", "eval --device cpu",
    "export --format hf", "compile --preset tones.yaml", "clean", "clean --yes", "trian",
]  # fmt: skip
ONNX = ["export --format onnx --dry-run", "export --format onnx"]
FAILING = {"plan --preset tones.yaml": 3, "compile --preset tones.yaml": 3, "trian": 2}
# A continuous integration says so in these, and there onnxruntime keeps quiet by itself.
_OF_CI = ("CI", "GITHUB_ACTIONS", "GITLAB_CI", "TF_BUILD", "JENKINS_URL", "TRAVIS", "CIRCLECI", "BUILDKITE", "TEAMCITY")


def has_onnx() -> bool:
    try:
        import onnx
        import onnxruntime
    except ImportError:
        return False
    return bool(onnx and onnxruntime)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Dict[str, Any]:
    folder = tmp_path_factory.mktemp("telemetry")
    (folder / "home").mkdir()
    write_corpus(folder / "corpus", train=24, held_out=6)
    (folder / "tones.yaml").write_text(json.dumps(PRESET), encoding="utf-8")
    commands: List[str] = COMMANDS + (ONNX if has_onnx() else [])
    (folder / "commands.json").write_text(json.dumps([line.split() for line in commands]), encoding="utf-8")
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "TRANSFORMERS_", "XDG_", *_OF_CI))
    }
    env = {name: value for name, value in env.items() if name not in telemetry.SWITCHES}
    env.update(HOME=str(folder / "home"), PYTHONPATH=str(ROOT))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=str(folder), env=env, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "found.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("command", COMMANDS + ONNX)
def test_the_home_folder_stays_empty_and_nobody_is_asked(found: Dict[str, Any], command: str) -> None:
    if command not in found:
        pytest.skip("onnx and onnxruntime are not installed")
    code, at_home, asked = found[command]
    assert (at_home, asked) == ([], [])
    assert code == FAILING.get(command, 0)


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in telemetry.SWITCHES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    telemetry.switch_off()
    assert {name: os.environ[name] for name in telemetry.SWITCHES} == {
        **telemetry.SWITCHES,
        "ORT_DISABLE_TELEMETRY": "0",
    }


def test_the_hubs_library_was_told(found: Dict[str, Any]) -> None:
    assert found["hub"] is True
