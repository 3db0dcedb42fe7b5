"""What each change does to a sound whose properties are known, and that each draws for itself."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest
import soundfile

from asrctl.config.recipe import Augment
from asrctl.data.augmentation import codecs, filters, noise, reverberation, speaker
from asrctl.data.augmentation.chain import Augmenter, folders
from asrctl.data.augmentation.recordings import find
from asrctl.data.sampler import generator
from asrctl.errors import PresetError

RATE = 16000
ALL: Dict[str, Any] = {
    "speed": 0.1,
    "vtlp": 0.2,
    "eq_db": 3.0,
    "reverb_share": 1.0,
    "noise_snr_db": 10.0,
    "noise_share": 1.0,
    "gain_db": 6.0,
    "clip_share": 1.0,
    "low_pass_share": 1.0,
    "codec_share": 1.0,
}


def vowel(pitch_hz: float = 110.0, formant_hz: float = 1000.0, seconds: float = 1.5) -> np.ndarray:
    """(time,) float32: harmonics of a pitch under one resonance."""
    time = np.arange(int(seconds * RATE)) / RATE
    harmonics = np.arange(1, int(RATE / 2 / pitch_hz)) * pitch_hz
    loudness = 1 / (1 + ((harmonics - formant_hz) / 150.0) ** 2)
    return (0.05 * np.sin(2 * np.pi * harmonics[:, None] * time) * loudness[:, None]).sum(0).astype(np.float32)


def share_of_power(samples: np.ndarray, low_hz: float, high_hz: float) -> float:
    power = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.linspace(0, RATE / 2, len(power))
    return float(power[(hz >= low_hz) & (hz < high_hz)].sum() / power.sum())


def center_hz(samples: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(samples)) ** 2
    return float((power * np.linspace(0, RATE / 2, len(power))).sum() / power.sum())


@pytest.fixture(scope="module")
def noises(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a hum of 50 Hz and a whistle of 3 kHz, both shorter than an utterance, and a file that is none."""
    folder = tmp_path_factory.mktemp("noises")
    time = np.arange(RATE // 2) / RATE
    for name, hz in (("hum.wav", 50), ("deeper/whistle.flac", 3000)):
        (folder / name).parent.mkdir(exist_ok=True)
        soundfile.write(str(folder / name), 0.3 * np.sin(2 * np.pi * hz * time), RATE)
    (folder / "broken.wav").write_bytes(b"RIFF")
    return folder


def test_formants_move_and_the_pitch_stays() -> None:
    before = vowel()
    for factor in (0.85, 1.2):
        after = speaker.warp_formants(before, factor, RATE)
        assert len(after) == len(before)
        assert center_hz(after) / center_hz(before) == pytest.approx(factor, rel=0.05)
        spectrum = np.abs(np.fft.rfft(after))
        peaks = np.argsort(spectrum)[-5:] * (RATE / len(after))
        assert np.allclose(peaks / 110, np.rint(peaks / 110), atol=0.02), peaks


def test_formants_that_stay_leave_the_samples() -> None:
    assert np.allclose(speaker.warp_formants(vowel(), 1.0, RATE), vowel(), atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_frequencies_are_warped_within_the_band(rate: int) -> None:
    hz = np.linspace(0, rate / 2, 1000)
    for factor in (0.7, 0.9, 1.0, 1.1, 1.4):
        found = speaker.warped(hz, factor, rate / 2)
        assert found[0] == 0 and found[-1] == pytest.approx(rate / 2) and (np.diff(found) > 0).all()
        assert found[100] == pytest.approx(hz[100] * factor)


def test_a_simulated_room_decays_as_rooms_do() -> None:
    times = []
    for number in range(30):
        response = reverberation.simulated(RATE, generator(3, number))
        assert response[0] > 0 and np.isfinite(response).all()
        left = 10 * np.log10(np.cumsum(response[::-1] ** 2)[::-1] / np.square(response).sum() + 1e-12)
        # Schroeder 1965: from -5 to -25 dB, three times.
        times.append(3 * (np.argmax(left < -25) - np.argmax(left < -5)) / RATE)
    assert min(times) > 0.1 and max(times) < 1.0 and max(times) > 1.5 * min(times)


def test_a_room_keeps_length_loudness_and_place() -> None:
    before = np.zeros(RATE, np.float32)
    before[4000:4400] = vowel()[:400]
    after = reverberation.reverberate(before, reverberation.simulated(RATE, generator(1)))
    assert len(after) == len(before) and after.std() == pytest.approx(before.std(), rel=1e-3)
    assert np.abs(after[:4000]).max() < 1e-4 * np.abs(after).max(), "nothing is heard before it is said"
    assert np.abs(after[4400:6000]).max() > 1e-3 * np.abs(after).max(), "and something after"


def test_a_recorded_response_begins_with_its_direct_sound(tmp_path: Path) -> None:
    response = np.zeros((RATE, 2))
    response[500], response[1300] = (0.9, -0.9), (0.3, -0.3)  # channels that cancel each other: the first is taken
    soundfile.write(str(tmp_path / "hall.wav"), response, RATE)
    found = reverberation.recorded(find(str(tmp_path), "k", print), RATE, generator(0))
    assert found is not None and np.abs(found).argmax() == 16 and found[816] == pytest.approx(0.3, abs=1e-3)


def test_recorded_noise_has_the_ratio_that_was_drawn(noises: Path) -> None:
    before, heard = vowel(), set()
    for number in range(20):
        recordings = find(str(noises), "k", lambda event: None)
        added = noise.add_recorded(before, recordings, 5.0, RATE, generator(2, number)) - before
        ratio_db = 20 * np.log10(before.std() / added.std())
        assert 5 <= ratio_db <= 35
        heard.add(center_hz(added) > 1000)
    assert heard == {True, False}, "both recordings are used"


def test_what_can_not_be_read_is_told_and_left_out(noises: Path) -> None:
    told = []
    found = find(str(noises), "batches.augment.noise_files", told.append)
    assert [item.name for item in found.items] == ["deeper/whistle.flac", "hum.wav"]
    assert [event.message for event in told] == [
        "batches.augment.noise_files: 1 file can not be read and is left out, such as broken.wav"
    ]


@pytest.mark.parametrize("name", sorted(codecs.CODECS))
def test_a_codec_keeps_length_and_place(name: str) -> None:
    time = np.arange(20001) / RATE
    before = (0.2 * np.sin(2 * np.pi * (400 + 1000 * time) * time)).astype(np.float32)  # at no other place like itself
    assert not codecs.missing((name,))
    after = codecs.code(before, name, RATE, generator(4))
    assert len(after) == len(before) and after.dtype == np.float32
    size = 2 * len(before)
    product = np.fft.irfft(np.fft.rfft(before, size).conj() * np.fft.rfft(after, size), size)
    assert min(product.argmax(), size - product.argmax()) <= 8, "no delay, which would move words against labels"
    assert np.abs(after).max() < 2 * np.abs(before).max()
    assert not np.allclose(after, before, atol=1e-4)


def test_codecs_take_what_is_louder_than_full_scale() -> None:
    loud = 3 * vowel() / np.abs(vowel()).max()
    after = codecs.code(loud.astype(np.float32), "mp3", RATE, generator(4))
    assert np.corrcoef(after, loud)[0, 1] > 0.95


def test_a_telephone_has_its_band() -> None:
    hiss = generator(5).standard_normal(RATE).astype(np.float32) * 0.1
    assert share_of_power(codecs.code(hiss, "telephone", RATE, generator(4)), 300, 3500) > 0.98


def test_low_pass_and_clipping() -> None:
    hiss = generator(5).standard_normal(RATE).astype(np.float32)
    shares = [share_of_power(filters.low_pass(hiss, 1500, RATE, generator(6, n)), 0, 1500) for n in range(30)]
    assert max(shares) > 0.6 and min(shares) < 0.3, "cutoffs between 1.5 and 8 kHz"
    for number in range(20):
        clipped = filters.clip(hiss, generator(7, number))
        at_the_top = np.mean(np.abs(clipped) == np.abs(clipped).max())
        assert 0 <= at_the_top <= 0.101 and len(clipped) == len(hiss)


def test_a_change_is_a_function_of_seed_epoch_and_utterance() -> None:
    """In any order, and in any thread."""
    augmenter = Augmenter(Augment(**ALL), RATE, seed=9)
    before = [vowel(90 + 10 * index) for index in range(6)]
    wanted = {(epoch, index): augmenter(before[index], epoch, index) for epoch in (0, 1) for index in range(6)}
    found = {}

    def work(keys: Any) -> None:
        for epoch, index in keys:
            found[epoch, index] = augmenter(before[index], epoch, index)

    keys = sorted(wanted, reverse=True)
    threads = [threading.Thread(target=work, args=(keys[part::3],)) for part in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for key, samples in wanted.items():
        assert np.array_equal(found[key], samples), key
    assert not np.array_equal(wanted[0, 1], wanted[1, 1])
    other = dataclasses.replace(augmenter, seed=10)(before[1], 0, 1)
    assert not np.array_equal(other, wanted[0, 1])


@pytest.mark.parametrize("added", ["vtlp", "reverb_share", "clip_share", "low_pass_share", "codec_share"])
def test_one_more_change_leaves_what_the_others_draw(added: str) -> None:
    """Undo nothing, but draw alike: a share of next to nothing hits nobody, and all is as without it."""
    base = {key: value for key, value in ALL.items() if key != added}
    if added == "vtlp":
        base = {"speed": 0.1, "noise_snr_db": 10.0}
    with_it = dict(base, **{added: 1e-12})
    one, other = (Augmenter(Augment(**rules), RATE, seed=9)(vowel(), 0, 3) for rules in (base, with_it))
    assert np.allclose(one, other, atol=1e-5)


def test_without_rules_the_samples_are_the_samples() -> None:
    before = vowel()
    assert Augmenter(Augment(), RATE, seed=1)(before, 0, 0) is before


@pytest.mark.parametrize("made", ["nothing", "an empty folder", "a file"])
def test_a_folder_that_holds_no_noise(tmp_path: Path, made: str) -> None:
    place = tmp_path / "noises"
    if made == "an empty folder":
        place.mkdir()
    elif made == "a file":
        place.write_text("x")
    with pytest.raises(PresetError) as refused:
        folders(Augment(noise_snr_db=5.0, noise_files=str(place)))
    assert "batches.augment.noise_files" in refused.value.message and refused.value.fix
