"""The changes to one utterance, in the order in which sound meets them: speaker, room, noise, microphone, channel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping

import numpy as np

from asrctl.config.recipe import Augment
from asrctl.data.augmentation import codecs, filters, noise, reverberation, speaker
from asrctl.data.augmentation.recordings import Recordings, find
from asrctl.data.sampler import generator
from asrctl.errors import PresetError
from asrctl.events import Emit, ignore

# Keys of `batches.augment` that name folders.
FOLDERS = ("noise_files", "reverb_files")
_SECTION = "batches.augment"
# The older changes draw from one stream, one after the other; each newer one has its own, so that switching it on
# changes nothing that the others draw.
_AUDIO_STREAM, _EFFECT_STREAM = 4, 8
_EFFECTS = ("vtlp", "reverb", "noise", "clip", "low_pass", "codec")


@dataclass(frozen=True)
class Augmenter:
    """Changes training audio by the rules of a recipe: a pure function of (seed, epoch, utterance).

    recordings: {key of the recipe: what its folder holds}, for the keys of FOLDERS that are set.
    """

    rules: Augment
    sample_rate: int
    seed: int
    recordings: Mapping[str, Recordings] = field(default_factory=dict)

    def __call__(self, samples: np.ndarray, epoch: int, index: int) -> np.ndarray:
        """samples (time,) float32 of utterance `index` -> a changed copy, (time / speed,) float32."""
        if self.rules == Augment():
            return samples
        draws = _Draws(self.seed, epoch, index)
        rules, rate, shared = self.rules, self.sample_rate, draws.shared
        if rules.vtlp:
            factor = draws.own("vtlp").uniform(1 - rules.vtlp, 1 + rules.vtlp)
            samples = speaker.warp_formants(samples, float(factor), rate)
        if rules.speed:
            samples = speaker.play_at(samples, float(shared.uniform(1 - rules.speed, 1 + rules.speed)), rate)
        if rules.eq_db:
            samples = filters.equalize(samples, rules.eq_db, rate, shared)
        if draws.hit("reverb", rules.reverb_share):
            samples = self._in_a_room(samples, draws.own("reverb"))
        samples = self._with_noise(samples, draws)
        if rules.gain_db:
            samples = samples * np.float32(10 ** (shared.uniform(-rules.gain_db, rules.gain_db) / 20))
        return self._recorded(samples, draws)

    def length(self, num_samples: int, epoch: int, index: int) -> int:
        """Samples that an utterance of so many comes to, without making any: only the speed changes it."""
        if not self.rules.speed:
            return num_samples
        speed = float(_Draws(self.seed, epoch, index).shared.uniform(1 - self.rules.speed, 1 + self.rules.speed))
        return speaker.samples_at(num_samples, speed, self.sample_rate)

    def _in_a_room(self, samples: np.ndarray, draws: np.random.Generator) -> np.ndarray:
        known = self.recordings.get("reverb_files")
        if known is None:
            response = reverberation.simulated(self.sample_rate, draws)
        else:
            response = reverberation.recorded(known, self.sample_rate, draws)
        return samples if response is None else reverberation.reverberate(samples, response)

    def _with_noise(self, samples: np.ndarray, draws: "_Draws") -> np.ndarray:
        rules, known = self.rules, self.recordings.get("noise_files")
        if rules.noise_snr_db is None:
            return samples
        if known is None:
            if draws.shared.random() < rules.noise_share:
                return noise.add_made(samples, rules.noise_snr_db, draws.shared)
            return samples
        if not draws.hit("noise", rules.noise_share):
            return samples
        return noise.add_recorded(samples, known, rules.noise_snr_db, self.sample_rate, draws.own("noise"))

    def _recorded(self, samples: np.ndarray, draws: "_Draws") -> np.ndarray:
        """What microphone, line and file make of it."""
        rules, rate = self.rules, self.sample_rate
        if draws.hit("clip", rules.clip_share):
            samples = filters.clip(samples, draws.own("clip"))
        if draws.hit("low_pass", rules.low_pass_share):
            samples = filters.low_pass(samples, rules.low_pass_hz, rate, draws.own("low_pass"))
        if draws.hit("codec", rules.codec_share):
            own = draws.own("codec")
            samples = codecs.code(samples, rules.codecs[int(own.integers(len(rules.codecs)))], rate, own)
        return samples


class _Draws:
    """The random generators of one utterance in one epoch."""

    def __init__(self, seed: int, epoch: int, index: int) -> None:
        self._key = (epoch, index)
        self._seed = seed
        self.shared = generator(seed, _AUDIO_STREAM, epoch, index)
        self._own: Dict[str, np.random.Generator] = {}

    def own(self, effect: str) -> np.random.Generator:
        if effect not in self._own:
            self._own[effect] = generator(self._seed, _EFFECT_STREAM, _EFFECTS.index(effect), *self._key)
        return self._own[effect]

    def hit(self, effect: str, share: float) -> bool:
        """Whether the utterance is among the share that gets this."""
        return share > 0 and bool(self.own(effect).random() < share)


def folders(rules: Augment, emit: Emit = ignore) -> Dict[str, Recordings]:
    """What the folders hold that a recipe names. Raises PresetError for one that is not there or holds none."""
    named: List[Any] = [(key, getattr(rules, key)) for key in FOLDERS]
    return {key: find(folder, f"{_SECTION}.{key}", emit) for key, folder in named if folder is not None}


def refuse_codecs(rules: Augment) -> None:
    """Raises PresetError for a codec that libsndfile has not been built with."""
    lacking = codecs.missing(rules.codecs) if rules.codec_share else []
    if lacking:
        rest = ", ".join(name for name in codecs.CODECS if name not in codecs.missing((name,)))
        raise PresetError(
            f"libsndfile on this machine can not write {', '.join(lacking)}",
            fix=f"set {_SECTION}.codecs to some of {rest}, or install a newer soundfile",
        )
