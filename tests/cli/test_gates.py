"""`asrctl eval --gate`, `--junit` and `--format github`: limits of groups, told to people and to CI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from asrctl.evaluation.gates import GroupGate, Verdict, judge_groups
from asrctl.evaluation.groups import scored
from asrctl.reports import github, junit

from ..helpers.program import copy_workspace, run_here

GATES = ("--gate", "length:30%", "--gate", "duration:1000%", "--max-wer", "1000%")


@pytest.fixture(scope="module")
def scored_tones(honest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with an evaluation of a run that has learned nothing yet. Read only."""
    place = copy_workspace(honest / "workspace", tmp_path_factory.mktemp("scored") / "workspace")
    run_here("eval", "--device", "cpu", "--workspace", place).succeeded()
    return place


@pytest.fixture
def evaluated(scored_tones: Path, workspace: Path) -> Path:
    return copy_workspace(scored_tones, workspace)


def test_a_group_above_its_limit_fails_and_is_named(evaluated: Path, asrctl: Any, tmp_path: Path) -> None:
    target = tmp_path / "results" / "junit.xml"
    failed = asrctl("eval", "--device", "cpu", *GATES, "--junit", target, "--json")
    assert failed.exit_code == 8 and failed.error["kind"] == "gate"
    found = {gate["gate"]: gate for gate in failed.json["result"]["gates"]}
    assert [found[name]["passed"] for name in ("max-wer", "length:0.3", "duration:10")] == [True, False, True]
    above = found["length:0.3"]["above"]
    assert above and all(name in failed.error["message"] for name in above)
    suite = ElementTree.parse(str(target)).getroot()[0]
    assert (suite.attrib["tests"], suite.attrib["failures"], suite.attrib["errors"]) == ("3", "1", "0")
    assert [one.tag for one in suite] == ["properties", *["testcase"] * 3, "system-out", "system-err"]
    failures = {case.attrib["name"]: case.find("failure") for case in suite.iter("testcase")}
    assert failures["max-wer"] is None and above[0] in str(failures["length:0.3"].text)
    # Every run of CI writes it anew; what somebody else has written stays.
    asrctl("eval", "--device", "cpu", "--junit", target).succeeded()
    assert ElementTree.parse(str(target)).getroot()[0].attrib["tests"] == "1"
    target.write_text("<mine/>", encoding="utf-8")
    assert asrctl("eval", "--junit", target).exit_code == 2 and target.read_text("utf-8") == "<mine/>"


def test_github_gets_annotations_and_a_summary(
    evaluated: Path, asrctl: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    failed = asrctl("eval", "--device", "cpu", *GATES, "--format", "github")
    commands = [line for line in failed.stdout.splitlines() if line.startswith("::")]
    assert failed.exit_code == 8 and [line.split(" ")[0] for line in commands] == ["::notice", "::error"]
    assert commands[1].startswith("::error title=asrctl eval%3A length%3A0.3::") and "%25" in commands[1]
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("before\n") and "| length:0.3 | **failed** |" in text
    as_json = asrctl("eval", "--device", "cpu", *GATES, "--format", "github", "--json")
    assert json.loads(as_json.stdout)["command"] == "eval" and "::error" in as_json.stderr
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    assert "summary could not be written" in asrctl("eval", "--device", "cpu", "--format", "github").succeeded().stderr


def test_an_evaluation_of_an_earlier_version_has_gates_too(evaluated: Path, asrctl: Any) -> None:
    for path in (evaluated / "evals").glob("*/report.*"):
        path.unlink()
    assert asrctl("eval", "--device", "cpu", *GATES).exit_code == 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--gate", "speker:0.3"), "speaker"),
        (("--gate", "speaker"), "speaker:0.3"),
        (("--gate", "speaker:much"), "speaker:0.3"),
        (("--gate", "speaker:20"), "0.2 means 20 %"),
        (("--gate", "speaker:0.3"), "length"),  # of these recordings nobody says who speaks
        (("--format", "gitlab"), "github"),
    ],
)
def test_what_makes_no_sense_is_told(evaluated: Path, asrctl: Any, words: Any, said: str) -> None:
    refused = asrctl("eval", "--device", "cpu", *words, "--json")
    assert refused.exit_code == 2 and said in refused.error["fix"]


def test_few_utterances_are_above_a_limit_only_beyond_chance() -> None:
    """Many are by their rate, as all together are."""
    errors = {"many": [1, 0, 1, 0] * 10, "few": [1, 0, 0, 3], "bad": [2, 2, 1, 2], "one": [2], "good": [0] * 40}
    names = [name for name, each in errors.items() for _ in each]
    wrong = np.array([count for each in errors.values() for count in each])
    found = judge_groups(GroupGate("speaker", 0.45), scored(names, wrong, np.full(len(wrong), 2)))
    assert found.passed is False and [group.name for group in found.above] == ["bad"]
    assert {group.name for group in found.too_small} == {"one", "few"}
    assert judge_groups(GroupGate("speaker", 0.2), found.above + found.too_small).above == found.above
    lower = judge_groups(GroupGate("speaker", 0.24), scored(names, wrong, np.full(len(wrong), 2)))
    assert [group.name for group in lower.above] == ["bad", "many"]


def test_odd_names_break_neither_format() -> None:
    odd = "\x00<&\"'\u2028\ud800 50 %\nx|y::"
    verdict = Verdict(f"speaker:{odd}", passed=False, message=odd)
    text = junit.render([verdict], what=odd, seconds=1.0, timestamp="2026-11-30T20:00:00")
    assert ElementTree.fromstring(text.encode("utf-8"))[0].attrib["failures"] == "1"
    lines = github.commands([verdict], odd)
    assert all("\n" not in line for line in lines) and len(lines) == 2
    row = github.summary([verdict], odd).splitlines()[-1]
    assert row.count("|") - row.count("\\|") == 4
