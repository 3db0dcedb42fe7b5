"""fp16 on a CPU whose torch has little of it: the results are those of float32, rounded."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from asrctl.runtime import compat

OPERATIONS = {
    "linear": (functional.linear, [(3, 20, 24), (16, 24), (16,)]),
    "bmm": (torch.bmm, [(3, 20, 24), (3, 24, 16)]),
    "convolution": (lambda x, w, b: functional.conv1d(x, w, b, stride=2), [(2, 8, 40), (12, 8, 3), (12,)]),
    "grouped": (lambda x, w: functional.conv1d(x, w, groups=2, padding=4), [(2, 8, 40), (8, 4, 8)]),
    "layer_norm": (lambda x, w, b: functional.layer_norm(x, (24,), w, b), [(3, 20, 24), (24,), (24,)]),
    "group_norm": (lambda x, w, b: functional.group_norm(x, 8, w, b), [(2, 8, 40), (8,), (8,)]),
    "gelu": (functional.gelu, [(3, 20, 24)]),
    "gelu, turned": (lambda x: functional.gelu(x).transpose(1, 2), [(3, 20, 24)]),
    "softmax": (lambda x: functional.softmax(x, -1), [(3, 20, 24)]),
    "log_softmax in fp32": (lambda x: functional.log_softmax(x, -1, dtype=torch.float32), [(3, 20, 24)]),
    "in place": (lambda x, y: (x * 2).add_(y).cumsum_(-1), [(3, 24), (3, 24)]),
    "mixed": (lambda x: x * torch.full((24,), 0.1), [(3, 24)]),
}


class _All:
    """A set that holds everything: no operation is tried as it is."""

    def __contains__(self, function) -> bool:
        return True


@pytest.fixture(params=["as this torch needs it", "all in fp32"])
def halves(request, poptorch, monkeypatch):
    from poptorch import _halves

    compat.mend_torch()  # as the executor does
    if request.param == "all in fp32":
        monkeypatch.setattr(compat, "cpu_knows_halves", lambda: False)
        monkeypatch.setattr(_halves, "_lacking", _All())
    return _halves.halves


@pytest.mark.parametrize("name", OPERATIONS)
def test_outputs_and_gradients_are_those_of_float32_rounded(halves, name) -> None:
    function, shapes = OPERATIONS[name]
    torch.manual_seed(0)
    inputs = [torch.randn(shape).half() for shape in shapes]
    gradient = torch.randn(function(*[tensor.float() for tensor in inputs]).shape)

    def passes(dtype, handed):
        leaves = [tensor.to(dtype).requires_grad_() for tensor in inputs]
        outputs = function(*leaves)
        return [outputs.detach(), *torch.autograd.grad(outputs, leaves, handed.to(outputs.dtype))]

    with halves():
        found = passes(torch.float16, gradient)
    exact = passes(torch.float32, gradient.half().float())
    wide = name in ("log_softmax in fp32", "mixed")
    assert [tensor.dtype for tensor in found] == [torch.float32 if wide else torch.float16] + [torch.float16] * len(
        shapes
    )
    for one, other in zip(found, exact):
        scale = float(other.abs().max())
        torch.testing.assert_close(one.float(), other, atol=2e-3 * scale, rtol=2e-3)


def test_what_is_dropped_is_drawn_from_the_seed(halves) -> None:
    ones = torch.ones(4, 500).half()
    with halves():
        torch.manual_seed(5)
        first = functional.dropout(ones, 0.25)
        torch.manual_seed(5)
        second = functional.dropout(ones, 0.25)
    assert first.dtype == torch.float16 and torch.equal(first, second)
    assert set(first.float().unique().tolist()) == {0.0, float(torch.tensor(1 / 0.75).half())}
    assert 0.2 < float((first == 0).float().mean()) < 0.3


def test_another_error_stays_what_it_is(halves) -> None:
    with halves(), pytest.raises(RuntimeError, match="size"):
        torch.bmm(torch.ones(2, 3, 4).half(), torch.ones(2, 3, 4).half())
