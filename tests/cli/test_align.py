"""`asrctl align`: when each utterance of a text is said, and what of text and recording is not in the other."""

from __future__ import annotations

import io
import json
import re
import sys

import numpy as np
import pytest
import soundfile

from ..helpers.tones import RATE, sound

LETTER_S, PAUSE_S = 0.12, 0.06
LEFT_OUT, TWICE, BEFORE_EXTRA = 4, 9, 15


def sentences(count, seed=9):
    generator = np.random.default_rng(seed)
    words = ["".join(pair) for pair in ("ab", "ba", "ac", "ca", "bc", "cb", "abc", "bca", "cab", "acb", "bac", "cba")]
    return [" ".join(generator.choice(words, 3)) for _ in range(count)]


class Tape:
    """Sentences of tones with silence between them. words: [(start, end)] of the words of each."""

    def __init__(self, seed=5, gap_s=0.7):
        self._generator, self._gap_s = np.random.default_rng(seed), gap_s
        self._parts, self.words, self._at = [], [], 0.0

    def say(self, text):
        silence = self._generator.normal(0, 0.003, int(self._gap_s * RATE)).astype(np.float32)
        samples = sound(text, self._generator)
        start, step = self._at + self._gap_s, LETTER_S + PAUSE_S
        spans = [
            (start + found.start() * step, start + found.end() * step - PAUSE_S) for found in re.finditer(r"\w+", text)
        ]
        self._parts += [silence, samples]
        self._at = start + len(samples) / RATE
        self.words.append(spans)
        return spans

    def write(self, path):
        soundfile.write(str(path), np.concatenate(self._parts), RATE)


@pytest.fixture(scope="module")
def lecture(tmp_path_factory):
    """(recording, text, word times of each of its 20 lines): one is left out, one said twice, and one not written."""
    folder = tmp_path_factory.mktemp("lecture")
    lines, tape, truth = sentences(20), Tape(), []
    for number, line in enumerate(lines):
        truth.append(None if number == LEFT_OUT else tape.say(line))
        if number in (TWICE, BEFORE_EXTRA):
            tape.say(line if number == TWICE else "cab abc ba cb")
    tape.write(folder / "lecture.wav")
    (folder / "lecture.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "lecture.wav", folder / "lecture.txt", truth


def edges(utterance):
    return np.array([[word["start"], word["end"]] for word in utterance["words"]])


def test_each_utterance_is_found_at_the_right_time_and_so_is_what_only_one_of_them_has(asrctl, tones, lecture):
    recording, text, truth = lecture
    found = asrctl("align", recording, text, "--json").succeeded().result
    assert found["counts"] == {"utterances": 19, "not_said": 1, "low": 0, "unwritten": 2}
    assert [sentence["line"] for sentence in found["not_said"]] == [LEFT_OUT + 1]
    late = []
    for utterance in found["utterances"]:
        number = utterance["line"] - 1
        if number != TWICE:
            late += np.abs(edges(utterance) - truth[number]).ravel().tolist()
    assert np.mean(late) < 0.03 and np.percentile(late, 95) < 0.05
    assert found["utterances"][0]["text"] == text.read_text(encoding="utf-8").splitlines()[0]


def test_the_text_may_be_of_another_case_with_signs_and_come_in_on_stdin(asrctl, tones, lecture, monkeypatch):
    recording, text, _ = lecture
    wanted = asrctl("align", recording, text, "--json").succeeded().result["utterances"]
    shouted = "\n\n".join(f"“{line.upper()}!”" for line in text.read_text(encoding="utf-8").splitlines())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(shouted.encode())))
    found = asrctl("align", recording, "-", "--by", "lines", "--json").succeeded().result["utterances"]
    assert [edges(one).tolist() for one in found] == [edges(one).tolist() for one in wanted]
    assert [one["score"] for one in found] == [one["score"] for one in wanted]


def test_its_manifest_is_what_prepare_reads(asrctl, tones, lecture, tmp_path):
    recording, text, truth = lecture
    made = asrctl("align", recording, text, "--output", recording.with_name("lecture.jsonl")).succeeded()
    assert "19 of 20 utterances found" in made.stdout
    rows = [json.loads(line) for line in recording.with_name("lecture.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["path"] for row in rows} == {"lecture.wav"}
    assert all(before["end"] <= after["start"] for before, after in zip(rows, rows[1:]))
    assert rows[0]["start"] < truth[0][0][0] and truth[0][-1][1] < rows[0]["end"]
    words = ("prepare", "manifest", recording.with_name("lecture.jsonl"), "--name", "aligned", "--json")
    prepared = asrctl(*words).succeeded().result
    assert sum(split["utterances"] for split in prepared["splits"].values()) == 19


def test_low_scores_are_left_out_where_that_is_asked_for_and_counted(asrctl, tones, lecture):
    recording, text, _ = lecture
    every = asrctl("align", recording, text, "--json").succeeded().result["utterances"]
    limit = sorted(one["score"] for one in every)[5]
    found = asrctl("align", recording, text, "--min-score", limit, "--json").succeeded().result
    assert found["utterances"] == [one for one in every if one["score"] >= limit]
    assert found["low"] == [one for one in every if one["score"] < limit]
    shown = asrctl("align", recording, text, "--min-score", limit).succeeded().stdout
    assert f"left out by --min-score: {len(found['low'])}" in shown


def test_ctm_and_textgrid_say_the_same(asrctl, tones, lecture):
    recording, text, _ = lecture
    document = json.loads(asrctl("align", recording, text, "--format", "json").succeeded().stdout)
    words = [word for utterance in document["utterances"] for word in utterance["words"]]
    ctm = [line.split() for line in asrctl("align", recording, text, "--format", "ctm").succeeded().stdout.splitlines()]
    assert [row[4] for row in ctm] == [word["word"] for word in words]
    assert [float(row[2]) for row in ctm] == [word["start"] for word in words]
    assert {(row[0], row[1], len(row)) for row in ctm} == {("lecture", "1", 6)}
    grid = asrctl("align", recording, text, "--format", "textgrid").succeeded().stdout
    assert grid.startswith('File type = "ooTextFile"\nObject class = "TextGrid"\n\n')
    tiers = grid.split("    item [")[1:]
    assert [re.search('name = "(.*)"', tier).group(1) for tier in tiers] == ["utterances", "words", "not in the text"]
    for tier in tiers:
        bounds = re.findall(r"intervals \[\d+\]:\s+xmin = (\S+)\s+xmax = (\S+)", tier)
        assert [float(end) for _, end in bounds[:-1]] == [float(start) for start, _ in bounds[1:]]
        assert float(bounds[0][0]) == 0 and float(bounds[-1][1]) == document["audio_s"]
    marked = re.findall(r'text = "(.+)"', tiers[1])
    assert marked == [word["word"] for word in words]


def test_a_table_for_people_shows_what_is_missing_where_it_is_missing(asrctl, tones, lecture):
    recording, text, _ = lecture
    lines = asrctl("align", recording, text).succeeded().stdout.splitlines()
    left_out = next(number for number, line in enumerate(lines) if "[not said: " in line)
    assert sum("[not in the text: " in line for line in lines) == 2
    assert left_out == LEFT_OUT + 1  # behind the header, and as many lines as are said before


@pytest.mark.parametrize(
    "text, told",
    [
        ("", "holds no words"),
        ("\n \n", "holds no words"),
        ("где-то там", "another alphabet"),
        ("1234\n5678", "another alphabet"),
        ("... !", "another alphabet"),
        ("abc " * 2000, "shorter than the text"),
    ],
)
def test_a_text_that_can_not_be_aligned_is_refused(asrctl, tones, lecture, tmp_path, text, told):
    recording, _, _ = lecture
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    if told == "shorter than the text":
        recording = tmp_path / "short.wav"
        soundfile.write(str(recording), sound("a", np.random.default_rng(0)), RATE)
    refused = asrctl("align", recording, tmp_path / "text.txt", "--json")
    assert refused.exit_code == 5
    assert told in refused.error["message"] and refused.error["fix"]


def test_what_is_no_recording_or_no_text_is_refused(asrctl, tones, lecture, tmp_path):
    recording, text, _ = lecture
    silent = tmp_path / "silent.wav"
    soundfile.write(str(silent), np.zeros(5 * RATE, dtype=np.float32), RATE)
    (tmp_path / "latin.txt").write_bytes("abc \xe9".encode("latin-1"))
    for words, code, told in [
        ((silent, text), 5, "hears nothing"),
        ((text, recording), 5, "not UTF-8"),
        ((recording, tmp_path / "latin.txt"), 5, "not UTF-8"),
        ((recording, tmp_path / "missing.txt"), 4, "there is no"),
        ((tmp_path, text), 2, "is a folder"),
        ((recording, text, "--format", "ctm"), 2, "--json prints the result itself"),
        ((recording, text, "--by", "words"), 2, "there is no way 'words'"),
    ]:
        refused = asrctl("align", *words, "--json")
        assert (refused.exit_code, told in refused.error["message"]) == (code, True), refused.error


def test_an_output_replaces_nothing_but_what_it_wrote_itself(asrctl, tones, lecture, tmp_path):
    recording, text, _ = lecture
    output = tmp_path / "words.TextGrid"
    asrctl("align", recording, text, "--output", output).succeeded()
    assert asrctl("align", recording, text, "--output", output).exit_code == 2
    asrctl("align", recording, text, "--output", output, "--force").succeeded()
    output.write_text("mine", encoding="utf-8")
    assert asrctl("align", recording, text, "--output", output, "--force").exit_code == 2
    assert output.read_text(encoding="utf-8") == "mine"


@pytest.mark.slow
def test_an_hour_is_aligned_with_what_is_left_out_and_what_is_not_written(asrctl, tones, tmp_path):
    lines, tape, truth, unwritten = sentences(1500), Tape(), [], 0
    for number, line in enumerate(lines):
        truth.append(None if number % 25 == 24 else tape.say(line))
        if number % 40 == 39:
            tape.say("cab abc ba cb")
            unwritten += 1
    tape.write(tmp_path / "hour.wav")
    (tmp_path / "hour.txt").write_text("\n".join(lines), encoding="utf-8")
    found = asrctl("align", tmp_path / "hour.wav", tmp_path / "hour.txt", "--json").succeeded().result
    assert found["audio_s"] > 3400
    late = {one["line"] - 1: np.abs(edges(one) - truth[one["line"] - 1]).max() for one in found["utterances"]
            if truth[one["line"] - 1] is not None}  # fmt: skip
    said = sum(spans is not None for spans in truth)
    assert sum(worst < 0.1 for worst in late.values()) >= 0.97 * said
    assert found["counts"]["not_said"] == pytest.approx(len(lines) - said, rel=0.1)
    assert found["counts"]["unwritten"] == pytest.approx(unwritten, rel=0.2)
