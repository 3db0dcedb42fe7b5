"""`asrctl eval` and `asrctl export` as people and CI use them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import transformers

from asrctl.data.collate import to_float
from asrctl.data.dataset import PreparedData
from asrctl.storage import checksums, files
from asrctl.storage.workspace import Workspace


def test_eval_prints_rates_and_the_next_command(asrctl, tones: Path) -> None:
    done = asrctl("eval", "--device", "cpu").succeeded()
    assert "error rate  95 % interval" in done.stdout and "most errors:" in done.stdout
    assert done.stdout.rstrip().endswith(f"next: asrctl export --run learned --format hf --workspace {tones}")
    assert "learned" in done.stderr


def test_a_split_that_is_not_there_is_refused_with_those_that_are(asrctl, tones: Path) -> None:
    there = "choose one that is there, such as `--split eval`"
    for name, fix in (
        ("nonexist", there),
        ("test", f"{there}, or prepare the corpus again with a split for it (--test)"),
    ):
        failed = asrctl("eval", "--device", "cpu", "--split", name, "--json")
        assert failed.exit_code == 4
        assert failed.error["message"] == f"the prepared data has no split {name!r} (it has train, eval)"
        assert failed.error["fix"] == fix


def test_eval_gives_one_document(asrctl, tones: Path) -> None:
    result = asrctl("eval", "--device", "cpu", "--json").succeeded().result
    assert 0 < result["wer"] < 0.5 and result["wer_interval"][0] <= result["wer"] <= result["wer_interval"][1]
    assert result["run"] == "learned" and result["data"]["name"] == "tones" and result["split"] == "eval"
    assert result["words"] == 30 and result["utterances"] == 12 and result["device"] == "cpu"
    assert result["substitutions"] + result["deletions"] + result["insertions"] == round(result["wer"] * 30)
    assert len(Path(result["hypotheses"]).read_text(encoding="utf-8").splitlines()) == 12
    assert asrctl("eval", "--device", "cpu", "--json").succeeded().result["unchanged"]


def test_a_dry_run_tells_what_would_be_read_and_written(asrctl, tones: Path, tmp_path: Path) -> None:
    def files() -> "list[str]":
        return sorted(str(path) for path in tmp_path.rglob("*"))

    before = files()
    shown = asrctl("eval", "--device", "cpu", "--dry-run").succeeded().stdout
    assert "to transcribe: split eval, 12 utterances" in shown and "fp32 on cpu" in shown
    evaluation = asrctl("eval", "--device", "cpu", "--dry-run", "--json").result
    export = asrctl("export", "--output", tmp_path / "out", "--dry-run", "--json").result
    assert "to export: format hf, verified on 6 utterances" in asrctl("export", "--dry-run").succeeded().stdout
    assert files() == before
    assert (evaluation["utterances"], evaluation["unchanged"], export["unchanged"]) == (12, False, False)
    assert export["writes"]["output"] == str(tmp_path / "out") and len(export["verified_on"]) == 6
    for plan in (evaluation, export):
        assert all(Path(path).exists() for path in plan["reads"].values())

    made = asrctl("eval", "--device", "cpu", "--json").result
    assert (made["path"], made["id"]) == (evaluation["writes"]["evaluation"], evaluation["id"])
    again = asrctl("eval", "--device", "cpu", "--dry-run", "--json").result
    assert again["unchanged"] and "is there already" in asrctl("eval", "--device", "cpu", "--dry-run").stdout
    assert not asrctl("eval", "--device", "cpu", "--dry-run", "--force", "--json").result["unchanged"]
    assert asrctl("eval", "--split", "test", "--dry-run").exit_code == 4


def test_the_worst_utterances_are_listed_in_json_only_when_asked_for(asrctl, tones: Path) -> None:
    done = asrctl("eval", "--device", "cpu", "--json")
    assert "worst" not in done.result and len(done.stdout) < 2500
    listed = asrctl("eval", "--device", "cpu", "--json", "--worst", "1").result["worst"]
    assert len(listed) == 1 and listed[0]["errors"] > 0 and listed[0]["reference"]
    assert "most errors" in asrctl("eval", "--device", "cpu").stdout
    assert "most errors" not in asrctl("eval", "--device", "cpu", "--worst", "0").stdout


def test_a_gate_fails_with_the_number_in_the_document(asrctl, tones: Path) -> None:
    done = asrctl("eval", "--device", "cpu", "--max-wer", "0.01", "--json")
    assert done.exit_code == 8
    assert done.error["kind"] == "gate" and "above the limit of 1.00 %" in done.error["message"]
    assert done.json["result"]["wer"] > 0.01
    assert Path(done.json["result"]["hypotheses"]).is_file()
    asrctl("eval", "--device", "cpu", "--max-wer", "0.5").succeeded()
    told = asrctl("eval", "--device", "cpu", "--max-wer", "0.01")
    assert told.exit_code == 8 and "error rate" in told.stdout and "fix:" in told.stderr


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (("eval", "--max-wer", "20"), 2, "0.2 means 20 %"),
        (("eval", "--precision", "int3", "--device", "cpu"), 2, "int3"),
        (("eval", "--run", "learned", "--model", "x"), 2, "exclude"),
        (("eval", "--split", "test"), 4, "no split 'test'"),
        (("eval", "--run", "nobody"), 4, "nobody"),
        (("export", "--format", "gif"), 2, "gif"),
        (("export", "--run", "nobody"), 4, "nobody"),
        (("export", "--model", "./nowhere"), 4, "nowhere"),
    ],
)
def test_mistakes_are_said_in_a_sentence(asrctl, tones: Path, words, exit_code, said) -> None:
    done = asrctl(*words)
    assert done.exit_code == exit_code
    assert said in done.stderr and "Traceback" not in done.stderr and done.stdout == ""


def test_an_empty_workspace_says_what_to_run_first(asrctl) -> None:
    for command in ("eval", "export"):
        done = asrctl(command, "--json")
        assert done.exit_code == 4 and "asrctl train" in done.error["fix"]


def test_export_tells_where_and_how_to_use_it(asrctl, tones: Path, tmp_path: Path) -> None:
    done = asrctl("export", "--output", tmp_path / "model").succeeded()
    assert "gives the same 6 transcripts" in done.stdout
    assert f"how to use it: {tmp_path / 'model' / 'README.md'}" in done.stdout
    assert asrctl("export", "--output", tmp_path / "model", "--json").result["unchanged"]
    asrctl("eval", "--device", "cpu").succeeded()  # which the card tells of: another export
    again = asrctl("export", "--output", tmp_path / "model", "--json")
    assert again.exit_code == 2 and "not empty" in again.error["message"]
    asrctl("export", "--output", tmp_path / "model", "--force").succeeded()


def test_an_export_to_a_link_goes_where_the_link_leads(asrctl, tones: Path, tmp_path: Path) -> None:
    (tmp_path / "release").mkdir()
    (tmp_path / "current").symlink_to("release")
    asrctl("export", "--output", tmp_path / "current").succeeded()
    assert (tmp_path / "current").is_symlink() and (tmp_path / "release" / "model.safetensors").is_file()


def test_a_damaged_export_is_told_and_never_delivered(asrctl, tones: Path, tmp_path: Path) -> None:
    folder = Path(asrctl("export", "--json").result["path"])
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    for words in (("--output", tmp_path / "model"), ()):
        error = asrctl("export", *words, "--json").error
        assert error["message"] == f"{weights} is damaged: its digest is not the one in SHA256SUMS"
        assert "--force" in error["fix"]
        assert not (tmp_path / "model").exists()
    asrctl("export", "--output", tmp_path / "model", "--force").succeeded()
    told = checksums.read_sums(tmp_path / "model", fix="")
    assert told == {name: sha for name, sha in files.file_digests(tmp_path / "model").items() if name != "SHA256SUMS"}
    asrctl("export").succeeded()


@pytest.mark.filterwarnings("ignore")
def test_transformers_pipeline_hears_what_eval_heard(asrctl, trained_run: Path, tmp_path: Path) -> None:
    """Sentences, a model that has hardly learned: long hypotheses, and close calls in every frame."""
    evaluated = asrctl("eval", "--device", "cpu", "--json").succeeded().result
    asrctl("export", "--format", "hf", "--output", tmp_path / "model", "--json").succeeded()
    rows = [json.loads(line) for line in Path(evaluated["hypotheses"]).read_text(encoding="utf-8").splitlines()]
    pipe = transformers.pipeline("automatic-speech-recognition", model=str(tmp_path / "model"), device=-1)
    workspace = Workspace(trained_run.parent.parent)
    split = PreparedData(workspace.resolve("prepared", "librispeech", fix="-")).split("eval")
    heard = [pipe({"raw": to_float(utterance.pcm), "sampling_rate": 16000})["text"] for utterance in split]
    assert heard == [row["hypothesis"] for row in rows] and any(heard)
