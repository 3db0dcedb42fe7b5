"""Tar shards of WebDataset, with what is odd in real ones."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any, Dict, List, Tuple, Union

import pytest

from asrctl.data.corpora import find, kind_of
from asrctl.data.corpus import CorpusRequest
from asrctl.data.reading.archives import MemberReader
from asrctl.data.reading.shards import expanded, is_pattern
from asrctl.data.utterance import Utterance, split_path
from asrctl.errors import BadData, UsageError

Members = Dict[str, Union[str, bytes, Dict[str, Any]]]


def shard(path: Path, members: Members) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(str(path), "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, content in members.items():
            data = json.dumps(content) if isinstance(content, dict) else content
            data = data.encode("utf-8") if isinstance(data, str) else data
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def sample(key: str, text: str = "") -> Members:
    return {f"{key}.flac": f"sound of {key}", f"{key}.txt": text or f"text of {key}"}


class Reading:
    def __init__(self, source: Union[Path, str], **options: Any) -> None:
        self.told: List[str] = []
        self.hints: Dict[str, str] = {}
        corpus = find("webdataset")
        is_address = corpus.is_address(str(source))
        request = CorpusRequest(
            source=None if is_address else Path(source),
            address=str(source) if is_address else None,
            splits=("train",),
            options=options,
            emit=lambda event: self.told.append(event.message),
            hint=self.hints.__setitem__,
        )
        self.found: List[Utterance] = list(corpus.utterances(request))

    @property
    def rows(self) -> List[Tuple[str, str, str]]:
        return [(row.id, row.text, row.split) for row in self.found]


def sounds(found: List[Utterance]) -> List[bytes]:
    return [MemberReader(Path(split_path(row.audio)[0])).read(str(split_path(row.audio)[1])) for row in found]


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_a_shard_a_pattern_and_a_folder_are_read(tmp_path: Path, ending: str) -> None:
    for number in range(3):
        shard(tmp_path / f"x-{number:06d}{ending}", {**sample("0001"), **sample("./b/0002")})
    one = Reading(tmp_path / f"x-000001{ending}")
    assert one.rows == [("x-000001/0001", "text of 0001", "train"), ("x-000001/b/0002", "text of ./b/0002", "train")]
    assert sounds(one.found) == [b"sound of 0001", b"sound of ./b/0002"] and not one.told
    pattern = Reading(f"{tmp_path}/x-{{000000..000002}}{ending}")
    assert len(pattern.found) == 6 and pattern.rows == Reading(tmp_path).rows
    assert kind_of(tmp_path) == kind_of(tmp_path / f"x-000001{ending}") == "webdataset"
    with pytest.raises(BadData, match="1 shard of the 4 of .* can not be found, such as .*x-000003"):
        Reading(f"{tmp_path}/x-{{000000..000003}}{ending}")


def test_patterns_are_those_of_a_shell() -> None:
    assert expanded("a-{8..10}.tar") == ["a-8.tar", "a-9.tar", "a-10.tar"]
    assert expanded("{a,b}-{00..01}") == ["a-00", "a-01", "b-00", "b-01"]
    assert not is_pattern("a.tar") and not is_pattern("a{b}.tar") and is_pattern("a{1..2}.tar")
    for pattern in ("{0..99999999}", "{0..9999}{0..9999}"):
        with pytest.raises(UsageError, match="stands for"):
            expanded(pattern)


@pytest.mark.parametrize(
    "names, splits",
    [
        (("train/0.tar", "dev/0.tar", "test/0.tar"), ["eval", "test", "train"]),
        (("train-000.tar", "val-000.tar", "test_000.tar"), ["test", "train", "eval"]),
        (("digits-dev-0001.tar", "digits-train-0001.tar"), ["eval", "train"]),
        (("000.tar", "001.tar"), ["train", "train"]),
        (("digits-test-01.tar",), ["train"]),
    ],
)
def test_names_of_folders_and_shards_are_splits(tmp_path: Path, names: Tuple[str, ...], splits: List[str]) -> None:
    for name in names:
        shard(tmp_path / name, sample("a"))
    assert [row.split for row in Reading(tmp_path).found] == splits


TEXTS: List[Tuple[Members, str]] = [
    ({"a.wav": "", "a.json": {"text": "from json", "duration": 1.0}}, "from json"),
    ({"a.json": {"transcript": " spaced "}, "a.mp3": ""}, "spaced"),
    ({"a.opus": "", "a.txt": "from txt", "a.json": {"text": "other"}}, "from txt"),
    ({"a.flac": "", "a.txt": "", "a.json": {"sentence": "from json"}}, "from json"),
    ({"A.FLAC": "", "A.TXT": "capitals"}, "capitals"),
    ({"a.left.flac": "", "a.txt": "after the first dot"}, "after the first dot"),
    ({"a.flac": "", "a.json": {"text": None}, "a.transcript": "named"}, "named"),
    ({"a.wav": "", "a.json": {"text": 7}}, "7"),
]


@pytest.mark.parametrize("members, text", TEXTS)
def test_texts_are_found_in_every_form(tmp_path: Path, members: Members, text: str) -> None:
    assert [row.text for row in Reading(shard(tmp_path / "x.tar", members)).found] == [text]


def test_the_best_of_several_recordings_and_the_speaker_are_taken(tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", {"a.mp3": "", "a.flac": "", "a.json": {"text": "t", "speaker_id": 12}})
    assert [(row.audio, row.speaker) for row in Reading(path).found] == [(f"{path}::a.flac", "12")]


def test_a_channel_for_all(tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", {**sample("0001"), **sample("0002")})
    assert [one.channel for one in Reading(path, channel=1).found] == [1, 1]
    assert [one.channel for one in Reading(path).found] == [None, None]


def test_what_may_change_the_meaning_is_named(tmp_path: Path) -> None:
    fields = {"text": "t", "start": 1.5, "end": 3, "split": "test", "channel": 1, "dnsmos": 3.2}
    other = {"text": "u", "channel": 0}
    path = shard(tmp_path / "x.tar", {"a.wav": "", "a.json": fields, "b.wav": "", "b.json": other})
    told = Reading(path).told
    assert "not used of the JSON: start, end, channel, split;" in told[0]
    assert any("dnsmos" in line for line in told[1:])


def test_a_text_by_another_name_is_asked_for(tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", {"a.wav": "", "a.norm.txt": "norm", "a.json": {"id": "x", "caption": "hello"}})
    with pytest.raises(BadData, match="id .'x'., caption .'hello'") as refused:
        Reading(path)
    assert "--text-field" in str(refused.value.fix)
    assert Reading(path, text_field="caption").found[0].text == "hello"
    assert Reading(path, text_field="norm.txt").found[0].text == "norm"
    with pytest.raises(BadData, match="has a text called other"):
        Reading(path, text_field="other")
    with pytest.raises(BadData, match="holds no recordings .members end with .jpg, .cls"):
        Reading(shard(tmp_path / "images.tar", {"a.jpg": "", "a.cls": "1"}))


def test_halves_of_samples_are_single_rejects(tmp_path: Path) -> None:
    members = {
        "a.wav": "",
        "b.txt": "no sound",
        **sample("c"),
        "d.cls": "7",
        "._c.wav": "",
        "README": "",
        "e.json": "[1]",
    }
    read = Reading(shard(tmp_path / "x.tar", {**members, "f.wav": "", "f.txt": b"\xe9t\xe9"}))
    assert [(row.id, row.text) for row in read.found] == [
        ("x/a", ""), ("x/b", "no sound"), ("x/c", "text of c"), ("x/f", ""),
    ]  # fmt: skip
    assert "::" not in read.found[1].audio and not Path(read.found[1].audio).exists()
    assert any("2 samples have neither" in line for line in read.told)
    assert any("can not be read" in line for line in read.told)


def test_a_shard_that_is_cut_costs_only_what_it_lost(tmp_path: Path) -> None:
    for number in range(2):
        shard(tmp_path / f"{number}.tar", {**sample("a"), **sample("b"), **sample("c")})
    whole = (tmp_path / "0.tar").read_bytes()
    (tmp_path / "0.tar").write_bytes(whole[: whole.index(b"sound of b") + 4])
    read = Reading(tmp_path)
    assert [row.id for row in read.found] == ["0/a", "0/b (cut)", "1/a", "1/b", "1/c"]
    assert sounds(read.found[:1]) == [b"sound of a"]
    assert "1 shard is damaged" in read.told[0] and "fetch the shard again" in read.hints["no-audio"]


def test_members_of_a_sample_that_stand_apart_are_refused(tmp_path: Path) -> None:
    path = shard(tmp_path / "x.tar", {"a.wav": "", "b.wav": "", "a.txt": "a", "b.txt": "b"})
    with pytest.raises(BadData, match="members of a in two places"):
        Reading(path)
    shard(tmp_path / "y.tar", sample("a"))
    shard(tmp_path / "y.tar.gz", sample("a"))
    path.unlink()
    with pytest.raises(BadData, match="both there"):
        Reading(tmp_path)
