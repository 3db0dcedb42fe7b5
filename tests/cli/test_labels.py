"""What becomes a label: characters of utterances that are kept, and of those that asrctl itself has held out."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import soundfile

from ..helpers.corpora import corpus, noise, opened, plain_rows
from ..helpers.typing_in import in_backticks, type_line

LETTERS = list("abcdorw")


def letters(workspace: Path):
    return sorted(set(opened(workspace).vocabulary().letters) - {"|"})


def with_odd_ones(folder: Path) -> Path:
    """40 honest utterances, and one for each way to be left out, with a text like no other."""
    rows = [dict(row, split="train") for row in plain_rows(40)] + [
        {"path": "none.wav", "text": "word #", "missing": True},
        {"path": "long.wav", "text": "word %", "seconds": 3.0},
        {"path": "stretch.wav", "text": "word é", "start": 0.0, "end": 900.0, "seconds": 0.1},
        {"path": "fast.wav", "text": "word " * 30 + "$", "seconds": 0.5},
        {"path": "broken.wav", "text": "word €"},
        {"path": "silent.wav", "text": "word ÿ"},
        {"path": "train0.wav", "id": "late", "text": "word Ω", "start": 5, "end": 6},
        {"path": "quiz.wav", "text": "word q", "split": "dev"},
        {"path": "kept.wav", "text": "word c", "split": "dev"},
    ]
    folder.mkdir()
    (folder / "broken.wav").write_bytes(b"no audio")
    soundfile.write(str(folder / "silent.wav"), noise(1.0) * 0, 16000)
    return corpus(folder, rows)


def test_texts_of_what_is_left_out_make_no_labels(asrctl, tmp_path: Path, workspace: Path) -> None:
    path = with_odd_ones(tmp_path / "corpus")
    options = ("--max-rejects", 0.2, "--max-s", 2, "--json")
    done = asrctl("prepare", "manifest", path, *options)
    assert letters(workspace) == LETTERS
    assert done.result["splits"]["train"]["rejected"] == 7
    assert "no label is made of what only utterances hold that are left out: " in done.stderr
    assert all(f"U+{ord(character):04X} x1" in done.stderr for character in "#%é$€ÿω")
    # What an utterance that is kept holds is told as ever.
    assert "1 character is not in the vocabulary: 'q' U+0071 x1" in done.stderr

    again = asrctl("prepare", "manifest", path, *options)
    assert (again.result["new"], again.result["id"]) == (False, done.result["id"])
    assert asrctl("prepare", "manifest", path, *options, "--force").result["id"] == done.result["id"]


def test_the_labels_are_those_of_the_corpus_without_them(asrctl, tmp_path: Path, workspace: Path) -> None:
    odd = asrctl("prepare", "manifest", with_odd_ones(tmp_path / "odd"), "--max-rejects", 0.2, "--max-s", 2, "--json")
    rows = [dict(row, split="train") for row in plain_rows(40)] + [{"path": "k.wav", "text": "word c", "split": "dev"}]
    plain = asrctl("prepare", "manifest", corpus(tmp_path / "plain", rows), "--max-s", 2, "--json")
    assert odd.result["vocabulary"]["size"] == plain.result["vocabulary"]["size"]


def test_a_character_with_one_witness_is_a_label(asrctl, tmp_path: Path, workspace: Path) -> None:
    rows = [dict(row, split="train") for row in plain_rows(40)]
    rows += [{"path": f"x{number}.wav", "text": "word é", "missing": True} for number in range(3)]
    rows += [{"path": "x3.wav", "text": "word é"}, {"path": "e.wav", "text": "word", "split": "dev"}]
    done = asrctl("prepare", "manifest", corpus(tmp_path / "corpus", rows), "--max-rejects", 0.2, "--json")
    assert letters(workspace) == sorted([*LETTERS, "é"])
    assert "no label is made" not in done.stderr


def test_where_nothing_is_kept_that_is_what_is_told(asrctl, tmp_path: Path) -> None:
    rows = [{"path": f"x{number}.wav", "text": "word", "missing": True} for number in range(12)]
    failed = asrctl("prepare", "manifest", corpus(tmp_path / "corpus", rows), "--max-rejects", 1, "--json")
    assert failed.exit_code == 5 and "no utterance of the train split can be used" in failed.error["message"]


# -- a vocabulary that was built before -------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", [[], ["--case", "upper", "--remove", "~-"]])
@pytest.mark.parametrize("named", [[], ["--name", "mine", "--vocab", "mine"]])
def test_labels_that_nothing_teaches_are_told(asrctl, tmp_path: Path, workspace: Path, rules, named) -> None:
    path = with_odd_ones(tmp_path / "corpus")
    asrctl("vocab", "manifest", path, *rules, *named[:2]).succeeded()
    words = ("prepare", "manifest", path, *named[2:], "--max-rejects", 0.2, "--max-s", 2)
    done = asrctl(*words, "--json")
    (line,) = [line for line in done.stderr.splitlines() if "nothing teaches" in line]
    assert "holds 7 labels of the vocabulary" in line and all(one in line.lower() for one in "#%é$€ÿω")
    assert set("#%$€") & set(letters(workspace))
    assert not set("#%$€") & set(done.result["alphabet"]["characters"]), "what is left out is not counted"
    assert done.result["alphabet"]["characters"][" "] == 40

    again = asrctl(*words, "--json")
    assert line in again.stderr and again.result["alphabet"] == done.result["alphabet"]

    (advice,) = in_backticks(line)
    mended = type_line(advice, "--json")
    assert "nothing teaches" not in mended.stderr and mended.result["name"].endswith("-2")
    wanted = [letter.upper() for letter in LETTERS] if rules else LETTERS
    assert letters(workspace) == wanted
    assert mended.result["alphabet"]["characters"] == done.result["alphabet"]["characters"]


def test_what_no_option_says_is_not_advised(asrctl, tmp_path: Path) -> None:
    path = with_odd_ones(tmp_path / "corpus")
    asrctl("vocab", "manifest", path, "--splits", "train,eval").succeeded()
    done = asrctl("prepare", "manifest", path, "--max-rejects", 0.2, "--max-s", 2, "--json")
    (line,) = [line for line in done.stderr.splitlines() if "nothing teaches" in line]
    assert not in_backticks(line) and "q" not in line.split("them: ")[1].split(";")[0], "that of eval was asked for"


def test_a_vocabulary_without_such_labels_is_taken_in_silence(asrctl, tmp_path: Path) -> None:
    rows = [dict(row, split="train") for row in plain_rows(40)] + [
        {"path": "none.wav", "text": "word", "missing": True}
    ]
    path = corpus(tmp_path / "corpus", rows)
    asrctl("vocab", "manifest", path).succeeded()
    assert "nothing teaches" not in asrctl("prepare", "manifest", path, "--json").stderr


def test_letters_and_rarities_are_those_of_what_is_kept(asrctl, tmp_path: Path) -> None:
    rows = [dict(row, split="train") for row in plain_rows(60)]
    rows += [{"path": "é.wav", "text": "word é", "id": "kept"}]
    rows += [
        {"path": f"x{number}.wav", "text": "word é a", "missing": True, "id": f"out{number}"} for number in range(3)
    ]
    path = corpus(tmp_path / "corpus", rows)
    for _ in range(2):
        done = asrctl("prepare", "manifest", path, "--max-rejects", 0.2).succeeded()
        assert "rare: é 1 in kept" in " ".join(done.stdout.split())
        assert "out0" not in done.stdout.split("left out:")[0]


# -- held out by asrctl -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("texts", [["one"], ["one", "two"], ["one", "two", "six"]])
def test_a_handful_of_recordings_is_prepared(asrctl, tmp_path: Path, workspace: Path, texts) -> None:
    rows = [{"path": f"{number}.wav", "text": text} for number, text in enumerate(texts)]
    done = asrctl("prepare", "manifest", corpus(tmp_path / "corpus", rows), "--json")
    assert sum(split["utterances"] for split in done.result["splits"].values()) == len(texts)
    assert letters(workspace) == sorted(set("".join(texts)))
    assert ("stand only in the held-out utterances" in done.stderr) == (len(texts) > 1)


def rare_letters(folder: Path, count: int = 60) -> Path:
    """Utterances of which many hold a character that is in few others, as in a language of thousands."""
    chosen = random.Random(1)
    signs = [chr(0x4E00 + number) for number in range(600)]
    weights = [1 / (number + 5) for number in range(600)]
    rows = [{"path": f"{number}.wav", "text": "".join(chosen.choices(signs, weights, k=14))} for number in range(count)]
    return corpus(folder, rows)


def test_what_is_held_out_lends_its_characters(asrctl, tmp_path: Path, workspace: Path) -> None:
    path = rare_letters(tmp_path / "corpus")
    done = asrctl("prepare", "manifest", path, "--json")
    assert "characters stand only in the held-out utterances" in done.stderr
    assert "are not in the vocabulary" not in done.stderr
    again = asrctl("prepare", "manifest", path, "--json")
    assert (again.result["new"], again.result["id"]) == (False, done.result["id"])
    # `vocab` and what it says comes next give the same.
    made = asrctl("vocab", "manifest", path, "--json").result
    assert made["splits"] == ["train", "eval"] and made["id"] == done.result["vocabulary"]["id"]
    assert asrctl("prepare", "manifest", path, "--json").result["id"] == done.result["id"]


def test_whoever_names_splits_is_obeyed(asrctl, tmp_path: Path) -> None:
    path = rare_letters(tmp_path / "corpus")
    assert asrctl("vocab", "manifest", path, "--splits", "train", "--json").result["splits"] == ["train"]
    assert asrctl("prepare", "manifest", path, "--json").exit_code == 5


@pytest.mark.parametrize("preset", ["base-100h", "base-4ipu"])
def test_presets_that_name_splits_do_not_stand_in_the_way(asrctl, tmp_path: Path, preset: str) -> None:
    for count in (1, 3):
        rows = [{"path": f"{number}.wav", "text": "abc"[number]} for number in range(count)]
        path = corpus(tmp_path / f"corpus{count}", rows)
        asrctl("prepare", "manifest", path, "--preset", preset, "--name", f"of-{count}").succeeded()


def test_a_few_unknown_characters_change_no_vocabulary(asrctl, tmp_path: Path, workspace: Path) -> None:
    rows = plain_rows(100)
    path = corpus(tmp_path / "corpus", rows, seconds=0.3)
    held = {item.id for item in _prepared(asrctl, path, workspace).split("eval")}
    rows = [dict(row, text=row["text"] + " ß") if row["path"] == min(held) else row for row in rows]
    path = corpus(tmp_path / "corpus", rows, seconds=0.3)
    assert "ß" not in letters_after(asrctl, path, workspace)


def _prepared(asrctl, path: Path, workspace: Path):
    asrctl("prepare", "manifest", path).succeeded()
    return opened(workspace)


def letters_after(asrctl, path: Path, workspace: Path):
    _prepared(asrctl, path, workspace)
    return letters(workspace)
