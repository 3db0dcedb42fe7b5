"""Torch 2.0 adds up bf16 products in bf16 on a CPU without AVX-512: asrctl refuses bf16 there, and nothing tests it."""

import pytest

from asrctl.runtime import compat

SOUND_BF16 = compat.cpu_adds_up_bf16()
needs_sound_bf16 = pytest.mark.skipif(not SOUND_BF16, reason="this torch adds up bf16 products in bf16 on this CPU")
