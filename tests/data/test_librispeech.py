"""LibriSpeech as folders and as archives."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import List, Optional, Tuple

import pytest

from asrctl.data.corpora import find
from asrctl.data.corpus import CorpusRequest
from asrctl.data.reading.archives import MemberReader
from asrctl.data.utterance import Utterance, split_path
from asrctl.errors import BadData, MissingArtifact, UsageError


def read(source: Optional[Path], *splits: str, optional: Tuple[str, ...] = ()) -> List[Utterance]:
    request = CorpusRequest(source=source, splits=splits, optional_splits=optional, allow_download=False)
    return list(find("librispeech").utterances(request))


def chapter(root: Path, split: str, speaker: str, chapter: str, texts: List[str]) -> Path:
    folder = root / split / speaker / chapter
    folder.mkdir(parents=True)
    names = [f"{speaker}-{chapter}-{number:04d}" for number in range(len(texts))]
    for name in names:
        (folder / f"{name}.flac").write_bytes(name.encode())
    lines = "".join(f"{name} {text}\n" for name, text in zip(names, texts))
    (folder / f"{speaker}-{chapter}.trans.txt").write_text(lines, encoding="utf-8")
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """LibriSpeech/ with two splits of a few made-up utterances."""
    root = tmp_path / "LibriSpeech"
    chapter(root, "train-clean-100", "19", "198", ["FIRST", "SECOND ONE"])
    chapter(root, "train-clean-100", "103", "7", ["THIRD"])
    chapter(root, "dev-clean", "84", "1", ["FOURTH"])
    return root


def pack(corpus: Path, split: str, target: Path, reverse: bool = False) -> Path:
    files = sorted(path for path in (corpus / split).rglob("*") if path.is_file())
    with tarfile.open(str(target), "w:gz") as tar:
        for path in reversed(files) if reverse else files:
            tar.add(str(path), arcname=f"LibriSpeech/{path.relative_to(corpus)}")
    return target


TRAIN = [("103-7-0000", "THIRD", "103"), ("19-198-0000", "FIRST", "19"), ("19-198-0001", "SECOND ONE", "19")]


def told(found: List[Utterance]) -> List[Tuple[str, str, Optional[str]]]:
    return [(utterance.id, utterance.text, utterance.speaker) for utterance in found]


def test_the_source_may_be_the_folder_or_one_around_it_or_the_split(corpus: Path) -> None:
    for source in (corpus, corpus.parent, corpus / "train-clean-100"):
        found = read(source, "train-clean-100")
        assert told(found) == TRAIN
        assert all(Path(utterance.audio).read_bytes() == utterance.id.encode() for utterance in found)


@pytest.mark.parametrize("reverse", [False, True])
def test_archives_give_what_folders_give(corpus: Path, tmp_path: Path, reverse: bool) -> None:
    folder = tmp_path / "archives"
    folder.mkdir()
    archive = pack(corpus, "train-clean-100", folder / "train-clean-100.tar.gz", reverse)
    for source in (folder, archive):
        found = read(source, "train-clean-100")
        assert sorted(told(found)) == TRAIN
        reader = MemberReader(archive)
        for utterance in found:
            assert split_path(utterance.audio)[0] == str(archive)
            assert reader.read(str(split_path(utterance.audio)[1])) == utterance.id.encode()


HIDDEN = (
    ".DS_Store",
    "._19-198-0000.flac",
    "._19-198.trans.txt",
    "__MACOSX/1/x.flac",
    ".git/1/x.flac",
    "._19/1/x.flac",
)


def test_hidden_files_are_passed_over(corpus: Path, tmp_path: Path) -> None:
    split = corpus / "train-clean-100"
    for name in HIDDEN:
        for folder in (corpus, split, split / "19", split / "19" / "198"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"\0\5\x16\7\xb0\xff")
    archive = pack(corpus, "train-clean-100", tmp_path / "train-clean-100.tar.gz")
    for source in (corpus, archive):
        assert sorted(told(read(source, "train-clean-100"))) == TRAIN
    with pytest.raises(BadData, match="it has train-clean-100, dev-clean[)]"):
        read(corpus, "test-clean")


@pytest.mark.parametrize("suffix", ["FLAC", "mp3", "opus", "OGG"])
def test_any_white_space_and_any_audio_will_do(corpus: Path, tmp_path: Path, suffix: str) -> None:
    for path in sorted((corpus / "train-clean-100").rglob("*.*")):
        if path.suffix == ".flac":
            path.rename(path.with_suffix(f".{suffix}"))
        else:
            path.write_text(path.read_text(encoding="utf-8").replace(" ", "\t", 1), encoding="utf-16")
            path.rename(path.with_name(path.name.upper()))
    archive = pack(corpus, "train-clean-100", tmp_path / "train-clean-100.tar.gz")
    for source in (corpus, archive):
        found = read(source, "train-clean-100")
        assert sorted(told(found)) == [(name, text.replace("\t", " "), speaker) for name, text, speaker in TRAIN]
        assert {row.audio.rsplit(".", 1)[1] for row in found} == {suffix}


def test_a_recording_in_two_formats_is_one_utterance(corpus: Path, tmp_path: Path) -> None:
    for path in list((corpus / "train-clean-100").rglob("*.flac")):
        path.with_suffix(".mp3").write_bytes(b"")
    for reverse in (False, True):
        archive = pack(corpus, "train-clean-100", tmp_path / "train-clean-100.tar.gz", reverse)
        for source in (corpus, archive):
            found = read(source, "train-clean-100")
            assert sorted(told(found)) == TRAIN
            assert {row.audio[-5:] for row in found} == {".flac"}


def test_splits_that_nobody_insists_on_may_be_missing(corpus: Path) -> None:
    assert told(read(corpus, "train-clean-100", optional=("dev-other",))) == TRAIN
    assert len(read(corpus, "train-clean-100", optional=("dev-clean",))) == 4


def test_one_half_of_a_pair_is_listed_without_the_other(corpus: Path, tmp_path: Path) -> None:
    folder = corpus / "train-clean-100" / "19" / "198"
    (folder / "19-198-0001.flac").unlink()
    (folder / "19-198-0009.flac").write_bytes(b"nobody wrote this down")
    archive = pack(corpus, "train-clean-100", tmp_path / "train-clean-100.tar.gz")
    for source in (corpus, archive):
        found = {utterance.id: utterance for utterance in read(source, "train-clean-100")}
        assert found["19-198-0009"].text == ""
        assert found["19-198-0001"].text == "SECOND ONE"
        assert not Path(found["19-198-0001"].audio).exists()
        assert split_path(found["19-198-0001"].audio)[1] is None


def test_a_missing_split_is_refused_with_those_that_are_there(corpus: Path, tmp_path: Path) -> None:
    for source in (corpus, corpus.parent):
        with pytest.raises(BadData, match="has no split train-clean-360 .it has train-clean-100, dev-clean") as error:
            read(source, "train-clean-360")
        assert error.value.fix == "choose the splits, such as `--train train-clean-100`"
    archive = pack(corpus, "dev-clean", tmp_path / "some.tar.gz")
    with pytest.raises(BadData, match="it has dev-clean"):
        read(archive, "train-clean-100")
    (tmp_path / "empty" / "dev-clean").mkdir(parents=True)
    with pytest.raises(BadData, match="holds no utterance of dev-clean"):
        read(tmp_path / "empty", "dev-clean")
    with pytest.raises(BadData, match="there is no"):
        read(tmp_path / "missing", "dev-clean")


def test_transcripts_that_are_not_text_are_refused(corpus: Path) -> None:
    (corpus / "dev-clean" / "84" / "1" / "84-1.trans.txt").write_bytes(b"84-1-0000 \xff\xfe")
    with pytest.raises(BadData, match="is not UTF-8"):
        read(corpus, "dev-clean")


def test_an_utterance_that_comes_twice_in_an_archive_is_refused(corpus: Path, tmp_path: Path) -> None:
    archive = tmp_path / "dev-clean.tar.gz"
    path = corpus / "dev-clean" / "84" / "1" / "84-1-0000.flac"
    with tarfile.open(str(archive), "w:gz") as tar:
        for _ in range(2):
            tar.add(str(path), arcname=f"LibriSpeech/{path.relative_to(corpus)}")
    with pytest.raises(BadData, match="holds the utterance 84-1-0000 twice"):
        read(archive, "dev-clean")


def test_without_a_source_nothing_is_fetched_unasked() -> None:
    with pytest.raises(MissingArtifact, match=r"train-clean-100.tar.gz would have to be downloaded .6.4 GB"):
        read(None, "train-clean-100")
    with pytest.raises(UsageError, match="LibriSpeech has no split train-clean"):
        read(None, "train-clean")


def test_the_names_of_the_hub_are_understood() -> None:
    name = find("librispeech").split_name
    assert [name(alias) for alias in ("train.100", "validation", "Train.360", "test", "dev-other", "mine")] == [
        "train-clean-100",
        "dev-clean",
        "train-clean-360",
        "test-clean",
        "dev-other",
        "mine",
    ]
