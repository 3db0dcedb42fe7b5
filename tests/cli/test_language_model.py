"""`asrctl lm`, and `asrctl eval` with a language model, on tones that a model has learned."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

# A language model of texts that were not written by the data's rules.
CAPITALS = """\\data\\
ngram 1=4

\\1-grams:
-0.5 </s>
-99 <s>
-0.6 ABC
-0.7 CA

\\end\\
"""
LM = ("eval", "--run", "learned", "--device", "cpu", "--json")


def test_a_language_model_from_data_helps_and_greedy_stays_as_it_is(tones: Path, asrctl: Any, tmp_path: Path) -> None:
    before = asrctl(*LM).result
    assert before["decoder"] == "greedy" and "beam" not in before
    made = asrctl("lm", "tones", "--output", tmp_path / "tones.arpa", "--json").succeeded().result
    assert made["ngrams"][0] == made["words"] + 3 and made["order"] == 3
    assert made["measured"]["perplexity"] > 1 and made["measured"]["words"] > made["measured"]["unknown"]
    found = asrctl(*LM, "--lm", "tones").result
    assert (found["decoder"], found["lm"], found["beam"]["width"]) == ("beam", made["id"], 100)
    assert found["wer"] <= before["wer"] + 1e-9
    assert found["id"] != before["id"] and found["data"] == before["data"]
    assert asrctl(*LM, "--lm", "tones").result["unchanged"]
    assert asrctl(*LM).result["id"] == before["id"]
    other = asrctl(*LM, "--lm", tmp_path / "tones.arpa").result
    assert other["wer"] == found["wer"] and other["lm"] != found["lm"], "a file counts by its content"
    shown = asrctl("eval", "--run", "learned", "--device", "cpu", "--lm", "tones").succeeded().stdout
    assert f"beam of 100, language model {made['id']}" in shown
    card = Path(asrctl("export", "--run", "learned", "--json").result["path"]) / "README.md"
    assert "beam" not in card.read_text(encoding="utf-8"), "a model card tells of the model alone"


def test_done_again_it_is_there_and_clean_leaves_it(tones: Path, asrctl: Any) -> None:
    first = asrctl("lm", "tones", "--name", "mine", "--order", 2, "--json").result
    again = asrctl("lm", "tones", "--name", "mine", "--order", 2, "--json").result
    assert (first["new"], again["new"], first["id"]) == (True, False, again["id"])
    asrctl("clean", "--yes").succeeded()
    assert Path(first["path"]).is_dir()
    digests = {path.name: path.read_bytes() for path in Path(first["path"]).glob("*.bin")}
    asrctl("lm", "tones", "--name", "mine", "--order", 2, "--force").succeeded()
    assert {path.name: path.read_bytes() for path in Path(first["path"]).glob("*.bin")} == digests


def test_texts_follow_the_rules_of_the_data(tones: Path, asrctl: Any, tmp_path: Path) -> None:
    text = tmp_path / "more.txt"
    text.write_text("AB  CA b\n\ncab Ä\n", encoding="utf-8")
    done = asrctl("lm", "tones", text, "--name", "both", "--json").succeeded()
    words = (Path(done.result["path"]) / "words.txt").read_text(encoding="utf-8").split("\n")
    assert {"ab", "cab", "ä"} <= set(words) and "AB" not in words
    assert "1 word of" in done.stderr and "'ä'" in done.stderr, "no model of these letters will say it"


def test_texts_of_prepared_data_are_taken_as_they_are(
    tones: Path, learned_tones: Path, asrctl: Any, tmp_path: Path
) -> None:
    """They follow its rules already; once more, a table of replacements would make other words of them."""
    (tmp_path / "table.yaml").write_text("c: cc\n", encoding="utf-8")
    (tmp_path / "text.txt").write_text("ac <s> <unk>\n<s>\n", encoding="utf-8")
    corpus = learned_tones.parent / "corpus" / "tones.csv"
    asrctl("prepare", "manifest", corpus, "--name", "doubled", "--replace", tmp_path / "table.yaml").succeeded()
    done = asrctl("lm", "doubled", tmp_path / "text.txt", "--json").succeeded()
    words = (Path(done.result["path"]) / "words.txt").read_text(encoding="utf-8").split("\n")
    assert "acc" in words, "a text follows the rules"
    assert max(word.count("c") for word in words) <= 6, "three letters at most, each doubled once"
    assert "<s> 2 times, <unk> 1 time" in done.stderr


def test_nothing_of_others_is_replaced(tones: Path, asrctl: Any, in_folder: Path) -> None:
    (in_folder / "thesis.arpa").write_text("not yours", encoding="utf-8")
    (in_folder / "folder").mkdir()
    for path, said in (
        ("thesis.arpa", "is not an ARPA file"),
        ("folder", "is a folder"),
        ("missing/../thesis.arpa", "leads nowhere"),
        (tones / "workspace.json", "what asrctl keeps"),
    ):
        refused = asrctl("lm", "tones", "--output", path, "--force", "--json")
        assert refused.exit_code == 2 and said in refused.error["message"], refused.error
    assert (in_folder / "thesis.arpa").read_text(encoding="utf-8") == "not yours"
    assert not (tones / "lm").exists(), "refused before any work"
    asrctl("lm", "tones", "--output", "new/deep/lm.arpa.gz").succeeded()
    assert asrctl("lm", "tones", "--output", "new/deep/lm.arpa.gz", "--json").exit_code == 2
    asrctl("lm", "tones", "--output", "new/deep/lm.arpa.gz", "--force").succeeded()


def test_phonemes_are_no_words(tones: Path, learned_tones: Path, asrctl: Any) -> None:
    pytest.importorskip("espeakng_loader")
    corpus = learned_tones.parent / "corpus" / "tones.csv"
    words = ("--phonemes", "en-us", "--max-rejects", "1")
    asrctl("prepare", "manifest", corpus, "--name", "phones", *words).succeeded()
    refused = asrctl("lm", "phones", "--json")
    assert refused.exit_code == 2 and "phonemes" in refused.error["message"]


def test_without_a_language_model_the_search_finds_what_sounds_likeliest(tones: Path, asrctl: Any) -> None:
    found = asrctl(*LM, "--decoder", "beam", "--beam-width", 8).result
    assert found["beam"]["width"] == 8 and "lm" not in found


def test_weights_are_tuned_on_the_eval_split_and_kept(tones: Path, asrctl: Any) -> None:
    asrctl("lm", "tones").succeeded()
    missing = asrctl(*LM, "--decoder", "tuned")
    assert missing.exit_code == 4 and "--tune" in missing.error["fix"]
    found = asrctl(*LM, "--lm", "tones", "--tune").succeeded().result
    tuned = found["tuned"]
    assert (found["beam"]["alpha"], found["beam"]["beta"]) == (tuned["alpha"], tuned["beta"])
    assert found["wer"] == pytest.approx(tuned["wer"], abs=1e-5) == min(wer for _, _, wer in tuned["tried"])
    again = asrctl(*LM, "--decoder", "tuned").result
    assert again["unchanged"] and again["id"] == found["id"]
    for words, said in (
        (("--lm", "tones", "--tune", "--split", "test"), "never on test"),
        (("--tune",), "with the name of a language model"),
        (("--lm", "tones", "--tune", "--alpha", "1"), "finds --alpha"),
        (("--decoder", "tuned", "--alpha", "1"), "has its own"),
    ):
        refused = asrctl(*LM, *words)
        assert refused.exit_code == 2 and said in refused.error["message"]
    asrctl("lm", "tones", "--order", 2).succeeded()
    assert asrctl(*LM, "--decoder", "tuned").exit_code == 4, "what the name means now was not tuned"


@pytest.mark.parametrize(
    "words, code, said",
    [
        (("--lm", "nothing"), 4, "no language model called 'nothing'"),
        (("--lm", "nothing.arpa"), 4, "there is no file nothing.arpa"),
        (("--decoder", "greedy", "--lm", "tones"), 2, "the greedy decoder takes no --lm"),
        (("--decoder", "viterbi"), 2, "there is no decoder 'viterbi'"),
        (("--decoder", "beam", "--alpha", "1"), 2, "there is none"),
        (("--beam-width", "0", "--decoder", "beam"), 2, "--beam-width"),
    ],
)
def test_what_makes_no_sense(tones: Path, asrctl: Any, words: Any, code: int, said: str) -> None:
    refused = asrctl(*LM, *words)
    assert refused.exit_code == code and said in refused.error["message"] and refused.error["fix"]


@pytest.mark.parametrize(
    "content, code, said",
    [
        (CAPITALS, 5, "small letters"),
        ("mmap lm http://kheafield.com/code format version 5\n", 5, "was cut"),
        ("hello", 5, "no ARPA file"),
        ("", 5, "no ARPA file"),
    ],
)
def test_files_that_are_no_language_model_for_this_model(
    tones: Path, asrctl: Any, tmp_path: Path, content: str, code: int, said: str
) -> None:
    (tmp_path / "other.arpa").write_text(content, encoding="utf-8")
    refused = asrctl(*LM, "--lm", tmp_path / "other.arpa")
    assert refused.exit_code == code and said in json.dumps(refused.error), refused.error


def test_a_binary_file_of_kenlm_is_as_its_arpa_file(tones: Path, asrctl: Any) -> None:
    pytest.importorskip("kenlm")
    here = Path(__file__).parent.parent / "language_models" / "kenlm"
    texts = [
        Path(asrctl(*LM, "--lm", here / name, "--beta", 0).succeeded().result["hypotheses"]).read_bytes()
        for name in ("tiny.arpa", "trie.bin")
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    "words, code, said",
    [
        (("nothing",), 2, "no file and no prepared data called 'nothing'"),
        ((".",), 2, "is a folder"),
        (("empty.txt",), 5, "holds no words"),
        (("noise.bin",), 5, "no text in UTF-8"),
        (("cut.gz",), 5, "cut.gz is damaged"),
        (("tones", "--prune", "1"), 2, "must begin with 0"),
        (("tones", "--prune", "a"), 2, "no list of counts"),
        (("tones", "--order", "9"), 2, "--order"),
        (("tones", "--output", "there.arpa"), 2, "there already"),
    ],
)
def test_lm_says_what_is_wrong(tones: Path, in_folder: Path, asrctl: Any, words: Any, code: int, said: str) -> None:
    (in_folder / "empty.txt").write_text(" \n\n")
    (in_folder / "noise.bin").write_bytes(bytes(range(256)))
    (in_folder / "there.arpa").write_text("x")
    (in_folder / "cut.gz").write_bytes(b"\x1f\x8b\x01" + bytes(40))
    refused = asrctl("lm", *words, "--json")
    assert refused.exit_code == code and said in refused.error["message"] and refused.error["fix"]
    assert not list((tones / "lm").glob("*")), "nothing is left"


def test_in_a_new_folder(asrctl: Any, workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("Good morning\n", encoding="utf-8")
    done = asrctl("lm", tmp_path / "text.txt").succeeded()
    assert "taken in lower case" in done.stderr and "next: asrctl eval --lm text" in done.stdout
    shutil.rmtree(str(workspace))
