"""A convolution with a long kernel as a product of spectra, the Fourier transforms being matrix products themselves.

The position embedding of wav2vec 2.0 (128 places, 16 groups of 48 channels) takes a quarter of the multiplications so,
and they are of the kind that libraries do well: in fp32, both ways, 0.22 s instead of 1.35 s for 44 s of audio on two
cores with AVX-512, of 9.2 s for the whole transformer. Neighbors in the packed row differ by rounding only.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Tuple

import torch

from asrctl.runtime import devices

# From this length on. Shorter kernels were not measured.
SHORTEST = 64


def supports(row: torch.Tensor, kernel: torch.Tensor) -> bool:
    """Whether `correlate` is the fast way: on a GPU, whose library is slow at such kernels, and on a CPU.

    Not where the CPU multiplies the row's bf16 on tiles, many times as fast as the fp32 of the spectra.
    """
    on_tiles = row.dtype == torch.bfloat16 and devices.cpu_has_tiles()
    fast = row.device.type == "cuda" or (row.device.type == "cpu" and not on_tiles)
    return fast and kernel.shape[2] >= SHORTEST


def rows_for(length: int, places: int) -> int:
    """Rows that `correlate` takes for at least `length` rows of output: blocks of `places`, and one block more."""
    return (-(-length // places) + 1) * places


def correlate(row: torch.Tensor, kernel: torch.Tensor, groups: int) -> torch.Tensor:
    """y[t] = sum over k of kernel[:, :, k] x[t + k], group by group; differentiable in both.

    row: ((n + 1) * places, channels) for n blocks of output. kernel: (channels, channels / groups, places).
    Returns (n * places, channels). Overlap-save (Oppenheim and Schafer, Discrete-Time Signal Processing, 8.7.3):
    two blocks at a time have 2 * places samples, and the first half of their circular correlation is the plain one.
    """
    channels, width, places = kernel.shape
    forth, back, signs = _transforms(places, row.device)
    blocks = torch.matmul(forth, row.view(-1, places, channels))  # (n + 1, 2 * lines, channels)
    spectra = torch.addcmul(blocks[:-1], blocks[1:], signs)
    filters = forth @ kernel.reshape(channels * width, places).t()
    lines = places + 1
    # Of each line and group: (n, width) times (width, width). Nothing is copied for it.
    real, imaginary = spectra.reshape(-1, 2, lines * groups, width).transpose(0, 2).unbind(1)
    of_real, of_imaginary = filters.reshape(2, lines * groups, width, width).transpose(2, 3).unbind(0)
    found = torch.cat(
        [
            torch.baddbmm(torch.bmm(real, of_real), imaginary, of_imaginary),
            torch.baddbmm(torch.bmm(imaginary, of_real), real, of_imaginary, alpha=-1),
        ]
    )
    made = back @ found.view(2 * lines, -1)  # (places, groups * n * width)
    return made.view(places, groups, -1, width).permute(2, 0, 1, 3).reshape(-1, channels)


@lru_cache(maxsize=4)
def _transforms(places: int, device: torch.device) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Real Fourier transforms of 2 * places samples, float32, lines being the places + 1 frequencies.

    forth: (2 * lines, places), real parts before imaginary ones, of the first half of the samples. signs (2 * lines, 1)
    turn it into that of the second half. back: (places, 2 * lines), to the first half of the samples.
    """
    with torch.inference_mode(False), torch.no_grad():
        lines = torch.arange(places + 1, dtype=torch.float64)
        angles = torch.outer(lines, torch.arange(places, dtype=torch.float64)) * (torch.pi / places)
        forth = torch.cat([angles.cos(), -angles.sin()])
        signs = torch.cat([1 - 2 * (lines % 2)] * 2)[:, None]
        twice = torch.full((places + 1,), 2.0, dtype=torch.float64)
        twice[0] = twice[-1] = 1.0
        back = (forth * torch.cat([twice, twice])[:, None] / (2 * places)).t()
        return tuple(made.float().contiguous().to(device) for made in (forth, back, signs))
