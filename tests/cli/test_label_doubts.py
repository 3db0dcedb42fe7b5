"""`audit --run` ranks wrong transcripts first; `prepare --drop` leaves utterances out, with the reason."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
import soundfile

from asrctl.data import drop_list
from asrctl.events import ignore

from ..helpers.audits import rows_of, write
from ..helpers.tones import RATE, sound

SWAPPED = ((3, 17), (8, 30), (21, 40))


def write_swapped(folder: Path) -> List[str]:
    """A corpus of tones in which some pairs have each other's transcripts; the paths of these."""
    generator = np.random.default_rng(12)
    texts = [" ".join("".join(generator.choice(list("abc"), 3)) for _ in range(3)) for _ in range(44)]
    folder.mkdir()
    for number, text in enumerate(texts):
        soundfile.write(str(folder / f"{number:02d}.wav"), sound(text, generator), RATE)
    for one, other in SWAPPED:
        texts[one], texts[other] = texts[other], texts[one]
    with open(folder / "corpus.csv", "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "text", "split"])
        writer.writerows(
            [f"{number:02d}.wav", text, "train" if number < 36 else "dev"] for number, text in enumerate(texts)
        )
    return [f"{number:02d}.wav" for pair in SWAPPED for number in pair]


def test_swapped_transcripts_rank_first_and_can_be_left_out(asrctl, tones: Path, tmp_path: Path) -> None:
    wrong = write_swapped(tmp_path / "swapped")
    words = ("prepare", "manifest", tmp_path / "swapped" / "corpus.csv", "--name", "swapped")
    before = asrctl(*words, "--json").result
    found = asrctl("audit", "swapped", "--run", "learned", "--json").result
    (kind,) = [kind for kind in found["kinds"] if kind["kind"] == "label-doubt"]
    listed = json.loads(Path(found["report"]).read_text(encoding="utf-8"))
    assert kind["count"] == len(wrong)
    assert {one["id"] for one in listed["ranking"][: len(wrong)]} == set(wrong)
    ranked = [one["rank"] for one in listed["ranking"]]
    assert ranked == sorted(ranked) and listed["ranking"][0]["score"] > 2 > listed["ranking"][len(wrong)]["score"]
    shown = asrctl("audit", "swapped", "--run", "learned").stdout
    assert listed["ranking"][0]["heard"] in shown and "most in doubt by run learned" in shown
    page = Path(found["page"]).read_text(encoding="utf-8")
    assert listed["ranking"][0]["heard"] in page and "most in doubt" in page
    # Another run is another audit; without one there are no doubts.
    assert asrctl("audit", "swapped", "--json").result["id"] != found["id"]

    after = asrctl(*words, "--drop", found["report"], "--max-rejects", 0, "--json").result
    assert after["id"] != before["id"]
    rejects = [
        json.loads(line)
        for split in ("train", "eval")
        for line in (Path(after["path"]) / split / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert {reject["id"] for reject in rejects} == set(wrong)
    assert {reject["reason"] for reject in rejects} == {"dropped"}
    assert all(reject["detail"].startswith("label-doubt: ") for reject in rejects)
    again = asrctl("audit", "swapped", "--run", "learned", "--json").result
    assert not [kind for kind in again["kinds"] if kind["kind"] == "label-doubt"]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("clean") / "corpus", rows_of(30))


def utterances(result: Dict[str, Any]) -> Dict[str, int]:
    return {name: split["utterances"] for name, split in result["splits"].items()}


LISTS = {
    "list.txt": "u003.wav\tcoughs\nu008.wav\nnobody.wav\tgone\n",
    "list.csv": 'id,reason\nu003.wav,"coughs"\nu008.wav,\nnobody.wav,gone\n',
    "list.jsonl": '{"id": "u003.wav", "reason": "coughs"}\n{"id": "u008.wav"}\n{"id": "nobody.wav"}\n',
    "list.json": '["u008.wav", {"id": "u003.wav", "reason": "coughs"}, "nobody.wav"]',
    # A speaker is no utterance: leaving out the first of his would help nobody.
    "findings.jsonl": "".join(
        json.dumps({"kind": kind, "id": f"{name}.wav", "split": "train", "detail": "coughs"}) + "\n"
        for kind, name in zip(("silence", "level", "script", "same-speaker"), ("u003", "u008", "nobody", "u001"))
    ),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_several_forms_name_the_same(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(LISTS[name], encoding="utf-8")
    found = drop_list.read(path, ignore)
    assert set(found) == {"u003.wav", "u008.wav", "nobody.wav"} and found["u003.wav"].endswith("coughs")


def test_a_list_names_what_is_left_out(asrctl, clean: Path, tmp_path: Path) -> None:
    words = ("prepare", "manifest", clean, "--name", "clean", "--max-rejects", 0)
    whole = asrctl(*words, "--json").result
    path = tmp_path / "list.txt"
    path.write_text(LISTS["list.txt"], encoding="utf-8")
    done = asrctl(*words, "--drop", path, "--json")
    assert utterances(whole) == {"train": 24, "eval": 3, "test": 3}
    assert utterances(done.result) == {"train": 23, "eval": 2, "test": 3} and done.result["id"] != whole["id"]
    assert "1 of 3 utterances of" in done.stderr and "not in this corpus, such as nobody.wav" in done.stderr
    (left,) = (Path(done.result["path"]) / "train" / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(left) == {
        "id": "u003.wav",
        "audio": str(clean.parent / "u003.wav"),
        "reason": "dropped",
        "detail": "coughs",
    }
    again = asrctl(*words, "--drop", path)
    assert "nothing to do" in again.stderr and "u003.wav: dropped: coughs" in again.stdout
    planned = asrctl(*words, "--drop", path, "--dry-run", "--json").result
    assert {role: split["utterances"] for role, split in planned["splits"].items()} == utterances(done.result)
    # The same corpus without the list is what it was.
    assert asrctl(*words, "--json").result["id"] == whole["id"]


def test_a_list_that_names_nobody_or_everybody_is_refused(asrctl, clean: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    for text in ("", "{", "[1]", '{"id": 1}'):
        path.write_text(text, encoding="utf-8")
        done = asrctl("prepare", "manifest", clean, "--drop", path, "--json")
        assert done.exit_code == 5 and "report.json" in done.error["fix"], text
    path.write_text("".join(f"u{number:03d}.wav\n" for number in range(30) if number % 10 == 9), encoding="utf-8")
    done = asrctl("prepare", "manifest", clean, "--drop", path, "--json")
    assert done.exit_code == 5 and "list.txt names all of them" in done.error["fix"]
    assert asrctl("prepare", "manifest", clean, "--drop", tmp_path / "none.txt").exit_code == 5
