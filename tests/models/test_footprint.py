"""The bound on a step's memory, beside what a process really takes at most. Each step has a process of its own."""

import subprocess
import sys

import pytest

from ..helpers.sound_bf16 import needs_sound_bf16

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak between two moments")

_STEP = r"""
import re, sys
from pathlib import Path
import torch
from asrctl.config.recipe import ModelSection
from asrctl.data.text import TextRules, build_vocabulary
from asrctl.models import ctc, loading
from asrctl.models.packed import feature_encoder, memory_estimate, transformer
from asrctl.runtime import memory
from asrctl.runtime.devices import autocast

rows, seconds, width, precision, learns = {rows}, {seconds}, {width}, {precision!r}, {learns}

def status(key):
    return int(re.search(key + r":\s*(\d+) kB", Path("/proc/self/status").read_text()).group(1)) * 1024

shape = dict(hidden_size=width, num_hidden_layers=4, num_attention_heads=4, intermediate_size=4 * width)
shape.update(conv_dim=[width // 2] * 7, num_conv_pos_embedding_groups=4)
section = ModelSection(config=shape, layerdrop=0.0, freeze_feature_encoder=not learns)
vocabulary = build_vocabulary(dict.fromkeys("ab ", 1), TextRules())
model = loading.build(section, vocabulary, seed=1, sample_rate=16000).recognizer.model
memory.keep_for_reuse()
model.train()
samples = int(seconds * 16000)
audio = torch.randn(rows, samples)
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
moments = [torch.full_like(p, 0.1) for p in model.parameters() if p.requires_grad for _ in range(2)]
if learns:
    with autocast(torch.device("cpu"), precision):
        features, _ = ctc.encoded(model, input_values=audio, attention_mask=torch.ones_like(audio).long())
else:
    features = feature_encoder.features(model, list(audio), precision=precision)
logits, frames = transformer.logits(model, features, precision=precision)
labels = torch.full((rows, int(frames[0]) // 3), len(vocabulary) - 1)
lengths = torch.full((rows,), labels.shape[1])
padded = transformer.padded(logits, frames)
ctc.ctc_losses(
    padded, frames, labels, lengths, blank=vocabulary.blank_id, reduction="mean", zero_infinity=True
).sum().backward()
taken = status("VmHWM") - before
print(taken / memory_estimate.most_bytes(model, rows, samples, precision=precision, pads=learns))
"""


@pytest.mark.parametrize(
    ("rows", "seconds", "width", "precision", "learns"),
    [
        pytest.param(64, 1, 256, "bf16", False, marks=[needs_sound_bf16, pytest.mark.slow]),
        pytest.param(2, 28, 256, "fp32", False, marks=pytest.mark.slow),
        pytest.param(3, 20, 128, "bf16", True, marks=[needs_sound_bf16, pytest.mark.slow]),
        (12, 4, 64, "fp32", True),
    ],
)
def test_a_step_takes_less_than_the_bound_but_not_much_less(rows, seconds, width, precision, learns):
    program = _STEP.format(rows=rows, seconds=seconds, width=width, precision=precision, learns=learns)
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    assert 0.25 < float(done.stdout) < 1
