"""`asrctl report`: a run as charts from its metrics log, an evaluation by its ID."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest

from ..helpers import browser
from ..helpers.program import copy_workspace


def logged(run: Path, kind: str) -> List[Dict[str, Any]]:
    entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [entry for entry in entries if entry["kind"] == kind]


def test_a_trained_run_has_a_page_with_what_its_log_says(tones: Path, learned_tones: Path, asrctl: Any) -> None:
    run = tones / "runs" / "learned"
    assert (learned_tones / "runs" / "learned" / "report.html").is_file()  # training has made it
    found = asrctl("report", "learned", "--json").succeeded().result
    assert found["page"] == str(run / "report.html") and found["info"]["name"] == "learned"
    for kind, names in (("train", ("loss", "learning_rate", "grad_norm", "audio_s_per_s")), ("eval", ("wer", "cer"))):
        for name in names:
            points = [(point["step"], point["value"]) for point in found["series"][name]["points"]]
            assert points == [(entry["step"], entry[name]) for entry in logged(run, kind)]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count("<polyline") == 6 and "<script" not in page
    assert set(re.findall(r'(?:src|href)="([^#d][^"]*)"', page)) == set()
    best = found["info"]["best"]
    assert f"best WER {100 * best['wer']:.2f} % at step {best['step']}" in page


def test_a_long_log_with_lost_numbers_is_still_a_small_page(tones: Path, asrctl: Any) -> None:
    run = tones / "runs" / "learned"
    lines = [
        {"kind": "train", "step": step, "loss": None if step % 100 == 7 else 1 + 1 / step} for step in range(1, 20_001)
    ]
    log = run / "metrics.jsonl"
    log.unlink()  # it may be shared with others
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "tra', encoding="utf-8")
    shown = asrctl("report", "--json").succeeded()
    assert "metrics.jsonl" not in shown.stderr  # a crash may cut the last line short
    series = shown.result["series"]
    assert len(series["loss"]["points"]) <= 300 and series["loss"]["left_out"] == 200
    assert series["loss"]["points"][0]["high"] == 2.0 and not series["wer"]["points"]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert len(page) < 150_000 and "nothing to show" in page
    log.write_text('garbage\n[]\n{"kind": "train", "step": 3, "loss": 1.0}\n', encoding="utf-8")
    assert "metrics.jsonl has 2 lines that can not be read" in asrctl("report").succeeded().stderr
    log.unlink()
    assert "metrics.jsonl is not there" in asrctl("report").succeeded().stderr


def test_an_evaluation_by_its_id_and_to_a_file(tones: Path, asrctl: Any, tmp_path: Path) -> None:
    done = asrctl("eval", "--device", "cpu", "--json").succeeded().result
    page, numbers = tmp_path / "page.html", tmp_path / "numbers.json"
    shown = asrctl("report", done["id"], "--output", page).succeeded()
    assert shown.stdout.splitlines() == [f"evaluation {done['id']}: {path}" for path in (done["page"], page)]
    assert page.read_bytes() == Path(done["page"]).read_bytes()
    asrctl("report", done["id"], "--output", numbers).succeeded()
    assert json.loads(numbers.read_text("utf-8")) == json.loads(Path(done["report"]).read_text("utf-8"))
    assert (
        f"{100 * done['wer']:.2f} %"
        in (asrctl("report").succeeded(), tones / "runs/learned/report.html")[1].read_text()
    )
    # One of ours may be replaced, if that is said; nothing else.
    assert asrctl("report", done["id"], "--output", page).exit_code == 2
    asrctl("report", "learned", "--output", page, "--force").succeeded()
    page.write_text("mine", encoding="utf-8")
    assert asrctl("report", "learned", "--output", page, "--force").exit_code == 2 and page.read_text() == "mine"
    # One of an earlier version has no report; it is made from what there is.
    for name in ("page", "report"):
        Path(done[name]).unlink()
    refused = asrctl("report", done["id"], "--json")
    assert refused.exit_code == 2 and "--output report.html" in refused.error["fix"]
    again = asrctl("report", done["id"], "--output", tmp_path / "again.json", "--json").succeeded()
    assert again.result["page"] is None
    assert (tmp_path / "again.json").read_bytes() == numbers.read_bytes()


@pytest.mark.parametrize(("words", "code", "said"), [(("lerned",), 4, "learned"), (("--output", "x.pdf"), 2, ".html")])
def test_what_can_not_be_shown(
    tones: Path, asrctl: Any, words: Any, code: int, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = asrctl("report", *words, "--json")
    assert refused.exit_code == code and said in refused.error["fix"]


def test_without_a_run_there_is_nothing_to_show(asrctl: Any) -> None:
    assert asrctl("report", "--json").exit_code == 4


def test_a_browser_shows_it_at_every_width(learned_tones: Path, tmp_path: Path) -> None:
    page = copy_workspace(learned_tones, tmp_path / "workspace") / "runs" / "learned" / "report.html"
    found = browser.sizes(tmp_path, page, (320, 768, 1280))
    assert all(one["width"] <= one["window"] and one["characters"] > 500 for one in found) and len(found) == 3


@pytest.mark.parametrize(
    "words, light",
    [(("report", "nosuch"), True), (("report", "learned"), True), (("compare", "nosuch", "learned"), False)],
    ids=["no run", "a run", "no sides"],
)
def test_what_is_only_read_loads_nothing_heavy(tones: Path, words: Any, light: bool) -> None:
    """Nobody waits for torch to hear that a name is wrong. compare needs numpy, to count."""
    heavy = {"torch", "transformers", *(("numpy", "pyarrow") if light else ())}
    code = (
        "import sys\nfrom asrctl.cli.app import main\n"
        f"try:\n    main([*{words!r}, '--workspace', {str(tones)!r}])\nexcept SystemExit:\n    pass\n"
        f"sys.exit('loaded: ' + ' '.join({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.stderr.decode().splitlines()[-1] == "loaded: "
