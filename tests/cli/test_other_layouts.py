"""`asrctl prepare` on corpora as other programs, systems and habits leave them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np
import pytest
import soundfile

from asrctl.data.dataset import PreparedData
from asrctl.storage.workspace import Workspace

from ..helpers.corpora import noise


def recordings(folder: Path, count: int, suffix: str = ".wav", transcript: str = ".txt") -> List[str]:
    """`count` recordings of noise, each with a transcript beside it; their stems."""
    folder.mkdir(parents=True, exist_ok=True)
    stems = [f"u{number:02d}" for number in range(count)]
    for number, stem in enumerate(stems):
        soundfile.write(str(folder / (stem + suffix)), noise(0.3, number), 16000, format=suffix[1:].upper())
        (folder / (stem + transcript)).write_text(f"word {'abc'[number % 3]}", encoding="utf-8")
    return stems


def ids(workspace: Path) -> Dict[str, List[str]]:
    """{split: ids} of what was prepared last."""
    data = PreparedData(Workspace(workspace).resolve("prepared", None, fix=""))
    return {name: [data.split(name).id(index) for index in range(len(data.split(name)))] for name in data.splits}


def counts(result: Dict[str, Any]) -> Dict[str, int]:
    return {name: split["utterances"] for name, split in result["splits"].items()}


# -- what lies beside recordings --------------------------------------------------------------------------------------


def test_a_recording_kept_twice_is_never_on_both_sides(asrctl, tmp_path: Path, workspace: Path) -> None:
    recordings(tmp_path / "mine", 40)
    recordings(tmp_path / "mine", 40, ".flac")
    done = asrctl("prepare", "folder", tmp_path / "mine", "--json")
    assert counts(done.result) == {"train": 36, "eval": 4}
    assert "warning: 40 recordings are left out, as another of their name has the same transcript" in done.stderr
    prepared = {name: {Path(found).stem for found in found_ids} for name, found_ids in ids(workspace).items()}
    assert not prepared["train"] & prepared["eval"]


@pytest.mark.parametrize("suffix", ["PHN", "txt~", "pkf", "never-heard-of"])
def test_annotations_beside_recordings_are_no_rejects(asrctl, tmp_path: Path, workspace: Path, suffix: str) -> None:
    for stem in recordings(tmp_path / "mine", 12, ".WAV", ".TXT"):
        (tmp_path / "mine" / f"{stem}.{suffix}").write_text("0 3050 h#", encoding="utf-8")
    done = asrctl("prepare", "folder", tmp_path / "mine", "--max-rejects", 0, "--json")
    assert sum(counts(done.result).values()) == 12


def test_what_a_mac_puts_beside_files_is_no_reject(asrctl, tmp_path: Path, workspace: Path) -> None:
    (tmp_path / "mine" / "__MACOSX").mkdir(parents=True)
    for stem in recordings(tmp_path / "mine", 12):
        for name in (f"._{stem}.wav", f"._{stem}.txt", f"__MACOSX/._{stem}.wav"):
            (tmp_path / "mine" / name).write_bytes(b"\0\5\x16\7\xb0\xff")
    (tmp_path / "mine" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    done = asrctl("prepare", "folder", tmp_path / "mine", "--max-rejects", 0, "--json")
    assert sum(counts(done.result).values()) == 12


def test_the_workspace_is_no_part_of_the_corpus(asrctl, in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASRCTL_WORKSPACE")
    recordings(in_folder, 12)
    asrctl("vocab", "folder", ".").succeeded()
    recordings(in_folder / "asr-workspace" / "cache" / "demo" / "train", 5, transcript=".no")
    done = asrctl("prepare", "folder", ".", "--max-rejects", 0, "--json")
    assert sum(counts(done.result).values()) == 12
    assert "asr-workspace is a workspace of asrctl" in done.stderr


# -- transcripts in other encodings -----------------------------------------------------------------------------------


def in_encoding(folder: Path, encoding: str, extra: str = " f\u00fcr \u00df") -> Path:
    for stem in recordings(folder, 12):
        path = folder / f"{stem}.txt"
        path.write_bytes((path.read_text(encoding="utf-8") + extra).encode(encoding))
    return folder


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_is_read_in_any_form(asrctl, tmp_path: Path, workspace: Path, encoding: str) -> None:
    folder = in_encoding(tmp_path / "mine", encoding)
    result = asrctl("vocab", "folder", folder, "--json").result
    assert set(result["characters"]) == set("word abcf\u00fcr\u00df")


@pytest.mark.parametrize("left", [1, 11, 12])
def test_the_fix_of_another_encoding_works_when_typed(asrctl, in_folder: Path, workspace: Path, left: int) -> None:
    folder = in_encoding(in_folder / "my folder", "cp1252")
    for path in sorted(folder.glob("*.txt"))[left:]:
        path.write_text("caf\u00e9 f\u00fcr", encoding="utf-8")
    refused = asrctl("prepare", "folder", folder, "--json")
    assert (
        f"warning: {left} transcript{'s are' if left > 1 else ' is'} not UTF-8" in refused.stderr
        and "probably Windows-1252" in refused.stderr
    )
    command = refused.error["fix"].split(": ", 1)[1].split("; what is done")[0].split(", or allow")[0]
    subprocess.run(command, shell=True, check=True)
    result = asrctl("vocab", "folder", folder, "--json").result
    assert set(result["characters"]) <= set("word abcf\u00fcr\u00df\u00e9")
    asrctl("prepare", "folder", folder, "--max-rejects", 0).succeeded()


def test_transcripts_in_no_known_encoding_are_named(asrctl, tmp_path: Path, workspace: Path) -> None:
    folder = in_encoding(tmp_path / "mine", "cp1251", " \u0432\u0441\u0435 \u044d\u0442\u043e \u0440\u0435\u0447\u044c")
    refused = asrctl("prepare", "folder", folder, "--json")
    assert refused.error["message"] == f"no utterance of {folder} has a transcript"
    assert refused.error["fix"] == f"save {folder / 'u00.txt'} and its like as UTF-8 in the program that wrote it"


# -- what is said of rejects ------------------------------------------------------------------------------------------


def lengths(folder: Path, seconds: Sequence[float]) -> Path:
    recordings(folder, len(seconds))
    for number, length in enumerate(seconds):
        soundfile.write(str(folder / f"u{number:02d}.wav"), noise(length, number), 16000)
    return folder


def options(fix: str) -> List[str]:
    """The first option that a fix names, with its value."""
    return re.findall(r"(--[a-z-]+) ([\d.]+\d|\d)", fix)[0]


@pytest.mark.parametrize(
    ("seconds", "given", "named"),
    [
        ([1.2] * 6 + [2.25] * 6, ["--max-s", 1], ["--max-s", "3"]),
        ([0.5] * 12, ["--min-s", 1], ["--min-s", "0.5"]),
        ([0.5, 0.7, 1.5] * 4, ["--min-s", 1], ["--min-s", "0.5"]),
    ],
)
def test_a_length_that_is_refused_is_cured_by_its_option(
    asrctl, tmp_path: Path, workspace: Path, seconds: List[float], given: List[object], named: List[str]
) -> None:
    folder = lengths(tmp_path / "mine", seconds)
    refused = asrctl("prepare", "folder", folder, *given, "--json")
    assert refused.exit_code == 5
    assert list(options(refused.error["fix"])) == named
    assert ("--max-rejects" in refused.error["fix"]) == (len(set(seconds)) == 3), "only where something is left"
    asrctl("prepare", "folder", folder, *options(refused.error["fix"])).succeeded()


def test_what_is_longer_than_any_option_allows_must_be_cut(asrctl, tmp_path: Path, workspace: Path) -> None:
    folder = tmp_path / "mine"
    for number, stem in enumerate(recordings(folder, 6)):
        soundfile.write(str(folder / f"{stem}.wav"), np.resize(noise(0.3, number), 601 * 1000), 1000)
        (folder / f"{stem}.txt").write_text("word", encoding="utf-8")
    refused = asrctl("prepare", "folder", folder, "--json")
    assert refused.error["fix"].startswith("cut them into stretches (the columns start and end of a list)")


def test_pointers_of_git_lfs_are_known(asrctl, tmp_path: Path, workspace: Path) -> None:
    for stem in recordings(tmp_path / "mine", 4):
        pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
        (tmp_path / "mine" / f"{stem}.wav").write_text(pointer, encoding="utf-8")
    error = asrctl("prepare", "folder", tmp_path / "mine", "--json").error
    assert "lfs pull" in error["fix"] and error["problems"][1].endswith("unreadable a git-lfs pointer")


def test_recordings_without_transcripts_and_the_other_way_round(asrctl, tmp_path: Path, workspace: Path) -> None:
    folder = tmp_path / "my folder"
    for stem in recordings(folder, 6):
        (folder / f"{stem}.txt").unlink()
    (folder / "list.csv").write_text("path,text\n", encoding="utf-8")
    refused = asrctl("prepare", "folder", folder, "--json")
    assert f"{folder / 'u00.wav'} has none" in refused.error["fix"]
    assert refused.error["fix"].endswith(f"asrctl prepare manifest '{folder / 'list.csv'}'")
    for stem in recordings(folder, 6):
        (folder / f"{stem}.wav").unlink()
    refused = asrctl("prepare", "folder", folder, "--json")
    assert refused.error["fix"].startswith(
        f"put the recordings beside their transcripts: {folder / 'u00.txt'} has none"
    )


def test_what_is_left_out_is_shown_with_its_path(asrctl, tmp_path: Path, workspace: Path) -> None:
    folder = lengths(tmp_path / "mine", [0.3] * 12 + [1.5] * 7)
    shown = asrctl("prepare", "folder", folder, "--max-s", 1, "--max-rejects", 0.5).succeeded().stdout.splitlines()
    assert "left out:" in shown
    examples = [line.strip() for line in shown if "too-long" in line and line.startswith("  ")]
    assert len(examples) == 5 and all(line.startswith(f"{folder}/u1") for line in examples)
    (rest,) = [line for line in shown if "(all 7: " in line]
    assert sum(len(Path(path.rstrip(")")).read_text().splitlines()) for path in rest.split(": ")[1].split(", ")) == 7


# -- splits by folder -------------------------------------------------------------------------------------------------


def test_the_layout_of_the_hub_keeps_its_test_split_out_of_training(asrctl, tmp_path: Path, workspace: Path) -> None:
    rows = ["file_name,transcription"]
    for split, count in (("train", 12), ("validation", 4), ("test", 3)):
        folder = tmp_path / "repo" / "data" / split
        table = ["file_name,transcription"]
        for stem in recordings(folder, count):
            table.append(f"{stem}.wav,word a")
            rows.append(f"data/{split}/{stem}.wav,word a")
            (folder / f"{stem}.txt").unlink()
        (folder / "metadata.csv").write_text("\n".join(table), encoding="utf-8")
    wanted = {"train": 12, "eval": 4, "test": 3}
    assert counts(asrctl("prepare", "folder", tmp_path / "repo", "--json").result) == wanted
    (tmp_path / "repo" / "metadata.csv").write_text("\n".join(rows), encoding="utf-8")
    assert counts(asrctl("prepare", "folder", tmp_path / "repo", "--json").result) == wanted


def test_a_folder_that_is_no_split_beside_others_is_told(asrctl, tmp_path: Path, workspace: Path) -> None:
    for name, count in (("train-clean-100", 12), ("dev-other", 4), ("train_dev", 2), ("extra", 3)):
        recordings(tmp_path / "mine" / name, count)
    done = asrctl("prepare", "folder", tmp_path / "mine", "--json")
    assert counts(done.result) == {"train": 15, "eval": 4}
    assert done.result["unused"] == {"train_dev": 2}
    assert "warning: 2 of 21 utterances are not used" in done.stderr
    assert "warning: 3 of 21 recordings lie in no folder called after a split, such as extra/u00.wav" in done.stderr


# -- lists ------------------------------------------------------------------------------------------------------------


def test_a_stretch_is_a_stretch_whatever_its_columns_are_called(asrctl, tmp_path: Path, workspace: Path) -> None:
    soundfile.write(str(tmp_path / "long.wav"), noise(12.0, 1), 16000)
    prepared = []
    for start, end, unit in (("start", "end", 1), ("begin_time", "stop_time", 1), ("startMs", "endMs", 1000)):
        rows = [f"u{at},long.wav,{at * unit},{(at + 0.5) * unit:g},word {'abc'[at % 3]}" for at in range(12)]
        table = tmp_path / "list.csv"
        table.write_text("\n".join([f"id,path,{start},{end},text", *rows]), encoding="utf-8")
        assert counts(asrctl("prepare", "manifest", table, "--json").result) == {"train": 11, "eval": 1}
        data = PreparedData(Workspace(workspace).resolve("prepared", None, fix=""))
        prepared.append([item.pcm.tobytes() for item in data.split("train")])
    assert prepared[0] == prepared[1] == prepared[2] and len(prepared[0][0]) == 16000


def test_recordings_that_are_cut_already_are_told_from_stretches(asrctl, tmp_path: Path, workspace: Path) -> None:
    stems = recordings(tmp_path / "clips", 12)
    rows = [f"{stem}.wav,word a,{at * 10},{at * 10 + 0.3}" for at, stem in enumerate(stems, 1)]
    (tmp_path / "list.csv").write_text("\n".join(["path,text,begin_time,end_time", *rows]), encoding="utf-8")
    refused = asrctl("prepare", "manifest", tmp_path / "list.csv", "--json")
    assert "begin_time, end_time" in refused.error["fix"] and "cut already" in refused.error["fix"]


def test_common_voice_is_found_in_clips(asrctl, tmp_path: Path, workspace: Path) -> None:
    rows = [f"{'abc'[at % 3]}\t{stem}.mp3\tword" for at, stem in enumerate(recordings(tmp_path / "clips", 12, ".mp3"))]
    (tmp_path / "validated.tsv").write_text("\n".join(["client_id\tpath\tsentence", *rows]), encoding="utf-8")
    done = asrctl("prepare", "manifest", tmp_path / "validated.tsv", "--max-rejects", 0, "--json")
    assert sum(counts(done.result).values()) == 12
    assert "12 paths of the list were found in clips/ beside the list" in done.stderr


def test_a_list_whose_recordings_are_not_there_says_where_it_looked(asrctl, tmp_path: Path, workspace: Path) -> None:
    rows = "".join(f"D:\\data\\rec\\{stem}.wav,word\n" for stem in recordings(tmp_path / "rec", 12))
    (tmp_path / "list.csv").write_text(f"path,text\n{rows}", encoding="utf-8")
    refused = asrctl("prepare", "manifest", tmp_path / "list.csv", "--json")
    assert refused.error["fix"].startswith(f"take D:\\data\\ off the paths: rec/u00.wav lies in {tmp_path}")
    assert "--max-rejects" not in refused.error["fix"]
    taken_off = (tmp_path / "list.csv").read_text(encoding="utf-8").replace("D:\\data\\", "")
    (tmp_path / "list.csv").write_text(taken_off, encoding="utf-8")
    asrctl("prepare", "manifest", tmp_path / "list.csv", "--max-rejects", 0).succeeded()


def test_empty_cells_are_told_by_their_column(asrctl, tmp_path: Path, workspace: Path) -> None:
    rows = "".join(f"{stem}.wav\t\n" for stem in recordings(tmp_path, 12))
    (tmp_path / "list.tsv").write_text(f"path\tsentence\n{rows}", encoding="utf-8")
    assert "the column sentence" in asrctl("prepare", tmp_path / "list.tsv", "--json").error["fix"]


def test_nan_is_no_transcript_no_speaker_and_no_split(asrctl, tmp_path: Path, workspace: Path) -> None:
    nan = float("nan")
    rows = [
        {"path": f"{stem}.wav", "text": nan if at < 2 else "word", "speaker": nan, "split": nan if at % 2 else "train"}
        for at, stem in enumerate(recordings(tmp_path, 20))
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    done = asrctl("prepare", "manifest", tmp_path / "list.jsonl", "--max-rejects", 0.1, "--json")
    reasons = [split["reasons"].get("no-transcript", 0) for split in done.result["splits"].values()]
    assert (sum(reasons), done.result["unused"]) == (2, {})
    assert "does not name the speakers" in done.stderr


# -- a path where the kind of corpus belongs --------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["prepare", "vocab"])
def test_a_path_alone_is_understood(asrctl, in_folder: Path, workspace: Path, command: str) -> None:
    stems = recordings(in_folder / "my folder", 12)
    (in_folder / "list.csv").write_text(
        "path,text\n" + "".join(f"my folder/{stem}.wav,word\n" for stem in stems), encoding="utf-8"
    )
    for path, kind, name in (("my folder", "folder", "my-folder"), ("./list.csv", "manifest", "list")):
        done = asrctl(command, path, "--json")
        assert done.result["name"] == name
        assert f"{path} is read as a corpus of kind {kind}" in done.stderr
    assert asrctl(command, "my folder", "folder", "--json").result["name"] == "my-folder"


def test_a_copy_of_librispeech_is_known_by_its_layout(asrctl, tmp_path: Path, workspace: Path) -> None:
    for split in ("train-clean-100", "dev-clean"):
        chapter = tmp_path / "mine" / split / "1" / "2"
        stems = recordings(chapter, 6, ".flac")
        lines = [f"{stem}{split} WORD\n" for stem in stems]
        for stem in stems:
            (chapter / f"{stem}.txt").unlink()
            (chapter / f"{stem}.flac").rename(chapter / f"{stem}{split}.flac")
        (chapter / "1-2.trans.txt").write_text("".join(lines), encoding="utf-8")
    assert counts(asrctl("prepare", tmp_path / "mine", "--json").result) == {"train": 6, "eval": 6}
    refused = asrctl("prepare", "folder", tmp_path / "mine", "--json")
    assert refused.error["fix"].endswith(f"asrctl prepare librispeech {tmp_path / 'mine'}")


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        (["../foldr"], "correct the path, and type asrctl prepare folder ../foldr"),
        (["my list.csv"], "correct the path, and type asrctl prepare folder 'my list.csv'"),
        (["a.wav"], "give a folder, an archive, or a CSV, TSV or JSONL file"),
        (["folder", "list.csv"], "give the folder that holds the recordings, or use asrctl prepare manifest list.csv"),
    ],
)
def test_a_path_that_is_no_corpus_is_told(asrctl, in_folder: Path, words: List[str], fix: str) -> None:
    for name in ("a.wav", "list.csv"):
        (in_folder / name).write_bytes(b"")
    refused = asrctl("prepare", *words, "--json")
    assert refused.error["fix"].startswith(fix)
