"""What changing a second of training audio costs, effect by effect.

    python -m benchmarks.augmentation [FOLDER] [--rounds 5]

FOLDER holds recordings of speech, of which up to two minutes are taken; without one, utterances of noise stand in, as
no effect but a codec looks at what it changes. Prints milliseconds of processor time for a second of audio, the median
of the rounds with their range, and how many audio-seconds a thread changes in a second.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any, Dict, List

import numpy as np

from asrctl.config.recipe import Augment
from asrctl.data import audio
from asrctl.data.augmentation.chain import Augmenter, folders
from asrctl.data.collate import to_float

RATE = 16000
_MOST_S = 120.0
# Every effect on every utterance; a share makes it so much cheaper.
EFFECTS: Dict[str, Dict[str, Any]] = {
    "speed": {"speed": 0.1},
    "vtlp": {"vtlp": 0.1},
    "eq_db": {"eq_db": 3.0},
    "noise, made": {"noise_snr_db": 5.0, "noise_share": 1.0},
    "noise, recorded": {"noise_snr_db": 5.0, "noise_share": 1.0, "noise_files": "FOLDER"},
    "reverb, simulated": {"reverb_share": 1.0},
    "gain_db": {"gain_db": 6.0},
    "clip_share": {"clip_share": 1.0},
    "low_pass_share": {"low_pass_share": 1.0},
    **{
        f"codec {name}": {"codec_share": 1.0, "codecs": (name,)}
        for name in ("telephone", "gsm", "opus", "mp3", "vorbis")
    },
}


def utterances(folder: Path) -> List[np.ndarray]:
    """Up to two minutes, (time,) float32 each."""
    found: List[np.ndarray] = []
    paths = sorted(folder.rglob("*.flac")) + sorted(folder.rglob("*.wav"))
    for path in paths:
        if sum(map(len, found)) >= _MOST_S * RATE:
            break
        try:
            found.append(to_float(audio.decode(path, audio.AudioRules(RATE))))
        except audio.Rejected:
            continue
    return found


def made_up() -> List[np.ndarray]:
    """Twelve utterances of noise, 2 to 13 s."""
    generator = np.random.default_rng(1)
    return [generator.normal(0, 0.1, RATE * (2 + number)).astype(np.float32) for number in range(12)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    speech = (asked.folder and utterances(asked.folder)) or made_up()
    seconds = sum(map(len, speech)) / RATE
    print(f"{len(speech)} utterances, {seconds:.0f} s\n")
    print("| effect | ms a second of audio | range | audio-s/s of a thread |\n| --- | --- | --- | --- |")
    for name, values in EFFECTS.items():
        if values.get("noise_files"):
            if asked.folder is None:
                continue
            values = dict(values, noise_files=str(asked.folder))
        rules = Augment(**values)
        augmenter = Augmenter(rules, RATE, 1, folders(rules))
        found = []
        for epoch in range(asked.rounds):
            began = time.thread_time()
            for index, samples in enumerate(speech):
                augmenter(samples, epoch, index)
            found.append(1000 * (time.thread_time() - began) / seconds)
        median = statistics.median(found)
        print(f"| {name} | {median:.2f} | {min(found):.2f} - {max(found):.2f} | {1000 / median:.0f} |")


if __name__ == "__main__":
    main()
