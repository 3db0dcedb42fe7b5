"""What the installed torch, whichever it is, computes on this CPU: no gradient depends on oneDNN or on strides."""

import itertools
from typing import Dict

import pytest
import torch
from torch.nn import functional

from asrctl.data.collate import collate
from asrctl.models import ctc
from asrctl.runtime import compat

from ..helpers.sound_bf16 import SOUND_BF16
from ..helpers.tiny import GROUP, LAYER, NO_DROPOUT, NO_MASKS, geometry, tiny_recognizer

ROWS, CHANNELS, FRAMES = 2, 32, 40
INPUT = (ROWS, CHANNELS, FRAMES)
# A function of its inputs, and the shapes of these. All that the models have which is more than a sum or a product.
OPERATIONS = {
    "gelu": (functional.gelu, [INPUT]),
    "gelu by tanh": (lambda x: functional.gelu(x, approximate="tanh"), [INPUT]),
    "silu": (functional.silu, [INPUT]),
    "relu": (functional.relu, [INPUT]),
    "softmax": (lambda x: functional.softmax(x, -1), [INPUT]),
    "log_softmax": (lambda x: functional.log_softmax(x, -1), [INPUT]),
    "layer_norm": (lambda x, w, b: functional.layer_norm(x, (FRAMES,), w, b), [INPUT, (FRAMES,), (FRAMES,)]),
    "group_norm": (lambda x, w, b: functional.group_norm(x, CHANNELS, w, b), [INPUT, (CHANNELS,), (CHANNELS,)]),
    "linear": (functional.linear, [INPUT, (24, FRAMES), (24,)]),
    "bmm": (torch.bmm, [INPUT, (ROWS, FRAMES, 24)]),
    "first convolution": (lambda x, w: functional.conv1d(x, w, stride=5), [(ROWS, 1, 200), (CHANNELS, 1, 10)]),
    "convolution": (lambda x, w, b: functional.conv1d(x, w, b, stride=2), [INPUT, (24, CHANNELS, 3), (24,)]),
    "grouped": (lambda x, w: functional.conv1d(x, w, groups=4, padding=8), [INPUT, (CHANNELS, CHANNELS // 4, 16)]),
    "depthwise": (lambda x, w: functional.conv1d(x, w, groups=CHANNELS, padding=2), [INPUT, (CHANNELS, 1, 5)]),
}
LARGEST_DIFFERENCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}


def laid_out(tensor: torch.Tensor) -> Dict[str, torch.Tensor]:
    """The values as autograd may hand them on: in one piece, turned, cut out, one value for many."""
    return {
        "one piece": tensor,
        "turned": tensor.transpose(-1, -2).contiguous().transpose(-1, -2),
        "rows turned": tensor.transpose(0, 1).contiguous().transpose(0, 1),
        "cut out": torch.cat([tensor, tensor], -1)[..., : tensor.shape[-1]],
        "every second": torch.stack([tensor, tensor], -1).flatten(-2)[..., ::2],
        "one for many": tensor[..., :1].expand(tensor.shape),
    }


def passes(function, inputs, gradient):
    """[outputs, gradient of each input]."""
    leaves = [tensor.detach().clone(memory_format=torch.preserve_format).requires_grad_() for tensor in inputs]
    outputs = function(*leaves)
    return [outputs.detach(), *torch.autograd.grad(outputs, leaves, gradient)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_no_layout_of_a_gradient_changes_the_result(name, dtype, monkeypatch):
    if dtype == torch.bfloat16 and not SOUND_BF16:
        pytest.skip("this torch adds up bf16 products in bf16 on this CPU")
    compat.mend_torch()
    function, shapes = OPERATIONS[name]
    torch.manual_seed(0)
    inputs = [torch.randn(shape).to(dtype) for shape in shapes]
    gradient = torch.randn(function(*inputs).shape).to(dtype)
    for held, handed in itertools.product(("one piece", "turned", "cut out"), laid_out(gradient)):
        mine = [laid_out(inputs[0])[held], *inputs[1:]]
        found = passes(function, mine, laid_out(gradient)[handed])
        with monkeypatch.context() as without:
            without.setattr(torch.backends.mkldnn, "enabled", False)
            wide = [tensor.float().contiguous() for tensor in (laid_out(gradient)[handed], *mine)]
            expected = passes(function, wide[1:], wide[0])
        for one, other in zip(found, expected):
            largest = max(1.0, float(other.abs().max()))
            difference = float((one.float() - other).abs().max())
            assert difference < LARGEST_DIFFERENCE[dtype] * largest, (held, handed)  # not so where it is not a number


# With an odd kernel the position embedding is not cut before its GELU, as it is with an even one.
ODD = {**GROUP, "num_conv_pos_embeddings": 15}
MODELS = [("wav2vec2", GROUP), ("wav2vec2", LAYER), ("wav2vec2", ODD), ("hubert", GROUP), ("wavlm", GROUP)]
MODELS += [("data2vec-audio", {"num_conv_pos_embeddings": 3})]
SMALL = geometry(32, 16, intermediate_size=40, num_conv_pos_embeddings=16)


@pytest.mark.parametrize(("architecture", "config"), MODELS)
def test_a_model_that_learns_as_a_whole_has_the_gradients_that_it_has_without_onednn(architecture, config, monkeypatch):
    options = {**NO_DROPOUT, "spec_augment": NO_MASKS, "freeze_feature_encoder": False}
    recognizer = tiny_recognizer({**SMALL, **config}, architecture, seed=3, **options)
    generator = torch.Generator().manual_seed(1)
    sounds = [(torch.randn(length, generator=generator) * 3000).short().numpy() for length in (16000, 9000)]
    batch = collate(sounds, recognizer.features)

    def gradients():
        recognizer.model.zero_grad(set_to_none=True)
        logits, frames = ctc.forward(recognizer.model, batch["input_values"], batch["attention_mask"], exact=True)
        logits[torch.arange(logits.shape[1]) < frames[:, None]].square().sum().backward()
        return {name: p.grad.clone() for name, p in recognizer.model.named_parameters() if p.grad is not None}

    found = gradients()
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    for name, expected in gradients().items():
        scale = float(expected.abs().max())
        torch.testing.assert_close(found[name], expected, atol=1e-4 * scale + 1e-6, rtol=1e-3, msg=name)


@pytest.mark.parametrize("zero_infinity", [True, False])
def test_an_utterance_without_a_frame_has_no_loss_of_its_own_making(zero_infinity):
    torch.manual_seed(0)
    log_probs = functional.log_softmax(torch.randn(6, 4, 5), -1).requires_grad_()
    labels, frames, counts = torch.tensor([[1, 2]] * 4), torch.tensor([0, 5, 0, 6]), torch.tensor([2, 2, 0, 1])

    def losses(rows, reduction="none"):
        return compat.ctc_loss(
            log_probs[:, rows], labels[rows], frames[rows], counts[rows], 0, reduction, zero_infinity
        )

    every = losses([0, 1, 2, 3])
    lost = 0.0 if zero_infinity else float("inf")
    assert every.tolist() == [lost, losses([1]).item(), 0.0, losses([3]).item()]
    (gradient,) = torch.autograd.grad(every[[1, 2, 3]].sum(), log_probs)
    assert not gradient[:, [0, 2]].any() and gradient[:, 1].any() and gradient[:, 3].any()
    rows = [1, 2, 3]
    for reduction in ("mean", "sum"):
        expected = functional.ctc_loss(log_probs[:, [1, 3]], labels[[1, 3]], frames[[1, 3]], counts[[1, 3]], 0, "none")
        wanted = (expected / counts[[1, 3]]).sum() / 3 if reduction == "mean" else expected.sum()
        torch.testing.assert_close(losses(rows, reduction), wanted)
