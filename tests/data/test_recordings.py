"""Recordings that are read block by block: the samples of `audio.decode`, and what is missing of them is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from asrctl.data import audio, recordings

RATE = 16000


def _sweep(seconds: float, rate: int = RATE) -> np.ndarray:
    time = np.arange(int(seconds * rate)) / rate
    return 0.3 * np.sin(2 * np.pi * (300 + 200 * np.sin(time)) * time)


@pytest.mark.parametrize("channels, subtype, rate", [(1, "PCM_16", RATE), (2, "PCM_24", 44100), (3, "FLOAT", 8000)])
def test_blocks_are_what_decoding_the_whole_gives(tmp_path: Path, channels: int, subtype: str, rate: int) -> None:
    samples = _sweep(3.07, rate)[:, None] * (0.5 + 0.2 * np.arange(channels))
    path = tmp_path / "talk.wav"
    soundfile.write(str(path), samples, rate, subtype=subtype)
    with recordings.opened(path, RATE) as recording:
        found = np.concatenate(list(recording.blocks()))
    assert not recording.remarks
    assert np.array_equal(found, audio.decode(path, audio.AudioRules(RATE)))


@pytest.mark.parametrize(
    "form, subtype", [("WAV", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None), ("FLAC", None)]
)
def test_a_recording_that_is_cut_is_read_as_far_as_it_goes_and_that_is_told(
    tmp_path: Path, form: str, subtype: str
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    soundfile.write(str(whole), _sweep(30), RATE, format=form, subtype=subtype)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with recordings.opened(whole, RATE) as recording:
        assert sum(map(len, recording.blocks())) == pytest.approx(30 * RATE, abs=0.1 * RATE)
    assert not recording.remarks
    with recordings.opened(cut, RATE) as recording:
        assert 0 < sum(map(len, recording.blocks())) < 27 * RATE
    assert len(recording.remarks) == 1
