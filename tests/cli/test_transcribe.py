"""`asrctl transcribe`: long recordings, word for word, at the right time, in every format; folders that go on."""

import json
import re
import sys

import numpy as np
import pytest
import soundfile

from ..helpers.tones import RATE, sound

LETTER_S, PAUSE_S = 0.12, 0.06


def spoken(sentences, *, gap_s=0.7, seed=5):
    """(samples, [(word, start, end)]): sentences of tones with silence between them."""
    generator = np.random.default_rng(seed)
    parts, words, at = [], [], 0.0
    for text in sentences:
        parts.append(generator.normal(0, 0.003, int(gap_s * RATE)).astype(np.float32))
        at += gap_s
        place = 0
        for word in text.split():
            start = at + text.index(word, place) * (LETTER_S + PAUSE_S)
            place = text.index(word, place) + len(word)
            words.append((word, start, start + len(word) * (LETTER_S + PAUSE_S) - PAUSE_S))
        samples = sound(text, generator)
        parts.append(samples)
        at += len(samples) / RATE
    return np.concatenate(parts), words


def sentences(count, seed=9):
    generator = np.random.default_rng(seed)
    for _ in range(count):
        yield " ".join("".join(generator.permutation(list("abc"))[: generator.integers(2, 4)]) for _ in range(3))


@pytest.fixture(scope="module")
def lecture(tmp_path_factory):
    """A recording of a minute, and its words with their times."""
    samples, words = spoken(sentences(24))
    path = tmp_path_factory.mktemp("lecture") / "lecture.wav"
    soundfile.write(str(path), samples, RATE)
    return path, words


def errors(found, wanted):
    """How many of the words are wrong, counted at their places."""
    return sum(one != other for one, other in zip(found, wanted)) + abs(len(found) - len(wanted))


def test_a_long_recording_word_for_word_and_at_the_right_time(asrctl, tones, lecture):
    path, words = lecture
    done = asrctl("transcribe", path, "--json").succeeded()
    (found,) = done.result["recordings"]
    heard = found["words"]
    assert len(heard) == len(words)
    assert errors([word["word"] for word in heard], [word for word, *_ in words]) <= 2
    late = [abs(word["start"] - start) for word, (_, start, _) in zip(heard, words)]
    early = [abs(word["end"] - end) for word, (_, _, end) in zip(heard, words)]
    assert np.mean(late) < 0.03 and np.percentile(late, 95) < 0.05
    assert np.mean(early) < 0.03 and np.percentile(early, 95) < 0.05
    assert all(0 < word["confidence"] <= 1 for word in heard)
    assert found["text"] == " ".join(word["word"] for word in heard)


def test_windows_that_overlap_lose_and_repeat_no_word(asrctl, tones, tmp_path):
    """Speech without a pause, over noise that is as loud as its pauses are not."""
    text = " ".join(sentences(14, seed=3))
    samples = sound(text, np.random.default_rng(2))
    path = tmp_path / "breathless.wav"
    soundfile.write(str(path), samples, RATE)
    done = asrctl("transcribe", path, "--window-s", 4, "--json").succeeded()
    found = done.result["recordings"][0]["text"].split()
    assert len(found) == len(text.split()) and errors(found, text.split()) <= 2


TIME = r"(\d\d):(\d\d):(\d\d)[,.](\d\d\d)"


def test_every_format(asrctl, tones, lecture, tmp_path):
    path, words = lecture
    made = {}
    for form in ("text", "json", "srt", "vtt", "ctm", "manifest"):
        made[form] = asrctl("transcribe", path, "--format", form).succeeded().stdout
    text = made["text"].strip()
    assert errors(text.split(), [word for word, *_ in words]) <= 2
    assert json.loads(made["json"])["text"] == text
    for form, head in (("srt", "1\n00:00:00,"), ("vtt", "WEBVTT\n\n00:00:00.")):
        assert made[form].startswith(head)
        times = [[int(h) * 3600 + int(m) * 60 + int(s) + int(ms) / 1000 for h, m, s, ms in re.findall(TIME, line)]
                 for line in made[form].splitlines() if "-->" in line]  # fmt: skip
        assert all(start < end <= start + 7.1 for start, end in times)
        assert all(one[1] <= other[0] for one, other in zip(times, times[1:]))
        spoken_lines = [line for line in made[form].splitlines() if re.fullmatch("[abc ]+", line)]
        assert " ".join(spoken_lines) == text and max(map(len, spoken_lines)) <= 42
    rows = [line.split() for line in made["ctm"].splitlines()]
    assert [row[4] for row in rows] == text.split() and {row[0] for row in rows} == {"lecture.wav"}
    rows = [json.loads(line) for line in made["manifest"].splitlines()]
    assert " ".join(row["text"] for row in rows) == text and {row["path"] for row in rows} == {str(path)}
    assert all(0 <= row["start"] < row["end"] <= row["start"] + 15.3 for row in rows)


def test_a_folder_goes_on_where_it_was_stopped(asrctl, tones, lecture, tmp_path):
    path, _ = lecture
    samples, _ = soundfile.read(str(path), dtype="float32")
    folder, out = tmp_path / "talks", tmp_path / "out"
    (folder / "day 1").mkdir(parents=True)
    for name in ("a.wav", "a.flac", "day 1/b.wav"):
        soundfile.write(str(folder / name), samples[: 4 * RATE], RATE)
    (folder / "notes.txt").write_text("no recording", encoding="utf-8")
    command = ("transcribe", folder, "--output", out)
    asrctl(*command).succeeded()
    wanted = {"a.flac.txt", "a.wav.txt", "day 1/b.txt"}
    assert {found.relative_to(out).as_posix() for found in out.rglob("*.txt")} == wanted
    (out / "a.wav.txt").unlink()
    with open(out / ".asrctl-transcripts.jsonl", "ab") as stream:
        stream.write(b'{"name": "half a li')
    before = (out / "day 1" / "b.txt").stat().st_mtime_ns
    again = asrctl(*command, "--json").succeeded().result
    assert again["kept"] == 2 and [row["recording"] for row in again["recordings"] if not row["kept"]] == ["a.wav"]
    assert (out / "day 1" / "b.txt").stat().st_mtime_ns == before
    refused = asrctl(*command, "--window-s", 4, "--json")
    assert refused.exit_code == 2 and "window_s" in refused.error["message"]
    assert asrctl(*command, "--window-s", 4, "--force", "--json").succeeded().result["kept"] == 0


def test_recordings_of_the_same_name_do_not_overwrite_each_other(asrctl, tones, lecture, tmp_path):
    samples, _ = soundfile.read(str(lecture[0]), dtype="float32")
    monday, tuesday = (tmp_path / day / "talk.wav" for day in ("monday", "tuesday"))
    for number, path in enumerate((monday, tuesday), 1):
        path.parent.mkdir()
        soundfile.write(str(path), samples[: 2 * number * RATE], RATE)
    out = f"{tmp_path / 'out'}/"
    refused = asrctl("transcribe", monday, tuesday, "--output", out, "--json")
    assert refused.exit_code == 2 and "talk.wav.txt" in refused.error["message"]
    asrctl("transcribe", monday, "--output", out).succeeded()
    text = (tmp_path / "out" / "talk.txt").read_text(encoding="utf-8")
    refused = asrctl("transcribe", tuesday, "--output", out, "--json")
    assert refused.exit_code == 2 and str(monday) in refused.error["message"]
    assert (tmp_path / "out" / "talk.txt").read_text(encoding="utf-8") == text
    monday.rename(tmp_path / "talk.wav")
    moved = asrctl("transcribe", tmp_path / "talk.wav", "--output", out, "--json").succeeded()
    assert moved.result["kept"] == 1


def test_what_can_not_be_heard_is_told_and_keeps_nothing_else_back(asrctl, tones, lecture, tmp_path):
    path, _ = lecture
    folder = tmp_path / "odd"
    folder.mkdir()
    whole = path.read_bytes()
    (folder / "cut.wav").write_bytes(whole[: len(whole) // 4])
    (folder / "empty.wav").write_bytes(b"")
    (folder / "noise.mp3").write_bytes(b"not a recording at all" * 9)
    soundfile.write(str(folder / "silent.wav"), np.zeros(RATE), RATE)
    done = asrctl("transcribe", folder, "--json")
    assert done.exit_code == 5 and done.json["error"]["kind"] == "data"
    found = {row["recording"]: row["text"] for row in done.json["result"]["recordings"]}
    assert set(found) == {"cut.wav", "silent.wav"} and found["silent.wav"] == "" and len(found["cut.wav"]) > 20
    assert {row["recording"] for row in done.json["result"]["failed"]} == {"empty.wav", "noise.mp3"}
    assert "before the length that its header promises" in done.stderr
    (tmp_path / "none").mkdir()
    assert "holds no recording" in asrctl("transcribe", tmp_path / "none").stderr


def test_stdin(asrctl, tones, lecture, monkeypatch):
    path, words = lecture
    with open(path, encoding="latin-1") as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        done = asrctl("transcribe", "-").succeeded()
    assert errors(done.stdout.split(), [word for word, *_ in words]) <= 2


def test_a_beam_search_finds_words_with_their_times(asrctl, tones, lecture):
    path, words = lecture
    found = asrctl("transcribe", path, "--decoder", "beam", "--json").succeeded().result["recordings"][0]["words"]
    assert len(found) == len(words) and errors([word["word"] for word in found], [word for word, *_ in words]) <= 2
    assert max(abs(word["start"] - start) for word, (_, start, _) in zip(found, words)) < 0.05


def test_unsure_texts_are_left_out_by_prepare(asrctl, tones, lecture, tmp_path):
    path, _ = lecture
    manifest = tmp_path / "pseudo.jsonl"
    asrctl("transcribe", path, "--format", "manifest", "--output", manifest).succeeded()
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    sure = sorted(row["confidence"] for row in rows)[1]
    done = asrctl("prepare", "manifest", manifest, "--min-confidence", sure, "--json").succeeded()
    assert sum(split["utterances"] for split in done.result["splits"].values()) == len(rows) - 1
    assert "1 row is left out, with a confidence below" in done.stderr
    rows[0].pop("confidence")
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    refused = asrctl("prepare", "manifest", manifest, "--min-confidence", 0.5, "--json")
    assert refused.exit_code == 5 and "confidence" in refused.error["problems"][0]
    assert asrctl("prepare", "manifest", manifest, "--min-confidence", 2).exit_code == 2
