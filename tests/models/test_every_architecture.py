"""Every class with a CTC head of the installed transformers: counted, trained, exported, or refused by name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
import soundfile
import torch
import yaml
from torch import nn

from asrctl.commands import support
from asrctl.config import presets
from asrctl.config.recipe import ModelSection
from asrctl.data.collate import collate
from asrctl.errors import AsrctlError, BadData, UsageError
from asrctl.export import onnx
from asrctl.ipu import config as ipu_config
from asrctl.models import architectures, ctc, frame_counts, library, loading, measured_frames
from asrctl.models.packed import select
from asrctl.models.padding import MaskedBatchNorm
from asrctl.storage import records

from ..helpers import every_model
from ..helpers.program import ROOT, run_here
from ..helpers.tiny import VOCABULARY, noise
from ..helpers.tones import write_corpus

# transformers 4.29 on current torch.
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
KINDS = every_model.kinds()
# Changes of a configuration that change its frames, where it has such keys on whichever level.
OTHER_RATES = (
    {"conv_kernel": [10, 3, 3], "conv_stride": [5, 4, 4], "conv_dim": [8, 8, 8]},
    {"subsampling_factor": 8, "subsampling_conv_kernel_size": 5},
    {"subsampling_conv_kernel_size": 4},
    {"subsample_layers": [0, 1]},
)


def refusal(kind: str) -> str:
    """Why a model of this type can not be trained with what is installed here; nothing where it can."""
    try:
        architectures.require(kind)
    except AsrctlError as error:
        return error.message
    return ""


TRAINED = [kind for kind in KINDS if not refusal(kind)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("every") / "corpus", train=10, held_out=4)


def write_preset(folder: Path, kind: str, **changes: Any) -> Path:
    """A preset that trains a small model of this type from nothing."""
    model = {
        "architecture": kind,
        "config": every_model.config_of(kind),
        "ctc_zero_infinity": True,
        "blank_bias": -3.0,
        **changes,
    }
    values: Dict[str, Any] = {
        "name": "every",
        "model": model,
        "optim": {"global_batch": 4, "learning_rate": 1e-3, "max_steps": 3, "schedule": "constant"},
        "run": {"eval_every": 2, "save_every": 2},
        "cpu": {"precision": "fp32"},
    }
    path = folder / "every.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


# {model type: what it went through}, filled in as the tests go, for `asrctl support`.
FOUND: Dict[str, Dict[str, Any]] = {}
RELEASE = ".".join(library.version().split(".")[:2])


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_trained_resumed_evaluated_and_exported_or_refused_by_name(kind: str, corpus: Path, tmp_path: Path):
    preset = write_preset(tmp_path, kind)

    def asrctl(*words: Any) -> Any:
        return run_here(*words, "--workspace", tmp_path / "workspace", "--json")

    if refusal(kind):
        for words in (("prepare", "manifest", corpus, "--preset", preset), ("presets", "check", preset)):
            refused = asrctl(*words)
            assert refused.exit_code in (3, 6)
            assert kind in refused.error["message"]
        FOUND[kind] = {"refused": "needs torchaudio" if "torchaudio" in refusal(kind) else refusal(kind)}
        return
    asrctl("prepare", "manifest", corpus, "--name", "tones", "--preset", preset).succeeded()
    train = ("train", "--preset", preset, "--device", "cpu")
    straight = Path(asrctl(*train, "--run", "straight").result["model"])
    asrctl(*train, "--run", "resumed", "--max-steps", 2).succeeded()
    asrctl("train", "--resume", "--run", "resumed", "--device", "cpu", "--max-steps", 3).succeeded()
    resumed = tmp_path / "workspace" / "runs" / "resumed"
    assert weights_of(resumed, step=3) == weights_of(straight.parent, step=3)
    heard = asrctl("eval").result
    exported = Path(asrctl("export", "--format", "hf", "--output", tmp_path / "model").result["output"])
    hypotheses = [json.loads(line)["hypothesis"] for line in Path(heard["hypotheses"]).read_text("utf-8").splitlines()]
    assert any(hypotheses)
    assert [heard_by_transformers(exported, path) for path in sorted(corpus.parent.glob("01*.wav"))] == hypotheses
    FOUND[kind] = {
        "stages": ["prepare", "train", "resume", "eval"],
        "engines": engines_of(loading.load_recognizer(exported).model),
        "exports": ["hf"],
        "devices": ["cpu"] + ["ipu"] * takes_ipu(kind),
    }


def engines_of(model: Any) -> List[str]:
    """The engines that can carry a model on a CPU."""
    return list(dict.fromkeys(select.choose(model, "cpu", name, shapes_free=True) for name in ("auto", "plain")))


def takes_ipu(kind: str) -> bool:
    """Whether an IPU, emulated or not, refuses nothing of the published recipe for a model of this type."""
    recipe = presets.load("base-4ipu", overrides=(f"model.architecture={kind}",)).recipe
    return not ipu_config.unsupported(recipe, ipu_config.ModelFacts(kind, 7, 12))


def weights_of(run: Path, step: int) -> bytes:
    return (run / "checkpoints" / f"step-{step:08d}" / "model.safetensors").read_bytes()


def heard_by_transformers(folder: Path, recording: Path) -> str:
    """What plain transformers hears in a recording alone."""
    from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer

    model = AutoModelForCTC.from_pretrained(str(folder)).eval()
    extractor, tokenizer = AutoFeatureExtractor.from_pretrained(str(folder)), AutoTokenizer.from_pretrained(str(folder))
    samples, rate = soundfile.read(str(recording), dtype="float32")
    inputs = extractor(samples, sampling_rate=rate, return_tensors="pt")
    with torch.no_grad():
        own = "generate" in vars(type(model))
        labels = model.generate(**inputs) if own else model(**inputs).logits.argmax(-1)
    return tokenizer.decode(labels[0])


def test_what_support_tells_is_what_was_found_here():
    """With ASRCTL_WRITE_SUPPORT set, what was found is written instead (`nox -s support`)."""
    found = {
        kind: {
            "model_class": library.ctc_models()[kind],
            **tried,
            "exports": [*tried.get("exports", []), *onnx_of(kind)],
        }
        for kind, tried in FOUND.items()
    }
    told = support.read() if support.FILE.exists() else support.Support()
    told_here = {kind: records.as_dict(tried) for kind, tried in told.generations.get(RELEASE, {}).items()}
    made = {kind: records.as_dict(records.read(support.Tried, tried, kind, fix="")) for kind, tried in found.items()}
    if os.environ.get("ASRCTL_WRITE_SUPPORT") and set(made) == set(KINDS):
        generations = {**told.as_dict()["generations"], RELEASE: {kind: made[kind] for kind in sorted(made)}}
        text = json.dumps({"generations": dict(sorted(generations.items()))}, indent=1)
        support.FILE.write_text(text + "\n", encoding="utf-8")
        told_here = made
    assert RELEASE in told.generations or told_here, f"nothing is told of transformers {RELEASE}: run `nox -s support`"
    assert {kind: told_here[kind] for kind in made} == made
    if set(made) == set(KINDS):
        assert set(told_here) == set(KINDS)


def onnx_of(kind: str) -> List[str]:
    """["onnx"] where a graph can be made; that it computes the same is for the slow test."""
    if refusal(kind):
        return []
    try:
        onnx.require_kind(kind)
    except UsageError:
        return []
    return ["onnx"]


def test_the_documentation_has_the_table_of_support():
    head, rows = support.rows(support.read())
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    page = ROOT / "docs" / "models.md"
    before, _, rest = page.read_text(encoding="utf-8").partition("<!-- support -->\n")
    table, _, after = rest.partition("<!-- /support -->")
    if os.environ.get("ASRCTL_WRITE_SUPPORT"):
        table = "\n".join(lines) + "\n"
        page.write_text(f"{before}<!-- support -->\n{table}<!-- /support -->{after}", encoding="utf-8")
    assert table.splitlines() == lines
    shown = run_here("support").succeeded().stdout.splitlines()
    assert [line.split()[0] for line in shown[1:-1]] == [row[0] for row in rows]
    assert run_here("support", "--json").result == {**support.read().as_dict(), "installed": library.version()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in TRAINED if onnx_of(kind)])
def test_the_graph_of_each_that_has_one_computes_the_same(kind: str, tmp_path: Path):
    recognizer = make(kind)
    recognizer.model.eval()
    onnx.write_graph(recognizer, tmp_path / "model.onnx")
    rows = list(enumerate(noise(16000, 9000, 20480, 5000)))
    groups = [[(str(index), row)] for index, row in rows] + [[(str(index), row) for index, row in rows[:2]]]
    assert onnx.compare(recognizer, tmp_path / "model.onnx", groups).agreement == 1


def make(kind: str, **section: Any) -> loading.Recognizer:
    config = {**every_model.config_of(kind), **section.pop("config", {})}
    wanted = ModelSection(architecture=kind, config=config, **section)
    return loading.build(wanted, VOCABULARY, seed=1, sample_rate=16000).recognizer


@pytest.mark.parametrize("kind", TRAINED)
def test_a_batch_gives_what_each_utterance_gives_alone(kind: str):
    recognizer = make(kind)
    model = recognizer.model.eval()
    rows = noise(16000, 9000, 5123, 700, 100)
    with torch.no_grad():
        together, frames = ctc.forward(model, **collate(rows, recognizer.features), exact=True)
        for index, row in enumerate(rows[:3]):
            alone, count = ctc.forward(model, **collate([row], recognizer.features), exact=True)
            assert count[0] == frames[index] > 0
            torch.testing.assert_close(together[index, : count[0]], alone[0, : count[0]], atol=2e-5, rtol=1e-4)
    counted = frame_counts.of_values({"model_type": kind, **every_model.config_of(kind)}, None)
    assert frames.tolist() == counted.frames(np.array([len(row) for row in rows])).tolist()


def rates_of(kind: str) -> List[Dict[str, Any]]:
    """The usual configuration, and others of another frame rate."""
    config, found = every_model.config_of(kind), architectures.LISTED[kind]
    below = config.get(found.inner, {})
    others = []
    for change in OTHER_RATES:
        if all(key in (below if found.inner else config) for key in change):
            others.append({**config, **({found.inner: {**below, **change}} if found.inner else change)})
    return [config, *others]


@pytest.mark.parametrize("kind", TRAINED)
def test_frames_are_counted_as_the_model_makes_them_at_other_rates_too(kind: str):
    found = architectures.LISTED[kind]
    for config in rates_of(kind):
        recognizer = make(kind, config=config)
        front_end = recognizer.features.front_end
        rule = found.convolutions(config, {} if front_end is None else front_end.settings)
        borders = np.flatnonzero(np.diff(rule.frames(np.arange(9000)))) + 1
        lengths = [int(length) for border in (*borders[:2], borders[-1]) for length in (border - 1, border)]
        batch = collate([noise(9000)[0][:length] for length in lengths], recognizer.features)
        with torch.no_grad():
            made = [ctc.forward(recognizer.model.eval(), **one(batch, row), exact=True)[0].shape[1] for row in range(6)]
        assert made == rule.frames(np.array(lengths)).tolist()


def one(batch: Dict[str, Any], row: int) -> Dict[str, Any]:
    """A row of a batch, without its padding."""
    length = int(batch["lengths"][row] if "lengths" in batch else batch["attention_mask"][row].sum())
    return {
        name: values[row : row + 1, :length] if values.dim() > 1 else values[row : row + 1]
        for name, values in batch.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", TRAINED)
def test_what_is_measured_is_what_is_known(kind: str):
    found = architectures.LISTED[kind]
    samples = np.arange(600, 30000, 37)
    for config in rates_of(kind):
        settings = {"sampling_rate": 16000, **found.settings_of(config)}
        measured = measured_frames.measure(kind, found.extractor, config, settings).frames(samples)
        # Parakeet makes one frame more, of what its mask leaves out.
        more = measured - found.convolutions(config, settings).frames(samples)
        assert set(more.tolist()) <= ({0, 1} if found.masks_end else {0})


@pytest.mark.parametrize("kind", ["unispeech", pytest.param("lasr_ctc", marks=pytest.mark.slow)])
def test_a_class_that_no_list_has_is_described_by_the_library(kind: str, corpus: Path, tmp_path: Path, monkeypatch):
    if kind not in TRAINED:
        pytest.skip(f"the installed transformers has no {kind}")
    monkeypatch.delitem(architectures.LISTED, kind)
    found = architectures.require(kind)
    assert (found.together, found.counts) == (False, None)
    preset = write_preset(tmp_path, kind)

    def asrctl(*words: Any) -> Any:
        return run_here(*words, "--workspace", tmp_path / "workspace", "--json").succeeded()

    asrctl("prepare", "manifest", corpus, "--preset", preset)
    asrctl("train", "--preset", preset, "--device", "cpu")
    assert asrctl("export", "--format", "hf").result["verified"]["transcripts_equal"] >= 2


FEATURES = [kind for kind in TRAINED if not architectures.LISTED[kind].hears_samples]


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("sew", {"batches": {"shapes": "static"}}, "free shapes only"),
        *((kind, {"batches": {"shapes": "static"}}, "free shapes only") for kind in FEATURES[:1]),
        *((kind, {"model": {"filterbank": True}}, "no convolutions over samples") for kind in FEATURES[:1]),
        ("whisper", {}, "its text comes from a decoder"),
    ],
)
def test_what_can_not_be_done_is_refused_before_any_work(kind: str, changes: Any, said: str, tmp_path: Path):
    model = {"architecture": kind, **changes.get("model", {})}
    (tmp_path / "every.yaml").write_text(yaml.safe_dump({"name": "every", **changes, "model": model}))
    refused = run_here("presets", "check", tmp_path / "every.yaml", "--workspace", tmp_path / "workspace", "--json")
    assert refused.exit_code == 3
    assert said in refused.error["message"] and kind in refused.error["message"]


@pytest.mark.parametrize("kind", [kind for kind in TRAINED if kind in ("sew", *FEATURES)])
def test_a_model_that_no_graph_is_made_of_is_refused_by_name(kind: str):
    with pytest.raises(UsageError, match=f"a {kind} model has no export to ONNX"):
        onnx.require_kind(kind)


def test_an_adapter_is_refused_on_either_level_of_a_configuration():
    for values in ({"add_adapter": True}, {"audio_config": {"add_adapter": True}}):
        with pytest.raises(ValueError, match="an adapter shortens the output"):
            frame_counts.of_values({"model_type": "wav2vec2", **values}, None)


def test_a_batch_norm_learns_from_frames_without_padding():
    plain, masked = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    masked.__class__ = MaskedBatchNorm
    frames, lengths = torch.randn(2, 3, 9, generator=torch.Generator().manual_seed(1)), torch.tensor([9, 4])
    masked.lengths = lengths
    real = torch.cat([frames[0], frames[1][:, :4]], dim=1)[None]
    made, expected = masked(frames), plain(real)
    torch.testing.assert_close(torch.cat([made[0], made[1][:, :4]], dim=1), expected[0])
    torch.testing.assert_close(masked.running_var, plain.running_var)
    torch.testing.assert_close(masked.running_mean, plain.running_mean)
    assert masked.num_batches_tracked == 1 and not made[1][:, 4:].any()


@pytest.mark.skipif("parakeet_ctc" not in TRAINED, reason="the installed transformers has no Parakeet")
@pytest.mark.parametrize(
    "settings", [{"hop_length": 0}, {"hop_length": "160"}, {"win_length": -400}, {"n_fft": 1 << 40}]
)
def test_a_feature_extractor_that_can_not_be_is_one_sentence(settings: Dict[str, Any], tmp_path: Path):
    loading.save_recognizer(make("parakeet_ctc"), tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    with pytest.raises(BadData):
        loading.load_recognizer(tmp_path)
    if "n_fft" not in settings:
        with pytest.raises(BadData, match="a window, a hop or a stride that is none"):
            frame_counts.of_folder(tmp_path)
