"""bf16 on a CPU: nothing that is far off is computed without a word."""

from ..helpers.sound_bf16 import SOUND_BF16


def test_bf16_is_used_only_where_its_sums_are_sound(asrctl, tones):
    """Torch 2.0 adds up bf16 products in bf16 on a CPU without AVX-512: refused, with a line that works."""
    tried = asrctl("eval", "--device", "cpu", "--precision", "bf16", "--json")
    if SOUND_BF16:
        assert tried.exit_code == 0
        return
    assert tried.exit_code == 6 and "adds up bf16" in tried.error["message"]
    trained = asrctl("train", "--preset", "tiny-cpu", "--device", "cpu", "--set", "cpu.precision=bf16", "--json")
    assert (trained.exit_code, trained.error["message"]) == (6, tried.error["message"])
    assert "--precision fp32" in tried.error["fix"] and "--set cpu.precision=fp32" in trained.error["fix"]
    asrctl("eval", "--device", "cpu", "--precision", "fp32").succeeded()
