"""The demo corpus: an honest split, the same samples everywhere, and a clear word where the voices are missing."""

import hashlib
import subprocess
import sys
from dataclasses import asdict

import pytest

from asrctl.data import demo_corpus
from asrctl.data.speech_synthesis import Voice, synthesize
from asrctl.errors import MissingDependency

CANDLES = ("seven yellow candles upstairs", Voice("en-us+f1", rate_wpm=150, pitch=60))
SMALL = {"train": 12, "eval": 6, "test": 6}


@pytest.fixture
def voices():
    return pytest.importorskip("espeakng_loader", reason="needs the extra demo")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def texts(split, seed=0):
    return [plan.text for plan in demo_corpus._plan_corpus(seed) if plan.split == split]


def words(sentences):
    return {word for sentence in sentences for word in sentence.split()}


def accents(split):
    return {name.partition("+")[0] for name in demo_corpus.SPEAKERS[split]}


def variants(split):
    return {name.partition("+")[2] for name in demo_corpus.SPEAKERS[split]} - {""}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_sentence_is_heard_twice(seed):
    everything = texts("train", seed) + texts("eval", seed) + texts("test", seed)

    assert len(everything) == len(set(everything)) == sum(demo_corpus.UTTERANCES.values())
    assert all(3 <= len(text.split()) <= 6 for text in everything)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_test_split_has_every_word_and_training_knows_them_all(seed):
    every_word = {word for group in demo_corpus.WORDS.values() for word in group}

    assert len(every_word) >= 50
    assert words(texts("test", seed)) == words(texts("train", seed)) == every_word


def test_test_voices_are_new_and_two_accents_are_in_no_other_split():
    plans = demo_corpus._plan_corpus(0)
    spoken = {split: {plan.voice.name for plan in plans if plan.split == split} for split in demo_corpus.SPEAKERS}

    assert spoken == {split: set(names) for split, names in demo_corpus.SPEAKERS.items()}
    assert len(spoken["test"]) >= 4
    assert not variants("test") & (variants("train") | variants("eval"))
    assert not variants("eval") & variants("train")
    assert accents("test") - accents("train") - accents("eval") == {"en-gb-scotland", "en-029"}


def test_the_seed_decides():
    assert demo_corpus._plan_corpus(3) == demo_corpus._plan_corpus(3)
    assert texts("train", 3) != texts("train", 4)


def test_every_speaker_sounds_different(voices):
    names = [name for split in demo_corpus.SPEAKERS.values() for name in split]

    assert len(
        {synthesize("seven yellow candles upstairs tomorrow", Voice(name)).pcm.tobytes() for name in names}
    ) == len(names)


def test_the_same_request_gives_the_same_samples_whatever_was_spoken_before(voices):
    first = synthesize(*CANDLES).pcm
    synthesize("something else entirely", Voice("en-gb-scotland+croak"))
    here = sha256(synthesize(*CANDLES).pcm.tobytes())
    program = (
        "import hashlib; from asrctl.data.speech_synthesis import Voice, synthesize;"
        f"print(hashlib.sha256(synthesize({CANDLES[0]!r}, Voice(**{asdict(CANDLES[1])!r})).pcm.tobytes()).hexdigest())"
    )
    elsewhere = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)

    assert first.dtype == "int16" and first.size > 20000
    assert sha256(first.tobytes()) == here == elsewhere.stdout.decode().strip()


def test_rate_and_pitch_are_heard(voices):
    slow = synthesize("count seven lemons", Voice("en", rate_wpm=120))
    fast = synthesize("count seven lemons", Voice("en", rate_wpm=220))
    high = synthesize("count seven lemons", Voice("en", rate_wpm=220, pitch=90))

    assert slow.sample_rate_hz == 22050
    assert slow.pcm.size > 1.4 * fast.pcm.size
    assert high.pcm.tobytes() != fast.pcm.tobytes()


@pytest.mark.parametrize("name", ["xx-nowhere", "en-us+nobody"])
def test_an_unknown_voice_is_refused(voices, name):
    with pytest.raises(ValueError, match="no voice"):
        synthesize("seven yellow candles upstairs tomorrow", Voice(name))


def test_a_long_path_to_the_voice_data_works(voices, tmp_path, monkeypatch):
    deep = tmp_path.joinpath(*["a-rather-long-folder-name"] * 8)
    deep.mkdir(parents=True)
    link = deep / "espeak-ng-data"
    link.symlink_to(voices.get_data_path())
    expected = synthesize(*CANDLES).pcm.tobytes()
    monkeypatch.setattr(voices, "get_data_path", lambda: str(link))

    assert synthesize(*CANDLES).pcm.tobytes() == expected


def test_without_the_package_the_fix_is_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)

    with pytest.raises(MissingDependency) as caught:
        demo_corpus.build_demo_corpus(tmp_path)

    assert caught.value.fix.endswith(" -m pip install 'asrctl[demo]'")
    assert not list(tmp_path.iterdir())


def test_what_is_built_can_be_read(voices, tmp_path, monkeypatch):
    soundfile = pytest.importorskip("soundfile")
    monkeypatch.setattr(demo_corpus, "UTTERANCES", SMALL)
    told = []
    demo_corpus.build_demo_corpus(tmp_path / "demo", on_progress=lambda done, total: told.append((done, total)))
    utterances = list(demo_corpus.read_demo_corpus(tmp_path / "demo"))

    assert told == [(done, 24) for done in range(1, 25)]
    assert {split: sum(u.split == split for u in utterances) for split in SMALL} == SMALL
    assert len({u.id for u in utterances}) == 24
    for utterance in utterances:
        info = soundfile.info(utterance.audio)
        assert (info.format, info.samplerate, info.channels, info.subtype) == ("FLAC", 16000, 1, "PCM_16")
        assert 0.5 < info.duration < 6


def test_a_corpus_is_built_once_and_a_stopped_build_again(voices, tmp_path, monkeypatch):
    monkeypatch.setattr(demo_corpus, "UTTERANCES", SMALL)
    told = []

    class Stop(Exception):
        pass

    def stop(done, total):
        if done == 5:
            raise Stop

    def tell(done, total):
        told.append(done)

    demo_corpus.build_demo_corpus(tmp_path, seed=1)
    with pytest.raises(Stop):
        demo_corpus.build_demo_corpus(tmp_path, seed=2, on_progress=stop)
    demo_corpus.build_demo_corpus(tmp_path, seed=1, on_progress=tell)
    assert len(told) == 24

    demo_corpus.build_demo_corpus(tmp_path, seed=1, on_progress=tell)
    assert len(told) == 24
