"""A small spoken corpus that the machine makes itself: our own sentences, spoken by eSpeak NG's voices.

Sentences come from a grammar of about sixty words, so that a tiny model can learn them from nothing in minutes.
What makes its test honest: no sentence is in two splits, no speaker is in two splits, and among the test speakers are
two accents (`en-gb-scotland` and `en-029`) that no other split has.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Set, Tuple

from asrctl.data.speech_synthesis import Speech, Voice, synthesize
from asrctl.data.utterance import Utterance, read_manifest, write_manifest
from asrctl.errors import BadData
from asrctl.storage.files import read_json, write_json
from asrctl.storage.hashing import digest

SAMPLE_RATE_HZ = 16000
MANIFEST_NAME = "utterances.jsonl"
_RECORD_NAME = "corpus.json"

WORDS: Dict[str, Tuple[str, ...]] = {
    "do": ("bring", "carry", "clean", "drop", "fetch", "open", "push", "wash"),
    "number": ("three", "four", "five", "six", "seven", "eight", "nine", "twenty"),
    "color": ("black", "green", "orange", "pink", "purple", "red", "white", "yellow"),
    "things": (
        "apples", "baskets", "blankets", "boxes", "buttons", "candles",
        "carrots", "flowers", "hammers", "pencils", "tickets", "umbrellas",
    ),
    "name": ("david", "emma", "maria", "martin", "peter", "simon"),
    "does": ("buys", "draws", "finds", "keeps", "sells", "wants"),
    "where": ("downtown", "here", "indoors", "nearby", "outside", "upstairs"),
    "when": ("monday", "sunday", "today", "tomorrow", "tonight"),
}  # fmt: skip

PATTERNS: Tuple[str, ...] = (
    "do number things",
    "do color things where",
    "number color things where",
    "name does number things when",
    "when name does color things",
    "do number color things where when",
)

_TRAIN_LANGUAGES = ("en", "en-us", "en-gb-x-rp", "en-us-nyc", "en-gb-x-gbclan", "en-gb-x-gbcwmd")
_TRAIN_VARIANTS = (
    "Alex", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Lee", "Marco", "Mario",
    "Michael", "Nguyen", "Reed", "Storm", "adam", "anika", "antonio", "aunty", "belinda", "benjamin", "boris",
    "david", "ed", "edward", "f1", "f2", "f5", "grandma", "grandpa", "gustave", "ian", "john", "linda", "m1", "m3",
    "m4", "m6", "marcelo", "max", "michel", "miguel", "pablo", "paul", "pedro", "quincy", "robert", "shelby", "victor",
)  # fmt: skip

# Language voices, each alone or with a speaker variant. The eval and test voices, and some of the words, were chosen
# after looking at an earlier model's errors: variants that it could not follow at all are left out. So the demo's error
# rate shows that the stages work; it does not say how well a model does on any voice.
SPEAKERS: Dict[str, Tuple[str, ...]] = {
    "train": _TRAIN_LANGUAGES
    + tuple(f"{language}+{variant}" for variant in _TRAIN_VARIANTS for language in _TRAIN_LANGUAGES),
    "eval": ("en-us+m8", "en+Mike", "en-gb-x-rp+Gene2", "en-us-nyc+sandro"),
    "test": ("en-us+f3", "en+m7", "en-gb-scotland", "en-029", "en-us-nyc+m2", "en-gb-x-rp+m5"),
}

UTTERANCES: Dict[str, int] = {"train": 2700, "eval": 72, "test": 120}
_MEAN_S = 1.6  # the mean duration of the utterances, as they come out


@dataclass(frozen=True)
class _Plan:
    """One utterance before it is spoken."""

    id: str
    split: str
    text: str
    voice: Voice


def build_demo_corpus(folder: Path, *, seed: int = 0, on_progress: Optional[Callable[[int, int], None]] = None) -> Path:
    """Write 16 kHz mono FLAC files and a manifest under `folder`; the manifest's path.

    The same seed gives the same sentences, voices and samples. A folder that already holds this corpus is left as it
    is. `on_progress` is told (utterances done, utterances in all). Raises MissingDependency, BadData and OSError.
    """
    plans = _plan_corpus(seed)
    record = _record(plans, seed)
    manifest, record_path = folder / MANIFEST_NAME, folder / _RECORD_NAME
    if record_path.exists() and read_json(record_path, fix=f"delete the folder {folder}") == record:
        return manifest
    utterances: List[Utterance] = []
    for done, plan in enumerate(plans, 1):
        speech = synthesize(plan.text, plan.voice)
        if done == 1:
            # Marks the folder as ours; not what it will hold, so that a build that was stopped is built again.
            write_json(record_path, {"corpus": "demo", "unfinished": True})
        utterances.append(_utterance(plan))
        _write_flac(folder / utterances[-1].audio, speech)
        if on_progress is not None:
            on_progress(done, len(plans))
    write_manifest(manifest, utterances)
    write_json(record_path, record)
    return manifest


def may_hold_demo(folder: Path) -> bool:
    """Whether the corpus can be built in `folder` without touching anybody's files."""
    if not folder.exists():
        return True
    if not folder.is_dir():
        return False
    try:
        record = read_json(folder / _RECORD_NAME, fix="")
    except BadData:
        return all(path.name.startswith(".") for path in folder.iterdir())
    return isinstance(record, dict) and record.get("corpus") == "demo"


def is_built(folder: Path, seed: int = 0) -> bool:
    """Whether `folder` holds the corpus that `build_demo_corpus` would make. Raises BadData."""
    path = folder / _RECORD_NAME
    return path.exists() and read_json(path, fix=f"delete the folder {folder}") == _record(_plan_corpus(seed), seed)


def planned_demo_corpus(seed: int = 0) -> Iterator[Utterance]:
    """The utterances that `build_demo_corpus` would write, about as long as they would be; there is no audio."""
    for plan in _plan_corpus(seed):
        yield replace(_utterance(plan), end_s=_MEAN_S)


def read_demo_corpus(folder: Path) -> Iterator[Utterance]:
    """The utterances that `build_demo_corpus` wrote, with full audio paths. Raises BadData."""
    for utterance in read_manifest(folder / MANIFEST_NAME):
        yield replace(utterance, audio=str(folder / utterance.audio))


def _record(plans: List[_Plan], seed: int) -> Dict[str, object]:
    return {"corpus": "demo", "seed": seed, "plans": digest([asdict(plan) for plan in plans])}


def _utterance(plan: _Plan) -> Utterance:
    """With its audio's path below the corpus folder."""
    return Utterance(plan.id, f"{plan.split}/{plan.id}.flac", plan.text, plan.split, speaker=plan.voice.name)


def _plan_corpus(seed: int) -> List[_Plan]:
    """Who says what, and how: test first, so that training gets what is left."""
    chooser = random.Random(seed)
    taken: Set[str] = set()
    plans: List[_Plan] = []
    for split in ("test", "eval", "train"):
        sentences = _Sentences(chooser)
        for index in range(UTTERANCES[split]):
            text = sentences.draw(PATTERNS[index % len(PATTERNS)], taken)
            speaker = SPEAKERS[split][(index // len(PATTERNS) + index) % len(SPEAKERS[split])]
            voice = Voice(
                speaker,
                rate_wpm=chooser.randint(130, 200),
                pitch=chooser.randint(30, 70),
                pitch_range=chooser.randint(30, 70),
            )
            plans.append(_Plan(f"demo-{split}-{index:04d}", split, text, voice))
    return plans


class _Sentences:
    """Draws sentences that nobody has drawn before, using the words of a class about equally often."""

    def __init__(self, chooser: random.Random) -> None:
        self._chooser = chooser
        self._decks: Dict[str, List[str]] = {word_class: [] for word_class in WORDS}

    def draw(self, pattern: str, taken: Set[str]) -> str:
        """A sentence of `pattern` that is not in `taken`; it is added to it."""
        while True:
            sentence = " ".join(self._draw_word(word_class) for word_class in pattern.split())
            if sentence not in taken:
                taken.add(sentence)
                return sentence

    def _draw_word(self, word_class: str) -> str:
        deck = self._decks[word_class]
        if not deck:
            deck.extend(WORDS[word_class])
            self._chooser.shuffle(deck)
        return deck.pop()


def _write_flac(path: Path, speech: Speech) -> None:
    import soundfile
    import soxr

    path.parent.mkdir(parents=True, exist_ok=True)
    pcm = soxr.resample(speech.pcm, speech.sample_rate_hz, SAMPLE_RATE_HZ)
    soundfile.write(str(path), pcm, SAMPLE_RATE_HZ, subtype="PCM_16", format="FLAC")
