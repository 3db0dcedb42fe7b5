"""`asrctl audit` finds what was planted, and says nothing of clean data."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, Set

import numpy as np
import pytest
import soxr

from ..helpers.audits import of_split, rows_of, spoken, write
from ..helpers.program import copy_workspace, run_here
from ..helpers.tones import RATE

HOSTILE = "</td></table><script>alert(1)</script> <img src=x onerror=alert(2)> \"'&"


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * RATE), dtype=np.float32)


def plant(rows: Any) -> Dict[str, Set[str]]:
    """Change some rows: {kind: paths}."""
    generator = np.random.default_rng(9)
    train, dev, test = (of_split(rows, split) for split in ("train", "dev", "test"))
    rest = iter(train)
    planted: Dict[str, Set[str]] = {}

    def change(kind: str, row: Any, **values: Any) -> None:
        row.update(values)
        planted.setdefault(kind, set()).add(row["path"])

    change("same-audio", test[0], samples=next(rest)["samples"], path="copy.flac")
    change("same-sentence", dev[0], text=train[1]["text"], samples=spoken(train[1]["text"], generator, letter_s=0.07))
    change("same-speaker", test[1], speaker=train[2]["speaker"])
    change("speech-rate", train[3], text="go")
    change("speech-rate", train[4], samples=spoken(train[4]["text"] * 3, generator))
    for row, place, length_s in zip(train[5:8], (0, -1, RATE), (3, 3, 4)):
        parts = row["samples"][:place], silence(length_s), row["samples"][place:]
        change("silence", row, samples=np.concatenate(parts))
    change("silence", train[8], samples=generator.normal(0, 0.02, 3 * RATE).astype(np.float32))
    change("level", train[9], samples=train[9]["samples"] * 0.002)
    change("clipping", train[10], samples=np.clip(train[10]["samples"] * 1.5, -0.3, 0.3))
    narrow = soxr.resample(soxr.resample(train[11]["samples"], RATE, RATE // 2), RATE // 2, RATE)
    change("bandwidth", train[11], samples=narrow)
    change("script", train[12], text=train[12]["text"].replace("o", "\u043e", 1).replace("a", "\u0430", 1))
    return planted


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A workspace with the data `planted`, and {kind: paths of what is odd in it}. Read only."""
    folder = tmp_path_factory.mktemp("planted")
    rows = rows_of(90)
    expected = plant(rows)
    manifest = write(folder / "corpus", rows)
    workspace = folder / "workspace"
    run_here("prepare", "manifest", manifest, "--name", "planted", "--workspace", workspace).succeeded()
    return workspace, expected


@pytest.fixture
def planted_workspace(planted: Any, workspace: Path) -> Path:
    return copy_workspace(planted[0], workspace)


def test_what_is_planted_is_found_and_nothing_else(asrctl, planted, planted_workspace: Path) -> None:
    done = asrctl("audit", "--strict", "--json")
    assert done.exit_code == 8 and done.error["kind"] == "gate"
    found = done.json["result"]
    listed = json.loads(Path(found["report"]).read_text(encoding="utf-8"))
    kinds = {kind["kind"]: {finding["id"] for finding in kind["findings"]} for kind in listed["kinds"]}
    assert kinds == planted[1]
    assert found["findings"] == sum(map(len, planted[1].values())) == listed["findings"]
    assert {chart["name"]: sum(chart["counts"]) for chart in listed["charts"]}["duration"] == 90
    lines = (Path(found["path"]) / "findings.jsonl").read_text(encoding="utf-8").splitlines()
    assert {(json.loads(line)["kind"], json.loads(line)["id"]) for line in lines} == {
        (kind, path) for kind, paths in planted[1].items() for path in paths
    }


def test_an_audit_is_made_once_and_goes_with_its_data(asrctl, planted_workspace: Path) -> None:
    first, again = asrctl("audit", "planted", "--json").result, asrctl("audit", "--json").result
    assert (first["unchanged"], again["unchanged"], again["id"]) == (False, True, first["id"])
    lines = asrctl("status", "--json").result["items"]
    (line,) = [line for line in lines if line["stage"] == "audit"]
    assert (line["name"], line["state"], line["details"]["findings"]) == ("planted", "done", first["findings"])
    kept = [item["path"] for item in asrctl("clean", "unreferenced", "--json").result["removable"]]
    assert not kept
    (planted_workspace / "refs" / "prepared" / "planted.json").unlink()
    gone = {Path(item["path"]).parent.name for item in asrctl("clean", "unreferenced", "--json").result["removable"]}
    assert {"prepared", "audits"} <= gone


@pytest.mark.parametrize("text", ["five", "quick brown foxes jump over lazy dogs"])
def test_a_recording_is_known_again_in_another_file(asrctl, tmp_path: Path, text: str) -> None:
    """Whatever is lost or added on the way; another recording of as many letters is another one."""
    rows, sound = rows_of(40), spoken(text, np.random.default_rng(1))
    train, test = of_split(rows, "train"), of_split(rows, "test")
    for row, share, rate in zip(train, (1.0, 0.1, 1.0), (RATE, RATE, RATE // 2)):
        row.update(samples=soxr.resample(sound * share, RATE, rate), rate=rate, text=text)
    test[0].update(samples=sound, path="again.ogg", text=text)
    test[1].update(samples=spoken(text[::-1], np.random.default_rng(2)), text=text)
    asrctl("prepare", "manifest", write(tmp_path / "corpus", rows), "--name", "copies").succeeded()
    (kind,) = [one for one in asrctl("audit", "--json").result["kinds"] if one["kind"] == "same-audio"]
    assert [one["id"] for one in kind["findings"]] == ["again.ogg"]


def test_clean_data_is_told_to_be_so(asrctl, workspace: Path, tmp_path: Path) -> None:
    asrctl("prepare", "manifest", write(tmp_path / "corpus", rows_of(60)), "--name", "clean").succeeded()
    done = asrctl("audit", "--strict").succeeded()
    assert "nothing odd in 60 utterances of clean" in done.stdout
    page = next((workspace / "audits").glob("*/report.html")).read_text(encoding="utf-8")
    assert "Nothing was found" in page and "<svg" in page and "<audio" not in page


def test_real_speech_is_clean(asrctl, real_librispeech: Path) -> None:
    splits = ("--train", "test-other", "--eval", "dev-clean", "--test", "test-clean", "--max-s", 40)
    asrctl("prepare", "librispeech", real_librispeech, *splits).succeeded()
    assert asrctl("audit", "--strict", "--json").result["findings"] == 0


@pytest.mark.slow
def test_real_digits_are_clean(asrctl, real_digits: Path) -> None:
    asrctl("prepare", "manifest", real_digits, "--name", "digits").succeeded()
    digits = asrctl("audit", "--strict", "--json").result
    assert digits["findings"] == 0
    assert "all 5 speakers of test are in train too: results hold for known voices" in digits["facts"]


def test_the_page_needs_nothing_and_runs_nothing(asrctl, workspace: Path, tmp_path: Path) -> None:
    rows = rows_of(30)
    rows[0].update(text=HOSTILE, samples=np.concatenate([rows[0]["samples"], silence(3)]))
    asrctl("prepare", "manifest", write(tmp_path / "corpus", rows), "--name", "hostile", "--case", "keep").succeeded()
    page = tmp_path / "page.html"
    asrctl("audit", "--output", page).succeeded()
    text = page.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in text and "<script" not in text and "<img" not in text
    assert 'src="data:audio/flac;base64,' in text
    assert set(re.findall(r'(?:src|href)="([^#d][^"]*)"', text)) == set() and "http://" not in text
    # One of ours may be replaced, if that is said; nothing else.
    assert asrctl("audit", "--output", page).exit_code == 2
    asrctl("audit", "--output", page, "--force").succeeded()
    page.write_text("mine", encoding="utf-8")
    assert asrctl("audit", "--output", page, "--force").exit_code == 2 and page.read_text() == "mine"
    assert asrctl("audit", "--output", tmp_path / "page.pdf").exit_code == 2


@pytest.mark.parametrize(("width", "scheme"), [(390, 1), (1280, 0)])
def test_a_browser_shows_the_page(asrctl, planted_workspace: Path, tmp_path: Path, width: int, scheme: int) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    if browser is None:
        pytest.skip("no chromium or google-chrome on the PATH")
    page, shot = tmp_path / "page.html", tmp_path / "shot.png"
    asrctl("audit", "--output", page).succeeded()
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    options += [f"--blink-settings=preferredColorScheme={scheme}", f"--window-size={width},900"]
    command = [browser, *options, f"--screenshot={shot}", page.as_uri()]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=120)
    assert shot.stat().st_size > 10_000


def test_what_can_not_be_audited_is_told(asrctl, workspace: Path, planted_workspace: Path) -> None:
    wrong = asrctl("audit", "plantd", "--json")
    assert wrong.exit_code == 4 and "planted" in wrong.error["fix"]
    shard = next((planted_workspace / "prepared").glob("*/train/shard-*.arrow"))
    content = shard.read_bytes()
    shard.unlink()  # it may be shared with others
    shard.write_bytes(content[: len(content) // 2])
    damaged = asrctl("audit", "--json")
    assert damaged.exit_code == 5 and "damaged" in damaged.error["message"]
    assert not (planted_workspace / "audits").exists() or not list((planted_workspace / "audits").iterdir())


def test_prepare_tells_what_splits_share_in_a_line_each(asrctl, tmp_path: Path) -> None:
    rows = rows_of(90)
    plant(rows)
    manifest = write(tmp_path / "corpus", rows)
    for _ in range(2):
        done = asrctl("prepare", "manifest", manifest, "--name", "planted", "--json")
        assert done.result["shared"] == {
            "sentences": {"train eval": 1},
            "speakers": {"train test": 1},
            "audio": {"train test": 1},
        }
        lines = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
        assert [line for line in lines if "1 utterance of eval has a sentence of train, such as u008.wav" in line]
        assert [line for line in lines if "of test is in train too" in line and "other voices" in line]
        assert [
            line for line in lines if "1 utterance of test has the samples of one of train, such as copy.flac" in line
        ]
    clean = asrctl("prepare", "manifest", write(tmp_path / "clean", rows_of(40)), "--name", "clean", "--json")
    assert not any(clean.result["shared"].values()) and "warning" not in clean.stderr
