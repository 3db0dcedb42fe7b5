"""A long kernel by way of spectra gives what the convolution gives, forwards and backwards."""

import pytest
import torch
from torch.nn import functional

from asrctl.models.packed import fft_conv
from asrctl.runtime import devices


@pytest.mark.parametrize(("places", "groups", "blocks"), [(64, 4, 3), (65, 1, 1), (128, 3, 4)])
def test_outputs_and_gradients_are_those_of_the_convolution(places, groups, blocks):
    torch.manual_seed(0)
    row = torch.randn((blocks + 1) * places, 12, requires_grad=True)
    kernel = torch.randn(12, 12 // groups, places, requires_grad=True)
    gradient = torch.randn(blocks * places, 12)
    found = fft_conv.correlate(row, kernel, groups)
    exact = functional.conv1d(row.double().t()[None], kernel.double(), groups=groups)[0].t()[: len(found)]
    assert found.shape == gradient.shape
    torch.testing.assert_close(found, exact.float(), atol=1e-4, rtol=1e-5)
    ours = torch.autograd.grad(found, (row, kernel), gradient)
    theirs = torch.autograd.grad(exact, (row, kernel), gradient.double())
    for mine, plain in zip(ours, theirs):
        torch.testing.assert_close(mine, plain, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("tiles", [True, False])
def test_short_kernels_and_tiles_convolve_plainly(monkeypatch, tiles):
    monkeypatch.setattr(devices, "cpu_has_tiles", lambda: tiles)
    hidden, kernel = torch.zeros(10, 16), torch.zeros(16, 8, 128)
    assert fft_conv.supports(hidden, kernel)
    assert fft_conv.supports(hidden.bfloat16(), kernel) is not tiles
    assert not fft_conv.supports(hidden, kernel[:, :, : fft_conv.SHORTEST - 1])
