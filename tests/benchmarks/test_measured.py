"""What a command needed is its own need, not that of the process that started it."""

from __future__ import annotations

import signal
import sys

from benchmarks import measured


def test_the_peak_is_that_of_the_command_even_when_the_caller_is_larger() -> None:
    ballast = bytearray(b"1") * (300 << 20)
    small = measured.run([sys.executable, "-c", "pass"])
    large = measured.run([sys.executable, "-c", "b = bytearray(b'1') * (200 << 20)"])
    assert small.exit_code == large.exit_code == 0 and len(ballast) > 200 << 20
    assert small.peak_bytes < 100 << 20 < 200 << 20 < large.peak_bytes < 300 << 20


def test_exit_codes_signals_and_patience() -> None:
    assert measured.run([sys.executable, "-c", "raise SystemExit(5)"]).exit_code == 5
    assert measured.run(["sh", "-c", "kill -9 $$"]).exit_code == -signal.SIGKILL
    assert measured.run(["sleep", "600"], timeout_s=0.1).exit_code == -signal.SIGKILL
