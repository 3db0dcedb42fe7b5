"""Text rules apart from corpora: a table of replacements, the spelling of languages, what is left alone and told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Sequence

import pytest
import yaml

from asrctl.data.text import TextRules
from asrctl.training.runs import Run

from ..helpers.corpora import corpus, opened, plain_rows
from ..helpers.ipu_tiny import TINY
from ..helpers.program import Result, run_here
from ..helpers.tiny import QUIET


def texts(folder: Path, lines: Sequence[str]) -> Path:
    """A manifest of transcripts; `vocab` reads no audio, so there is none."""
    folder.mkdir(exist_ok=True)
    rows = [
        {"path": f"{n}.wav", "id": f"u{n}", "text": line, "split": "train"}
        for n, line in enumerate([*lines, *lines[:1] * 9])
    ]
    path = folder / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def table(folder: Path, content: str) -> Path:
    path = folder / "replace.yaml"
    path.write_text(content, encoding="utf-8")
    return path


def letters(result: Dict[str, Any]) -> str:
    return "".join(token for token in result["tokens"] if len(token) == 1 and token != "|")


def vocab(path: Path, *options: Any) -> Result:
    return run_here("vocab", path, "--splits", "train", *options, "--json")


def warnings(done: Result) -> List[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("warning: ")]


def test_replacements_are_counted_and_those_without_effect_are_told(workspace: Path, tmp_path: Path) -> None:
    path = texts(tmp_path, ["Q & A & R", "no Mr. Q", "children of dr who"])
    rules = table(tmp_path, '"&": and\n"mr.": mister\n" dr ": doctor\nno: nope\nzz: never\n"1": one\n')
    done = vocab(path, "--replace", rules)
    told = {rule["text"]: rule for rule in done.succeeded().result["texts"]["replacements"]}
    assert told["&"]["count"] == 2 * told["&"]["utterances"] > 2
    assert (told["mr."]["count"], told["mr."]["replacement"]) == (1, "mister"), "case does not count"
    assert (told[" dr "]["count"], told["no"]["replacement"]) == (1, "nope"), "the edge of a word; no is a word"
    assert (told["zz"]["count"], told["1"]["count"]) == (0, 0)
    assert "." not in letters(done.result) and "&" not in letters(done.result)
    (warned,) = warnings(done)
    assert warned == "warning: 2 replacements of 6 stand in no text: '1', 'zz'"
    shown = run_here("vocab", path, "--replace", rules).succeeded().stdout
    assert "replaced: 'mr.' by 'mister' 1 time in 1 utterance\n" in shown


@pytest.mark.parametrize(
    ("rules", "before", "after"),
    [
        ({"a": "b", "b": "a"}, "abba", "baab"),  # all at once
        ({"a": "1", "ab": "2", "abc": "3"}, "abcaba", "321"),  # the longest that fits
        ({" st ": "saint"}, "st ann st st first st", "saint ann saint saint first saint"),
        ({"new  york": "ny"}, "New\tYork", "ny"),
        ({"caf\u00e9": "bar"}, "CAFE\u0301", "bar"),
        ({"-": " "}, "a-b", "a b"),
        ({"...": ""}, "so...", "so"),
        ({".": "", "mr.": "mister"}, "mr. x.", "mister x"),
    ],
)
def test_a_table_is_applied_at_once_from_left_to_right(rules: Dict[str, str], before: str, after: str) -> None:
    assert TextRules(replace=rules).apply(before) == after
    assert TextRules(replace=dict(reversed(list(rules.items())))).as_dict() == TextRules(replace=rules).as_dict()


def test_replacement_comes_before_removal_and_knows_both_cases() -> None:
    rules = TextRules(case="upper", remove=".\u00df", replace={"Dr.": "doktor"})
    assert rules.apply("dr. Stra\u00dfe.") == "DOKTOR STRAE"
    assert TextRules(case="keep", replace={"Dr.": "doktor"}).apply("dr. Dr.") == "dr. doktor"


@pytest.mark.parametrize(
    ("language", "case", "before", "after"),
    [
        ("tr", "lower", "I\u0130 DI\u015e", "\u0131i d\u0131\u015f"),
        ("TR_tr", "lower", "I\u0307", "i"),
        ("az", "upper", "i\u0131", "\u0130I"),
        (None, "lower", "I", "i"),
        ("ar", "lower", "\u0643\u064e\u062a\u0651\u064e\u0640\u0628\u0670", "\u0643\u062a\u0628"),
        ("arz", "lower", "\u0623\u064e\u0622\u0626", "\u0623\u0622\u0626"),  # hamza and madda are letters
        ("fa", "lower", "\u0645\u064a\u200c\u0643\u0646\u0645", "\u0645\u06cc\u200c\u06a9\u0646\u0645"),  # and its ZWNJ
        ("ur", "lower", "\u0645\u064e", "\u0645\u064e"),
        ("he", "lower", "\u05e9\u05c1\u05b8\u05dc\u05b9\u05be\ufb2a", "\u05e9\u05dc\u05be\u05e9"),
        ("yi", "lower", "\u05d0\u05b8", "\u05d0\u05b8"),
        ("hi", "lower", "\u0915\u094d\u200d\u0937\u200b", "\u0915\u094d\u200d\u0937"),
        ("en", "lower", "co\u200dop\u200c \u00adit\u2019s \u201cso\u201d\ufeff", "coop it's \"so\""),
        ("th", "lower", "\u0e01\u200b\u0e02", "\u0e01\u200b\u0e02"),  # breaks words there
        ("de", "upper", "Ma\u00dfe", "MA\u1e9eE"),
        ("de", "lower", "MA\u1e9eE", "ma\u00dfe"),
        ("de-CH", "lower", "Ma\u00dfe", "masse"),
        ("deu", "keep", "\u201eMa\u00dfe\u201c", '"Ma\u00dfe"'),
        ("uk", "lower", "\u043f\u02bc\u044f\u0442\u044c \u043f\u2019\u044f", "\u043f'\u044f\u0442\u044c \u043f'\u044f"),
        ("qu", "lower", "\u02bc", "\u02bc"),
    ],
)  # fmt: skip
def test_what_is_settled_in_a_language(language: Any, case: str, before: str, after: str) -> None:
    rules = TextRules(case=case, language=language)
    assert rules.apply(before) == after
    assert rules.apply(after) == after


def test_rules_that_came_later_name_nothing_where_they_are_not_set() -> None:
    assert list(TextRules().as_dict()) == ["case", "remove", "word_delimiter", "unk", "pad"]
    assert TextRules(language="tr-TR").as_dict()["language"] == "tr"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("- a\n- b\n", "is not a table of replacements"),
        ("a: [b]\n", "is not a table of replacements"),
        ("a: b\na: c\n", "stands there twice"),
        ("Mr: a\nmr: b\n", "by 'a' and by 'b'"),
        ("'\u200b': b\n", "nothing is left of it"),
        ("a: *b\n", "aliases"),
    ],
)
def test_a_table_that_is_none_is_refused(workspace: Path, tmp_path: Path, content: str, words: str) -> None:
    refused = vocab(texts(tmp_path, ["ab"]), "--replace", table(tmp_path, content), "--language", "en")
    assert refused.exit_code in (2, 3) and words in refused.error["message"]
    assert refused.error["fix"]


@pytest.mark.parametrize("word", ["turkish", "xx", "t"])
def test_a_word_that_is_no_language_is_refused(workspace: Path, tmp_path: Path, word: str) -> None:
    refused = vocab(texts(tmp_path, ["ab"]), "--language", word)
    assert refused.exit_code == 2 and "code" in refused.error["message"] + refused.error["fix"]


def test_numbers_and_tags_are_left_alone_and_told(workspace: Path, tmp_path: Path) -> None:
    path = texts(tmp_path, ["so", "in 1984 [noise] he (laughs)", "[noise] 3.5 <unk> {breath} 1984"])
    done = vocab(path).succeeded()
    left = done.result["texts"]["left_alone"]
    assert left["numbers"] == {
        "count": 3, "utterances": 2, "example": "u1", "most_frequent": {"1984": 2, "3.5": 1},
    }  # fmt: skip
    assert left["tags"]["count"] == 5
    assert list(left["tags"]["most_frequent"])[0] == "[noise]"
    assert set("[]<>(){}1984") < set(letters(done.result)), "nothing is deleted"
    shown = run_here("vocab", path).succeeded().stdout
    assert "left alone: 3 numbers in 2 utterances, such as in u1: 1984 2, 3.5 1\n" in shown
    assert "left alone: 5 tags in brackets in 2 utterances, such as in u1: [noise] 2" in shown
    lost = vocab(path, "--remove", "[]()")
    assert "lose their brackets and are learned as words: [noise], (laughs)" in "".join(warnings(lost))
    gone = vocab(path, "--remove", "[]()", "--replace", table(tmp_path, "'[noise]': ''\n(laughs): ''\n"))
    assert "brackets" not in "".join(warnings(gone))
    assert gone.result["texts"]["left_alone"]["tags"]["count"] == 2


def test_a_run_has_the_rules_of_its_data_and_no_file(workspace: Path, tmp_path: Path) -> None:
    rows = [dict(row, text="I & 1\u2019s") for row in plain_rows(3) + plain_rows(2, "eval")]
    path = corpus(tmp_path / "corpus", rows, seconds=0.5)
    words = ("prepare", path, "--language", "tr", "--replace", table(tmp_path, '"&": und\n1: ein\n'))
    done = run_here(*words).succeeded()
    (tmp_path / "replace.yaml").unlink()
    data = opened(workspace)
    assert data.split("train").text(0) == "\u0131 und ein's"
    assert data.summary.text["replace"] == {"&": "und", "1": "ein"}
    assert "replaced: '&' by 'und' 5 times in 5 utterances" in done.stdout
    small = {"model": dict(QUIET, config=TINY, ctc_zero_infinity=True), "optim": {"global_batch": 4, "max_steps": 1}}
    preset = tmp_path / "small.yaml"
    preset.write_text(yaml.safe_dump({**small, "text": {"language": "de"}}), encoding="utf-8")
    trained = run_here("train", "--preset", preset, "--device", "cpu").succeeded()
    assert "text.language is 'tr' (small: 'de')" in trained.stderr
    assert "text.replace is 2 replacements (small: 0 replacements)" in trained.stderr
    recipe = yaml.safe_load(Run(workspace / "runs" / "small").recipe_path.read_text(encoding="utf-8"))
    assert (recipe["text"]["language"], recipe["text"]["replace"]) == ("tr", {"&": "und", "1": "ein"})
    other = run_here("train", "--preset", preset, "--set", "text.language=de", "--device", "cpu", "--json")
    assert other.exit_code == 3 and "the data was made with 'tr'" in "".join(other.error["problems"])


def test_a_table_that_has_changed_makes_the_data_stale(workspace: Path, tmp_path: Path) -> None:
    path = corpus(tmp_path / "corpus", plain_rows(3), seconds=0.3)
    rules = table(tmp_path, "word: term\n")
    run_here("prepare", path, "--replace", rules).succeeded()
    states = [run_here("status", "--json").result["items"][-1]["state"]]
    table(tmp_path, "word: another\n")
    states.append(run_here("status", "--json").result["items"][-1]["state"])
    assert states[0] != "stale" == states[1]


def test_a_preset_holds_a_table_or_names_its_file(workspace: Path, tmp_path: Path) -> None:
    path = texts(tmp_path, ["a 1 no"])
    table(tmp_path, "1: one\nno: nope\n")
    (tmp_path / "inline.yaml").write_text("text: {language: de, replace: {1: one, no: nope}}\n", encoding="utf-8")
    (tmp_path / "file.yaml").write_text("text: {language: de, replace: replace.yaml}\n", encoding="utf-8")
    results = [vocab(path, "--preset", tmp_path / name, "--name", "x").result for name in ("inline.yaml", "file.yaml")]
    assert letters(results[0]) == "aenop"
    assert results[0]["id"] == results[1]["id"]
    more = vocab(path, "--preset", tmp_path / "file.yaml", "--replace", table(tmp_path, "a: b\n"), "--name", "y").result
    assert letters(more) == "1bno", "the option goes before the preset"


def test_a_vocabulary_of_other_rules_is_not_used(workspace: Path, tmp_path: Path) -> None:
    path = corpus(tmp_path / "corpus", plain_rows(4), seconds=0.3)
    run_here("vocab", path, "--language", "de", "--name", "mine").succeeded()
    refused = run_here("prepare", path, "--vocab", "mine", "--language", "tr", "--json")
    assert refused.exit_code == 2 and "language 'de', not 'tr'" in refused.error["message"]
    assert run_here("prepare", path, "--vocab", "mine").succeeded()
    assert opened(workspace).summary.text["language"] == "de"
