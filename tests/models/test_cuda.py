"""On a GPU: the packed engine gives what it gives on the CPU, and the commands run there."""

import copy
import json

import pytest
import torch

from asrctl.models import ctc
from asrctl.models.packed import feature_encoder, transformer

from .test_encoder import samples_of
from .test_transformer import CASES, LENGTHS, labels_of, make

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")


def passed(recognizer, device, precision):
    """Logits, loss and gradients of one pass, on the CPU."""
    model = copy.deepcopy(recognizer.model).to(device).train()
    samples = [row.to(device) for row in samples_of(recognizer, *LENGTHS)]
    features = feature_encoder.features(model, samples, precision=precision)
    rows, frames = transformer.logits(model, features, precision=precision)
    labels, lengths = (values.to(device) for values in labels_of(len(frames)))
    loss = ctc.ctc_losses(
        transformer.padded(rows, frames), frames, labels, lengths, blank=0, reduction="mean", zero_infinity=True
    ).mean()
    loss.backward()
    gradients = {name: values.grad.cpu() for name, values in model.named_parameters() if values.grad is not None}
    return rows.detach().cpu(), float(loss.detach()), gradients


@pytest.mark.parametrize(("architecture", "config"), CASES)
def test_fp32_is_that_of_the_cpu(architecture, config):
    recognizer = make(architecture, config)
    logits, loss, gradients = passed(recognizer, "cuda", "fp32")
    expected, expected_loss, expected_gradients = passed(recognizer, "cpu", "fp32")
    torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-3)
    assert loss == pytest.approx(expected_loss, rel=1e-4)
    assert set(gradients) == set(expected_gradients)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize(("architecture", "config"), CASES)
def test_low_precision_stays_near(architecture, config, precision):
    recognizer = make(architecture, config)
    logits, loss, gradients = passed(recognizer, "cuda", precision)
    expected, expected_loss, expected_gradients = passed(recognizer, "cpu", "fp32")
    assert (logits - expected).norm() < 0.03 * expected.norm()
    assert loss == pytest.approx(expected_loss, rel=0.02)
    ours, theirs = (torch.cat([one[name].flatten() for name in gradients]) for one in (gradients, expected_gradients))
    assert (ours - theirs).norm() < 0.05 * theirs.norm()


RECIPE = (
    *("model.freeze_feature_encoder=true", "model.config.hidden_act=gelu", "model.config.feat_extract_activation=gelu"),
    *("batches.augment.speed=0", "batches.augment.noise_snr_db=null", "optim.global_batch_s=60", "run.log_every=1"),
    "cuda.precision=fp32",
)


def test_both_engines_learn_the_same_there(asrctl_process, librispeech, workspace):
    splits = ("--train", "test-other", "--eval", "dev-clean")
    asrctl_process("prepare", "librispeech", librispeech, *splits).succeeded()
    losses = {}
    for engine in ("auto", "plain"):
        options = [word for override in (*RECIPE, f"cuda.engine={engine}") for word in ("--set", override)]
        # Over one epoch, so that the encoder's output comes from the disk in the end.
        done = asrctl_process(
            "train", "--preset", "tiny-cpu", "--max-steps", 16, "--device", "cuda", "--run", engine, *options
        ).succeeded()
        assert f"engine: {'packed' if engine == 'auto' else 'plain'}, fp32" in done.stderr
        metrics = (workspace / "runs" / engine / "metrics.jsonl").read_text().splitlines()
        losses[engine] = [row["loss"] for row in map(json.loads, metrics) if "loss" in row]
    assert len(losses["auto"]) == 16
    assert losses["auto"] == pytest.approx(losses["plain"], rel=1e-2)
    wers = {device: asrctl_process("eval", "--device", device, "--json").result["wer"] for device in ("cuda", "cpu")}
    assert wers["cuda"] == pytest.approx(wers["cpu"], abs=0.02)
