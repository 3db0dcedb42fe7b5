"""The main job as a newcomer and a CI script do it, at full size. Minutes each: `nox -s long`."""

import json
import os
import time

import pytest

from asrctl.config.recipe import ModelSection
from asrctl.data.text import TextRules, build_vocabulary
from asrctl.models import loading

pytestmark = pytest.mark.slow
TWO_CORES = {"OMP_NUM_THREADS": "2"}
DIGITS_LIMIT_S = 600


def test_librispeech_from_prepare_to_both_exports(real_librispeech, asrctl_process, workspace, tmp_path):
    import soundfile
    from transformers import pipeline

    splits = ("--train", "test-other", "--eval", "dev-clean")
    asrctl_process("prepare", "librispeech", real_librispeech, *splits).succeeded()
    asrctl_process("train", "--preset", "tiny-cpu", "--max-steps", 20, env=TWO_CORES).succeeded()
    evaluated = asrctl_process("eval", "--json", env=TWO_CORES).result
    assert evaluated["wer"] > 0
    onnx = asrctl_process("export", "--format", "onnx", "--json").result
    hf = asrctl_process("export", "--format", "hf", "--output", tmp_path / "hf", "--json").result
    assert onnx["format"] == "onnx"
    assert hf["format"] == "hf"
    recognize = pipeline("automatic-speech-recognition", model=str(tmp_path / "hf"), device="cpu")
    hypotheses = {}
    with next(workspace.glob("evals/*/hypotheses.jsonl")).open(encoding="utf-8") as stream:
        for line in stream:
            entry = json.loads(line)
            hypotheses[entry["id"]] = entry["hypothesis"]
    paths = {path.stem: path for path in real_librispeech.rglob("*.flac")}
    for identity, hypothesis in hypotheses.items():
        # Samples, not file names: for those the pipeline wants an ffmpeg program.
        samples, rate = soundfile.read(str(paths[identity]), dtype="float32")
        heard = recognize({"raw": samples, "sampling_rate": rate})["text"]
        assert heard.split() == hypothesis.split()
    assert hypotheses


def test_real_digits_from_scratch_to_three_percent(real_digits, asrctl_process):
    asrctl_process("prepare", "manifest", real_digits).succeeded()
    began = time.monotonic()
    asrctl_process("train", "--preset", "tiny-cpu", env=TWO_CORES, timeout_s=4 * DIGITS_LIMIT_S).succeeded()
    took_s = time.monotonic() - began
    result = asrctl_process("eval", "--split", "test", "--max-wer", "0.03", "--json").result
    assert result["wer"] <= 0.03
    assert took_s < DIGITS_LIMIT_S or os.getloadavg()[0] > 3, "on two idle cores"


def test_base_4ipu_takes_two_steps_on_the_cpu(librispeech, asrctl_process, tmp_path):
    upper = build_vocabulary(dict.fromkeys("ABCDEFGHIJKLMNOPQRSTUVWXYZ'", 1), TextRules(case="upper"))
    base = loading.build(ModelSection(), upper, seed=0, sample_rate=16000).recognizer
    loading.save_recognizer(base, tmp_path / "base")
    asrctl_process("prepare", "librispeech", librispeech, "--train", "test-other", "--eval", "dev-clean").succeeded()
    options = ("--preset", "base-4ipu", "--max-steps", 2, "--set", f"model.checkpoint={tmp_path / 'base'}")
    done = asrctl_process("train", *options, "--json", env=TWO_CORES, timeout_s=1500)
    assert done.result["steps"] == 2
    assert "the same global batch of 32" in done.stderr
