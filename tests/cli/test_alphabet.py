"""The alphabet as `prepare` and `vocab` show it: signs, rarities, what nobody sees, and what to type about them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import List, Sequence

import pytest
import yaml

from asrctl.data import glyphs

from ..helpers.corpora import corpus, opened
from ..helpers.typing_in import in_backticks, repaired, type_line

UNSEEN = "\u200b\u200c\u00ad\ufeff\u200f\u2060\u202a\x07\x80\ue000\U000e0001\u2800\u3164\ufe0f"


def texts(folder: Path, lines: Sequence[str], more: int = 12) -> Path:
    """A manifest of these transcripts, and of some plain ones that are held out or not."""
    rows = [{"path": f"{number}.wav", "id": f"u{number}", "text": text} for number, text in enumerate(lines)]
    rows += [{"path": f"plain{number}.wav", "text": "abc", "split": "train"} for number in range(more)]
    rows += [{"path": "dev.wav", "text": "abc", "split": "dev"}]
    return corpus(folder, rows, seconds=0.6)


def labels(workspace: Path) -> str:
    return "".join(sorted(set(opened(workspace).vocabulary().letters) - {"|"}))


def proposed(stdout: str) -> str:
    (line,) = [line for line in stdout.splitlines() if line.startswith("to leave signs out: ")]
    return line.split(": ", 1)[1]


@pytest.mark.parametrize("more", [[], ["--remove", "#"], ["--remove=#", "--name", "mine", "--case", "upper"]])
def test_signs_are_told_and_what_is_proposed_works_as_typed(asrctl, tmp_path: Path, workspace: Path, more) -> None:
    path = texts(tmp_path / "corpus", ["ab, c.", 'he said: "a#b"', "don't! (a) - \\u ` $x"])
    shown = asrctl("prepare", "manifest", path, *more)
    assert ", 1 in u0" in shown.succeeded().stdout.replace("\n", " ")
    done = type_line(proposed(shown.stdout), "--json").succeeded()
    letters = labels(workspace).lower()
    assert letters == "".join(sorted(set("abchesaiddontux'"))), "the apostrophe is part of words"
    assert done.result["alphabet"]["proposal"] is None
    assert "#" not in letters


def test_the_proposal_stands_in_a_preset_too(asrctl, tmp_path: Path, workspace: Path) -> None:
    path = texts(tmp_path / "corpus", [f"a{sign}b" for sign in UNSEEN + '",\\:#{}-'])
    found = asrctl("prepare", "manifest", path, "--json").result["alphabet"]
    assert set(found["proposal"]["remove"]) == set(UNSEEN + '",\\:#{}-')
    (tmp_path / "mine.yaml").write_text("name: mine\n" + found["proposal"]["preset"] + "\n", encoding="utf-8")
    asrctl("prepare", "manifest", path, "--preset", tmp_path / "mine.yaml").succeeded()
    assert labels(workspace) == "abc"


def test_what_nobody_sees_is_told_and_never_shown(asrctl, tmp_path: Path, workspace: Path) -> None:
    path = texts(tmp_path / "corpus", [f"a{sign}b" for sign in UNSEEN for _ in range(2)], more=30)
    for command in ("vocab", "prepare"):
        done = asrctl(command, "manifest", path)
        printed = done.succeeded().stdout + done.stderr
        assert not set(printed) & set(UNSEEN)
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("warning: nobody sees")]
        assert "such as in u" in line and "U+0007 x2 (CONTROL CHARACTER)" in line
        assert "U+00AD x2 (SOFT HYPHEN)" in line and "and 6 more" in line
    (advice,) = in_backticks(line)
    repaired(("prepare", "manifest", path), advice).succeeded()
    assert labels(workspace) == "abc"


def test_what_only_the_test_hides_is_told_too(asrctl, tmp_path: Path) -> None:
    path = texts(tmp_path / "corpus", ["abc"] * 40)
    rows = path.read_text(encoding="utf-8") + json.dumps(
        {"path": "0.wav", "id": "t", "text": "a\u200bb", "split": "test"}
    )
    path.write_text(rows + "\n", encoding="utf-8")
    done = asrctl("prepare", "manifest", path, "--json")
    assert "such as in t: U+200B x1 (ZERO WIDTH SPACE)" in done.stderr


@pytest.mark.parametrize(("letters", "told"), [("می\u200cشود", False), ("क\u094d\u200dष", False), ("a\u200cb", True)])
def test_joiners_are_spelling_where_letters_join(asrctl, tmp_path: Path, letters: str, told: bool) -> None:
    done = asrctl("prepare", "manifest", texts(tmp_path / "corpus", [letters] * 3), "--json")
    assert ("nobody sees" in done.stderr) == told


def test_letters_that_look_like_others_are_told(asrctl, tmp_path: Path) -> None:
    mixed: List[str] = ["c\u0430t and dog", "привет hello", "d\u043eg \u0430b"]
    done = asrctl("prepare", "manifest", texts(tmp_path / "corpus", mixed), "--json")
    (line,) = [line for line in done.stderr.splitlines() if "look alike" in line]
    assert "3 words mix letters of scripts that look alike, such as in u0" in line
    assert "U+0430 x2 (CYRILLIC SMALL LETTER A)" in line and "U+043E x1 (CYRILLIC SMALL LETTER O)" in line
    clean = asrctl("prepare", "manifest", texts(tmp_path / "other", ["привет hello", "да yes"]), "--json")
    assert "look alike" not in clean.stderr, "two languages are no mistake"


def test_rarities_have_an_example(asrctl, tmp_path: Path) -> None:
    path = texts(tmp_path / "corpus", ["a é", "3 cats?"], more=60)
    done = asrctl("prepare", "manifest", path).succeeded()
    told = " ".join(done.stdout.split())
    assert "é 1 in u0" in told and "? 1 in u1" in told and "3 1 in u1" in told
    assert "write numbers as they are spoken" in told
    found = {
        item["character"]: item for item in asrctl("prepare", "manifest", path, "--json").result["alphabet"]["notable"]
    }
    assert found["é"] == {
        "character": "é",
        "kind": "letter",
        "count": 1,
        "utterances": 1,
        "example": "u0",
        "is_rare": True,
        "code_point": "U+00E9",
        "name": "LATIN SMALL LETTER E WITH ACUTE",
    }


def test_a_plain_alphabet_is_one_line(asrctl, tmp_path: Path) -> None:
    path = texts(tmp_path / "corpus", ["don't a b"] * 3)
    done = asrctl("prepare", "manifest", path).succeeded()
    assert "letters: a 15, b 15, c 12" in done.stdout and "also labels: ' 3" in done.stdout
    assert "to leave" not in done.stdout and "rare" not in done.stdout and "warning" not in done.stderr
    planned = asrctl("prepare", "manifest", path, "--dry-run").succeeded()
    assert "letters: a 15, b 15, c 12" in planned.stdout


def test_nothing_is_proposed_that_a_named_vocabulary_refuses(asrctl, tmp_path: Path) -> None:
    path = texts(tmp_path / "corpus", ["ab!"] * 4)
    asrctl("vocab", "manifest", path, "--name", "v").succeeded()
    found = asrctl("prepare", "manifest", path, "--vocab", "v", "--json").result["alphabet"]
    assert found["proposal"] is None and found["characters"]["!"] == 4


def test_escapes_are_read_as_they_are_written() -> None:
    for characters in (UNSEEN, "a-\\u'\"`$", "😀\u0301\u20ac", ""):
        assert set(glyphs.untyped(glyphs.typed(characters))) == set(characters)
        assert set(yaml.safe_load(glyphs.quoted(characters)) or "") == set(characters)
        assert not glyphs.typed(characters).startswith("-")
    assert glyphs.untyped(r"\ud800\u12\x41,") == r"\ud800\u12\x41,", "what spells no character is plain"
