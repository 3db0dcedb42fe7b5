"""Published corpora that are folders of text and audio: LJ Speech, Multilingual LibriSpeech and AN4."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import pytest
import soundfile

from asrctl.data.corpora import find, kind_of
from asrctl.data.corpus import CorpusRequest
from asrctl.data.utterance import Utterance
from asrctl.errors import AsrctlError, BadData, UsageError


class Reading:
    """What a reader yields, tells and hints."""

    def __init__(self, corpus: str, source: Path, *splits: str, optional: Sequence[str] = (), **options: Any) -> None:
        self.told: List[str] = []
        self.hints: Dict[str, str] = {}
        request = CorpusRequest(
            source=source,
            splits=splits,
            optional_splits=tuple(optional),
            options=options,
            emit=lambda event: self.told.append(event.message),
            hint=self.hints.__setitem__,
        )
        self.found: List[Utterance] = list(find(corpus).utterances(request))

    @property
    def rows(self) -> List[Tuple[str, str, str]]:
        return [(row.id, row.text, row.split) for row in self.found]


def refusal(kind: Any, *words: Any, **options: Any) -> AsrctlError:
    with pytest.raises(kind) as refused:
        Reading(*words, **options)
    return refused.value


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


# -- LJ Speech --------------------------------------------------------------------------------------------------------


@pytest.fixture
def lj(tmp_path: Path) -> Path:
    folder = tmp_path / "LJSpeech-1.1"
    touch(*(folder / "wavs" / f"LJ001-000{number}.wav" for number in range(1, 5)))
    lines = [
        'LJ001-0001|in 1455, "so|in fourteen fifty-five, "so',
        "LJ001-0002|Dr. X|doctor X",
        "LJ001-0003|no other|",
        "LJ001-0004|two fields",
    ]
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_lj_speech_is_read_with_either_text(lj: Path) -> None:
    for source in (lj, lj.parent):
        assert kind_of(source) == "ljspeech"
        read = Reading("ljspeech", source, "train")
        assert [row.text for row in read.found] == ['in fourteen fifty-five, "so', "doctor X", "no other", "two fields"]
        assert all(Path(row.audio) == lj / "wavs" / f"{row.id}.wav" for row in read.found)
        assert len(read.told) == 1 and read.told[0].startswith("2 lines have no normalized text")
    raw = Reading("ljspeech", lj, "train", transcript="raw")
    assert [row.text for row in raw.found][:2] == ['in 1455, "so', "Dr. X"] and not raw.told


def test_lines_of_lj_speech_that_can_not_be_read_are_single_rejects(lj: Path) -> None:
    (lj / "wavs" / "LJ001-0002.wav").rename(lj / "wavs" / "LJ001-0002.FLAC")
    with open(lj / "metadata.csv", "a", encoding="utf-8") as stream:
        stream.write("a|b|c|d\n|x\n../LJ001-0009.wav|gone|gone\n")
    read = Reading("ljspeech", lj, "train")
    assert [row.id for row in read.found[4:]] == ["line-5", "line-6", "LJ001-0009"]
    assert read.found[1].audio.endswith(".FLAC") and not any(Path(row.audio).exists() for row in read.found[4:])
    assert "4 fields between |" in read.told[0] and str(lj / "wavs" / "LJ001-0009.wav") in read.hints["no-audio"]


def test_a_list_with_names_is_no_lj_speech(lj: Path) -> None:
    (lj / "metadata.csv").write_text("file_name|text\na.wav|b\n")
    assert "asrctl prepare manifest" in str(refusal(BadData, "ljspeech", lj, "train").fix)
    assert kind_of(lj) == "folder"
    packed = lj.parent / "LJSpeech-1.1.tar.bz2"
    packed.write_bytes(b"BZh")
    assert "tar -xf" in str(refusal(BadData, "ljspeech", packed, "train").fix)


# -- Multilingual LibriSpeech -----------------------------------------------------------------------------------------


@pytest.fixture
def mls(tmp_path: Path) -> Path:
    folder = tmp_path / "mls_polish"
    for split, names in {"train": ["1_2_0", "1_2_1", "3_4_0", "3_4_1"], "dev": ["5_6_0"], "test": ["7_8_0"]}.items():
        lines = "".join(f"{name}\tsłowo {name}\n" for name in names)
        for name in names:
            speaker, book, _ = name.split("_")
            touch(folder / split / "audio" / speaker / book / f"{name}.flac")
        (folder / split / "transcripts.txt").write_text(lines, encoding="utf-8")
        (folder / split / "segments.txt").write_text(f"{names[0]}\thttp://x/a.mp3\t10.0\t20.0\n")
    for part, name in {"9hr": "3_4_1", "1hr/0": "1_2_0", "1hr/1": "3_4_0"}.items():
        (folder / "train" / "limited_supervision" / part).mkdir(parents=True)
        (folder / "train" / "limited_supervision" / part / "handles.txt").write_text(f"{name}\n")
    return folder


def test_mls_is_read_by_split_and_by_part(mls: Path) -> None:
    assert kind_of(mls) == kind_of(mls.parent) == "mls"
    whole = Reading("mls", mls.parent, "train", optional=("dev", "test"))
    assert [row.speaker for row in whole.found] == ["1", "1", "3", "3", "5", "7"] and not whole.told
    assert all(Path(row.audio).exists() and row.start_s is None for row in whole.found)
    parts = {"9hr": ["3_4_1"], "1hr": ["1_2_0", "3_4_0"], "1hr/1": ["3_4_0"], "10hr": ["1_2_0", "3_4_0", "3_4_1"]}
    for split, names in parts.items():
        part = Reading("mls", mls, split, optional=("dev",))
        assert part.rows == [*((name, f"słowo {name}", split) for name in names), ("5_6_0", "słowo 5_6_0", "dev")]
    assert find("mls").split_name("limited_supervision/9hr") == "9hr" and find("mls").split_name("validation") == "dev"


def test_mls_as_opus_with_what_is_missing(mls: Path) -> None:
    for path in list(mls.rglob("*.flac")):
        path.rename(path.with_suffix(".opus"))
    (mls / "train" / "audio" / "1" / "2" / "1_2_0.opus").unlink()
    with open(mls / "train" / "transcripts.txt", "a") as stream:
        stream.write("../../x\ttext\n")
    read = Reading("mls", mls, "train")
    assert read.found[1].audio.endswith(".opus") and not Path(read.found[0].audio).exists()
    assert read.found[-1].id == "train-line-5" and "is not SPEAKER_BOOK_NUMBER" in read.told[0]
    assert "1_2_0" in read.hints["no-audio"]
    (mls / "train" / "limited_supervision" / "9hr" / "handles.txt").write_text("9_9_9\n")
    assert Reading("mls", mls, "9hr").rows == [("9_9_9", "", "9hr")]


def test_splits_of_mls_that_are_not_there_or_share_utterances_are_refused(mls: Path) -> None:
    assert "it has train, dev, test, 9hr, 1hr, 10hr, 1hr/0, 1hr/1" in refusal(BadData, "mls", mls, "other").message
    for splits in (("train", "9hr"), ("10hr", "1hr"), ("1hr", "1hr/1")):
        assert "share utterances" in refusal(UsageError, "mls", mls, *splits).message
    assert len(Reading("mls", mls, "9hr", "1hr").found) == 3
    assert "not the folder of" in refusal(BadData, "mls", mls / "train", "train").message


# -- AN4 --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def an4(tmp_path: Path) -> Path:
    folder = tmp_path / "an4"
    sets = {"train": ("an4_clstk", ["an1-fash-b", "an2-mxyz-b"]), "test": ("an4test_clstk", ["cen1-mabc-b"])}
    for split, (inside, names) in sets.items():
        lines, listed = "", ""
        for number, name in enumerate(names):
            speaker = name.split("-")[1]
            path = folder / "wav" / inside / speaker / f"{name}.sph"
            path.parent.mkdir(parents=True)
            tone = 0.3 * np.sin(np.arange(8000) * (0.1 + 0.01 * number))
            soundfile.write(str(path), tone, 16000, format="NIST", subtype="PCM_16")
            lines += f"<s> ENTER {number} </s> ({name})\n" if split == "train" else f"ENTER {number} ({name})\n"
            listed += f"{inside}/{speaker}/{name}\n"
        (folder / "etc").mkdir(exist_ok=True)
        (folder / "etc" / f"an4_{split}.transcription").write_text(lines)
        (folder / "etc" / f"an4_{split}.fileids").write_text(listed)
    return folder


@pytest.mark.parametrize("listed", [True, False])
def test_an4_is_read_with_and_without_its_lists_of_files(an4: Path, listed: bool) -> None:
    if not listed:
        for path in (an4 / "etc").glob("*.fileids"):
            path.unlink()
    assert kind_of(an4) == kind_of(an4.parent) == "an4"
    read = Reading("an4", an4.parent, "train", optional=("eval", "test"))
    assert read.rows == [
        ("an1-fash-b", "ENTER 0", "train"), ("an2-mxyz-b", "ENTER 1", "train"), ("cen1-mabc-b", "ENTER 0", "test")
    ]  # fmt: skip
    assert [row.speaker for row in read.found] == ["fash", "mxyz", "mabc"]
    assert all(soundfile.info(row.audio).frames == 8000 for row in read.found)


def test_names_that_no_file_can_have_are_lost_recordings_of_an4(an4: Path) -> None:
    for name in ("n" * 300, "a\0b"):
        (an4 / "etc" / "an4_train.fileids").write_text(f"an4_clstk/fash/{name}\n")
        (an4 / "etc" / "an4_train.transcription").write_text(f"<s> ONE </s> ({name})\n")
        assert [text for _, text, _ in Reading("an4", an4, "train").rows] == ["ONE"]


def test_what_libsndfile_will_not_decode_of_an4_is_told_before(an4: Path) -> None:
    packed = an4 / "wav" / "an4_clstk" / "fash" / "an1-fash-b.sph"
    header = b"NIST_1A\n   1024\nsample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n"
    packed.write_bytes(header.ljust(1024) + b"ajkg")
    raw = an4 / "wav" / "an4_clstk" / "mxyz" / "an2-mxyz-b.sph"
    read = Reading("an4", an4, "train")
    assert "packed by shorten" in read.told[0] and "sph2pipe" in read.hints["unreadable"]
    soundfile.write(str(packed.with_suffix(".wav")), np.zeros(10), 16000)
    raw.rename(raw.with_suffix(".raw"))
    read = Reading("an4", an4, "train")
    assert read.found[0].audio.endswith(".wav") and not read.told
    assert read.found[1].audio.endswith(".raw") and "sox -t raw" in read.hints["unreadable"]


def test_lines_and_recordings_of_an4_that_are_not_there(an4: Path) -> None:
    with open(an4 / "etc" / "an4_train.transcription", "a") as stream:
        stream.write("NO ID\n<s> GONE </s> (an9-fash-b)\n")
    read = Reading("an4", an4, "train")
    assert [row.id for row in read.found[2:]] == ["train-line-3", "an9-fash-b"]
    assert not any(Path(row.audio).exists() for row in read.found[2:])
    assert "does not end with (ID)" in read.told[0] and "an9-fash-b.sph" in read.hints["no-audio"]
    assert "it has train, test" in refusal(BadData, "an4", an4, "dev").message
