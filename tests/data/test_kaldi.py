"""Data folders of Kaldi: every file that they have, and everything that can be wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import pytest
import soundfile

from asrctl.data import corpora
from asrctl.data.corpus import CorpusRequest, Match
from asrctl.data.utterance import Utterance
from asrctl.errors import AsrctlError, BadData, StorageError, UsageError
from asrctl.events import Event, Warned

RATE = 8000


def sound(path: Path, seconds: float = 2.0, channels: int = 1, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).integers(-3000, 3000, (int(seconds * RATE), channels), dtype=np.int16)
    soundfile.write(str(path), samples, RATE)
    return path


def data(folder: Path, **named: List[str]) -> Path:
    """A data folder with these files; wav_scp is wav.scp."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in named.items():
        content = "".join(line + "\n" for line in lines)
        (folder / name.replace("_scp", ".scp")).write_bytes(content.encode("utf-8", "surrogateescape"))
    return folder


class Read:
    """What the reader made of a folder."""

    def __init__(self, folder: Path, splits: Tuple[str, ...] = ("train",), **more: Any) -> None:
        self.emitted: List[Event] = []
        self.hints: Dict[str, str] = {}
        kaldi = corpora.find("kaldi")
        options = corpora.options(kaldi, more.pop("options", {}))
        request = CorpusRequest(
            source=folder,
            splits=splits,
            optional_splits=("eval", "test"),
            options=options,
            emit=self.emitted.append,
            hint=self.hints.__setitem__,
            **more,
        )
        self.found = list(kaldi.utterances(request))
        self.warned = [event.message for event in self.emitted if isinstance(event, Warned)]

    def __getitem__(self, identity: str) -> Utterance:
        (found,) = [utterance for utterance in self.found if utterance.id == identity]
        return found


def refusal(folder: Path, kind: Any = BadData, **more: Any) -> AsrctlError:
    with pytest.raises(kind) as refused:
        Read(folder, **more)
    return refused.value


def test_recordings_are_utterances_where_nothing_says_otherwise(tmp_path: Path) -> None:
    wav = sound(tmp_path / "a b.wav")
    read = Read(
        data(
            tmp_path / "train",
            wav_scp=[f"u1 {wav}", f"u2\t{wav} ", "u3  ../a b.wav"],
            text=["\ufeffu1 one", "u2  two\twords \r", "u3 three"],
            utt2spk=["u1 ann", "u2 bob", "u3 bob"],
        )
    )
    assert read.found == [
        Utterance("u1", str(wav), "one", "train", "ann"),
        Utterance("u2", str(wav), "two\twords", "train", "bob"),
        Utterance("u3", str(tmp_path / "train" / ".." / "a b.wav"), "three", "train", "bob"),
    ]
    assert not read.warned


@pytest.mark.parametrize("order", [1, -1])
def test_files_need_not_be_sorted(tmp_path: Path, order: int) -> None:
    wav = sound(tmp_path / "a.wav")
    names = [f"u{number}" for number in range(20)]  # u10 comes before u2 in Kaldi's order
    read = Read(
        data(
            tmp_path / "x",
            wav_scp=[f"{name} {wav}" for name in names[::order]],
            text=[f"{name} said by {name}" for name in sorted(names)],
            utt2spk=[f"{name} speaker-{name}" for name in names],
        )
    )
    assert len(read.found) == 20
    assert all(one.text == f"said by {one.id}" and one.speaker == f"speaker-{one.id}" for one in read.found)


def test_segments_are_stretches_and_channels(tmp_path: Path) -> None:
    mono, call = sound(tmp_path / "m.wav"), sound(tmp_path / "c.wav", channels=2)
    read = Read(
        data(
            tmp_path / "x",
            wav_scp=[f"call {call}", f"mono {mono}"],
            segments=["u1 mono 0 1.5", "u2 mono 0.5 -1", "u3 mono 1 2.3", "u4 mono 1.0 2.6", "u5 call 0 1 1"],
            text=[f"u{number} word" for number in range(1, 6)],
            spk2utt=["ann u1 u2", "bob u3"],
        )
    )
    assert [(one.start_s, one.end_s, one.channel, one.speaker) for one in read.found] == [
        (None, 1.5, None, "ann"),
        (0.5, None, None, "ann"),
        (1.0, None, None, "bob"),  # the end is a little too late, as extract-segments forgives
        (1.0, 2.6, None, None),
        (None, 1.0, 1, None),
    ]
    assert {one.audio for one in read.found} == {str(mono), str(call)}


def test_sides_of_a_call_are_channels_of_files_that_hold_both(tmp_path: Path) -> None:
    call, side = sound(tmp_path / "call.wav", channels=2), sound(tmp_path / "side.wav")
    folder = data(
        tmp_path / "x",
        wav_scp=[f"c-A {call}", f"c-B {call}", f"d-B {side}"],
        reco2file_and_channel=["c-A c A", "c-B c B", "d-B d B"],
        text=["c-A hello", "c-B hi", "d-B yes"],
    )
    assert [one.channel for one in Read(folder).found] == [0, 1, None]
    assert [one.channel for one in Read(folder, options={"channel": "1"}).found] == [0, 1, 1]


def test_folders_are_splits(tmp_path: Path) -> None:
    wav = sound(tmp_path / "a.wav")
    for name in ("train", "dev", "test_clean", "local/lm", "train/split2/1"):
        data(tmp_path / "data" / name, wav_scp=[f"{name} {wav}"], text=[f"{name} word"])
    (tmp_path / "data" / "local" / "lm" / "wav.scp").unlink()
    read = Read(tmp_path / "data")
    assert {one.id: one.split for one in read.found} == {"dev": "eval", "test_clean": "test", "train": "train"}
    assert Read(tmp_path / "data" / "test_clean")["test_clean"].split == "test"
    named = Read(tmp_path / "data", splits=("test_clean",))
    assert named["test_clean"].split == "test_clean"


def test_of_folders_with_the_same_utterances_one_is_read(tmp_path: Path) -> None:
    wav = sound(tmp_path / "a.wav")
    plain = [f"u{number}" for number in range(300)]
    faster = plain + [f"sp1.1-{name}" for name in plain]
    for name, keys in (("train", plain), ("train_sp", faster), ("dev", ["d1"])):
        keys = sorted(keys)
        data(tmp_path / "data" / name, wav_scp=[f"{key} {wav}" for key in keys], text=[f"{key} word" for key in keys])
    read = Read(tmp_path / "data")
    assert len(read.found) == 301 and any("train_sp is left out" in line for line in read.warned)
    read = Read(tmp_path / "data", splits=("train_sp",))
    assert len([one for one in read.found if one.split == "train_sp"]) == 600
    assert any("train is left out: it has utterances of train_sp" in line for line in read.warned)


def test_paths_lead_from_where_the_recipe_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "s5"
    sound(recipe / "db" / "a.wav")
    folder = data(recipe / "data" / "train", wav_scp=["u1 db/a.wav"], text=["u1 word"])
    monkeypatch.chdir(tmp_path)
    read = Read(folder)
    assert read["u1"].audio == str(recipe / "db" / "a.wav")
    assert any("paths of wav.scp lead from" in event.message for event in read.emitted)


def test_paths_of_another_machine(tmp_path: Path) -> None:
    wav = sound(tmp_path / "here" / "rec" / "a.wav")
    folder = data(tmp_path / "x", wav_scp=["u1 /export/corpora/rec/a.wav"], text=["u1 word"])
    assert "--map /export/corpora/rec=FOLDER" in Read(folder).hints["no-audio"]
    read = Read(folder, options={"map": [f"/export/corpora={tmp_path / 'here'}", "/other=/x"]})
    assert read["u1"].audio == str(wav) and read.warned == ["no path begins with /other (--map)"]
    assert refusal(folder, UsageError, options={"map": ["/export"]}).exit_code == 2


# -- what is wrong ----------------------------------------------------------------------------------------------------


def test_what_lacks_its_other_half_is_there_to_be_rejected(tmp_path: Path) -> None:
    wav = sound(tmp_path / "a.wav")
    folder = data(
        tmp_path / "x",
        wav_scp=[f"r1 {wav}"],
        segments=["u1 r1 0 1", "u2 r1 1 2", "u3 gone 0 1"],
        text=["u0 nobody says it", "u1 one", "u3 three", "u9 nor this"],
    )
    read = Read(folder)
    assert read["u2"].text == "" and "u2" in read.hints["no-transcript"]
    assert {one.id for one in read.found if not Path(one.audio).exists()} == {"u0", "u3", "u9"}
    assert read["u0"].text == "nobody says it" and "u0" in read.hints["no-audio"]


def test_an_odd_name_of_a_file_is_kept_and_an_odd_text_is_told(tmp_path: Path) -> None:
    wav = sound(tmp_path / "a.wav")
    odd = tmp_path / "\udce4.wav"
    try:
        odd.write_bytes(wav.read_bytes())
    except OSError:
        pytest.skip("no file can be called so here")
    assert Read(data(tmp_path / "x", wav_scp=[f"u1 {odd}"], text=["u1 word"]))["u1"].audio == str(odd)
    data(tmp_path / "x", text=["u1 stra\udcdfe"])
    refused = refusal(tmp_path / "x")
    assert "text is not UTF-8 but probably Windows-1252 or Latin-1 (line 1)" in refused.message
    assert "iconv -f WINDOWS-1252" in refused.fix


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["u1 r1 0"], "line 1: 3 words"),
        (["u1 r1 0 1", "u2 r1 a 1"], "line 2: a and 1 are no times"),
        (["u1 r1 0 nan"], "are no times"),
        (["u1 r1 -1 1"], "are no times"),
        (["u1 r1 1 1"], "not after its start"),
        (["u1 r1 0 1 X"], "X is no channel"),
    ],
)
def test_bad_segments_are_named(tmp_path: Path, lines: List[str], problem: str) -> None:
    wav = sound(tmp_path / "a.wav")
    refused = refusal(data(tmp_path / "x", wav_scp=[f"r1 {wav}"], segments=lines, text=["u1 one", "u2 two"]))
    assert problem in refused.problems[0] and "segments has a bad line" in refused.message.replace("1 bad", "a bad")


@pytest.mark.parametrize(
    ("name", "lines", "told"),
    [
        ("text", ["u1 one", "u1 two"], "text, line 2: u1 comes again"),
        ("text", ["u2 one", "u1 x", "u2 two"], "text, line 3: u2 comes again"),
        ("utt2spk", ["u1 a", "u1 b"], "utt2spk, line 2: u1 comes again"),
        ("wav_scp", ["u1"], "wav.scp, line 1: u1 names no file"),
        ("wav_scp", ["u1 -"], "wav.scp, line 1: u1 names no file"),
        ("wav_scp", ["u1 /x/wav.1.ark:1234"], "leads into an archive of Kaldi (/x/wav.1.ark:1234)"),
        ("wav_scp", ["u1 /x/wav.1.ark:1234[0:99]"], "leads into an archive of Kaldi"),
    ],
)
def test_files_that_can_not_be_used_are_named(tmp_path: Path, name: str, lines: List[str], told: str) -> None:
    wav = sound(tmp_path / "a.wav")
    folder = data(tmp_path / "x", wav_scp=[f"u1 {wav}", f"u2 {wav}"], text=["u1 one", "u2 two"], utt2spk=["u1 a"])
    assert told in refusal(data(folder, **{name: lines})).message


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    assert "holds no wav.scp" in refusal(tmp_path).message
    data(tmp_path / "a", wav_scp=["u1 a.wav"])
    assert "holds no file text beside wav.scp" in refusal(tmp_path).message
    data(tmp_path / "b", wav_scp=["u1 a.wav"], text=["u1 one"])
    read = Read(tmp_path)
    assert len(read.found) == 1 and any("has no file text" in line for line in read.warned)


def test_a_length_that_is_another_is_told(tmp_path: Path) -> None:
    wav = sound(tmp_path / "a.wav")
    folder = data(tmp_path / "x", wav_scp=[f"r {wav}"], segments=["u1 r 0 1"], text=["u1 one"], reco2dur=["r 2.001"])
    assert not Read(folder).warned
    data(folder, reco2dur=["r 71.5"])
    assert any("r (2.00 s, not 71.5)" in line for line in Read(folder).warned)


def test_a_folder_is_recognized(tmp_path: Path) -> None:
    recognizes = corpora.find("kaldi").recognizes
    data(tmp_path / "data" / "train", wav_scp=["u1 a.wav"], text=["u1 one"])
    assert recognizes(tmp_path / "data") == recognizes(tmp_path / "data" / "train") == Match.CERTAIN
    assert recognizes(tmp_path) == recognizes(tmp_path / "data" / "train" / "text") == Match.NO
    assert corpora.kind_of(tmp_path / "data") == "kaldi"


# -- commands ---------------------------------------------------------------------------------------------------------


def commands(tmp_path: Path, *values: str) -> Path:
    sound(tmp_path / "a.wav")
    keys = [f"u{number}" for number in range(len(values))]
    return data(
        tmp_path / "x",
        wav_scp=[f"{key} {value} |" for key, value in zip(keys, values)],
        text=[f"{key} word" for key in keys],
    )


def test_commands_are_refused_unless_they_are_allowed(tmp_path: Path) -> None:
    folder = commands(tmp_path, "touch ran; cat ../a.wav")
    refused = refusal(folder, cache=tmp_path / "cache")
    assert "names 1 command in place of files (line 1: touch ran; cat ../a.wav |)" in refused.message
    assert "--allow-commands" in refused.fix and not (folder / "ran").exists()


def test_what_a_command_writes_is_the_recording(tmp_path: Path) -> None:
    folder = commands(tmp_path, "touch ran; cat ../a.wav | cat", "cat < '../a.wav'")
    options = {"allow_commands": True}
    read = Read(folder, options=options, cache=tmp_path / "cache")
    for one in read.found:
        assert Path(one.audio).read_bytes() == (tmp_path / "a.wav").read_bytes()
        assert Path(one.audio).parent == tmp_path / "cache"
    (folder / "ran").unlink()
    again = Read(folder, options=options, cache=tmp_path / "cache")
    assert again.found == read.found and not (folder / "ran").exists()  # they are run once
    sound(tmp_path / "a.wav", seed=1, seconds=1.0)
    other = Read(folder, options=options, cache=tmp_path / "cache")
    assert Path(other["u1"].audio).read_bytes() == (tmp_path / "a.wav").read_bytes()  # of another file, again


def test_a_pass_that_may_not_write_runs_nothing(tmp_path: Path) -> None:
    folder = commands(tmp_path, "touch ran; cat ../a.wav")
    read = Read(folder, options={"allow_commands": True}, cache=tmp_path / "cache", write=False)
    assert not (folder / "ran").exists() and not (tmp_path / "cache").exists() and len(read.found) == 1
    assert any("1 command of wav.scp would be run" in event.message for event in read.emitted)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("echo no such tape >&2; exit 3", "ends with 3 (no such tape)"),
        ("no-such-program-at-all", "ends with 127"),
        ("true", "writes nothing"),
        ("cat ../a.wav; exit 1", "ends with 1"),
    ],
)
def test_a_command_that_fails_costs_its_recording(tmp_path: Path, command: str, told: str) -> None:
    read = Read(commands(tmp_path, command, "cat ../a.wav"), options={"allow_commands": True}, cache=tmp_path / "cache")
    assert [Path(one.audio).exists() for one in read.found] == [False, True]
    assert told in read.hints["no-audio"]
    assert [path for path in (tmp_path / "cache").iterdir() if path.name.startswith(".")] == []


def test_commands_write_no_more_than_they_may(tmp_path: Path) -> None:
    folder = commands(tmp_path, "cat ../a.wav", "yes")
    options = {"allow_commands": True, "commands_gb": "0.001"}
    refused = refusal(folder, StorageError, options=options, cache=tmp_path / "cache")
    assert "takes more than 0.001 GB" in refused.message and "--commands-gb" in refused.fix
    assert sum(path.stat().st_size for path in (tmp_path / "cache").iterdir()) < 1e6


def test_commands_and_a_root_do_not_go_together(tmp_path: Path) -> None:
    folder = commands(tmp_path, "cat ../a.wav")
    refusal(folder, UsageError, options={"allow_commands": True}, cache=tmp_path / "cache", root=tmp_path)


@pytest.mark.parametrize("moved", [None, "here"])
def test_paths_in_commands_are_mapped_too(tmp_path: Path, moved: Optional[str]) -> None:
    sound(tmp_path / "here" / "a.wav")
    folder = data(tmp_path / "x", wav_scp=["u1 cat '/export/a.wav' |"], text=["u1 word"])
    options: Dict[str, Any] = {"allow_commands": True}
    if moved is not None:
        options["map"] = [f"/export={tmp_path / moved}"]
    read = Read(folder, options=options, cache=tmp_path / "cache")
    assert Path(read["u1"].audio).exists() == (moved is not None)


def test_real_files_of_a_recipe(speech: Path) -> None:
    folder = speech / "formats" / "mini_librispeech"
    if not folder.is_dir():
        pytest.skip("no such files here")
    assert "names 38 commands in place of files" in refusal(folder).message
    read = Read(folder, options={"allow_commands": True}, write=False)
    assert len(read.found) == 38 and read.found[1].text == "A MAN SAID TO THE UNIVERSE SIR I EXIST"
    assert [one.speaker for one in read.found[:3]] == ["lbi-1272-135031", "lbi-1272-141231", "lbi-1462-170142"]
