"""`asrctl vocab`, from the outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

import pytest

from asrctl.data.text import Vocabulary

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def corpus(folder: Path, texts: Dict[str, List[str]]) -> Path:
    """A manifest of {split: transcripts}; vocab reads no audio, so there is none."""
    path = folder / "corpus.jsonl"
    rows = [
        {"path": f"{split}{number}.wav", "text": text, "split": split}
        for split, lines in texts.items()
        for number, text in enumerate(lines)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def checkpoint(folder: Path, tokens: List[str], **config: Any) -> Path:
    folder.mkdir()
    ids = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


UPPER = ["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS.upper()]
ANGLED = {"pad_token": "<pad>", "unk_token": {"content": "<unk>"}, "word_delimiter_token": "|"}


def test_transcripts_of_librispeech_give_the_letters(asrctl, librispeech: Path, workspace: Path) -> None:
    words = ("vocab", "librispeech", librispeech, "--train", "test-other", "--eval", "dev-clean")
    result = asrctl(*words, "--json").result
    assert result["tokens"] == ["|", "'", *LETTERS, "[UNK]", "[PAD]"]
    assert result["beyond"] == {}
    assert result["splits"] == ["train"]
    stored = json.loads((Path(result["path"]) / "vocab.json").read_text(encoding="utf-8"))
    assert stored == {token: index for index, token in enumerate(result["tokens"])}
    assert asrctl(*words, "--json").result == {**result, "new": False}


def test_quotes_that_csv_put_around_a_cell_of_a_tsv_are_no_characters(asrctl, tmp_path: Path) -> None:
    path = tmp_path / "list.tsv"
    path.write_text("path\ttext\n" + "".join(f'{n}.wav\t"he said ""hi"""\n' for n in range(4)), encoding="utf-8")
    assert asrctl("vocab", "manifest", path, "--json").result["characters"]['"'] == 2 * 4 - 2, "one is held out"


def test_what_other_splits_hold_beyond_is_counted(asrctl, tmp_path: Path) -> None:
    path = corpus(tmp_path, {"train": ["ab ba"], "dev": ["abc", "ccd"], "test": ["ab"]})
    result = asrctl("vocab", "manifest", path, "--json").result
    assert result["tokens"] == ["|", "a", "b", "[UNK]", "[PAD]"]
    assert result["beyond"] == {"eval": {"c": 3, "d": 1}}
    assert result["characters"] == {" ": 1, "a": 2, "b": 2}
    shown = asrctl("vocab", "manifest", path).succeeded()
    assert "beyond the vocabulary in eval: c 3, d 1" in shown.stdout


def test_two_splits_make_one_vocabulary(asrctl, tmp_path: Path) -> None:
    path = corpus(tmp_path, {"train": ["ab"], "dev": ["cd"], "test": ["ef"]})
    for splits in (["--splits", "train,eval"], ["--splits", "train", "--splits", "eval"], ["--preset", "base-4ipu"]):
        result = asrctl("vocab", "manifest", path, *splits, "--json").result
        assert result["tokens"][1:-2] == list("abcd")
        assert result["beyond"] == {"test": {"e": 1, "f": 1}}
    assert asrctl("vocab", "manifest", path, "--splits", "train,eval,test", "--json").result["tokens"][1:-2] == list(
        "abcdef"
    )
    failed = asrctl("vocab", "manifest", path, "--splits", "train,other", "--json")
    assert (failed.exit_code, failed.error["message"]) == (2, "there is no split 'other' (there are train, eval, test)")


def test_a_literal_delimiter_counts_as_a_space_and_is_told(asrctl, tmp_path: Path) -> None:
    done = asrctl("vocab", "manifest", corpus(tmp_path, {"train": ["a|b c", "||"], "dev": ["a"]}), "--json")
    assert done.result["tokens"] == ["|", "a", "b", "c", "[UNK]", "[PAD]"]
    assert done.result["delimiters_in_text"] == 3
    assert "holds the word delimiter '|' 3 times" in done.stderr
    other = asrctl("vocab", "manifest", tmp_path / "corpus.jsonl", "--word-delimiter", "_", "--json").result
    assert other["tokens"] == ["_", "a", "b", "c", "|", "[UNK]", "[PAD]"]


@pytest.mark.parametrize(
    ("case", "tokens"), [("lower", "aeß"), ("upper", "AES"), ("keep", "aEß")]
)  # ß has no capital of one letter
def test_case_is_a_policy(asrctl, tmp_path: Path, case: str, tokens: str) -> None:
    path = corpus(tmp_path, {"train": ["aEß"], "dev": ["a"]})
    assert asrctl("vocab", "manifest", path, "--case", case, "--json").result["tokens"][1:-2] == sorted(tokens)


def test_removed_characters_are_plain_never_a_pattern(asrctl, tmp_path: Path) -> None:
    path = corpus(tmp_path, {"train": ["a.b-c]d^e\\f don't 3"], "dev": ["a"]})
    result = asrctl("vocab", "manifest", path, "--remove", ".-]^\\[a-c", "--json").result
    assert result["tokens"][1:-2] == list("'3bdefnot"), "the apostrophe and the digit stay"


@pytest.mark.parametrize(
    ("case", "remove", "text", "tokens"),
    [
        ("lower", "E", "EeAa", "a"),
        ("lower", "e", "EeAa", "a"),
        ("upper", "e", "EeAa", "A"),
        ("keep", "e", "EeAa", "AEa"),
        ("upper", "ß", "ßa", "A"),
        ("lower", "\u00c9", "e\u0301\u00c9a", "a"),
        ("lower", "\u0130", "\u0130ia", "ai"),
    ],
)
def test_what_is_removed_goes_through_the_case_too(
    asrctl, tmp_path: Path, case: str, remove: str, text: str, tokens: str
) -> None:
    path = corpus(tmp_path, {"train": [text], "dev": ["a"]})
    result = asrctl("vocab", "manifest", path, "--case", case, "--remove", remove, "--json").result
    assert result["tokens"][1:-2] == list(tokens)


def test_the_case_of_what_is_removed_makes_no_other_vocabulary(asrctl, tmp_path: Path) -> None:
    path = corpus(tmp_path, {"train": ["hello"], "dev": ["a"]})
    small, large = (asrctl("vocab", "manifest", path, "--remove", word, "--json").result for word in ("e", "E"))
    assert (large["id"], large["new"]) == (small["id"], False)


def test_tokens_have_the_names_that_are_asked_for(asrctl, tmp_path: Path) -> None:
    path = corpus(tmp_path, {"train": ["ab"], "dev": ["a"]})
    words = ("--word-delimiter", "_", "--unk", "<unk>", "--pad", "<pad>")
    assert asrctl("vocab", "manifest", path, *words, "--json").result["tokens"] == ["_", "a", "b", "<unk>", "<pad>"]
    failed = asrctl("vocab", "manifest", path, "--pad", "[UNK]", "--json")
    assert failed.exit_code == 2


@pytest.mark.parametrize("key", ["pad", "unk"])
def test_a_token_that_is_a_letter_of_the_text_is_refused_with_the_fix(asrctl, tmp_path: Path, key: str) -> None:
    path = corpus(tmp_path, {"train": ["hello"], "dev": ["a"]})
    failed = asrctl("vocab", "manifest", path, f"--{key}", "e", "--json")
    assert failed.exit_code == 2
    assert failed.error["message"] == f"the transcripts hold 'e', so it can not be the {key} token"
    assert failed.error["fix"].startswith("choose another one, such as [") and f"--{key}" in failed.error["fix"]
    assert "[PAD]" in asrctl("vocab", "manifest", path, "--unk", "x", "--json").result["tokens"], "no text has an x"


def test_composed_and_decomposed_letters_are_one(asrctl, tmp_path: Path) -> None:
    done = asrctl("vocab", "manifest", corpus(tmp_path, {"train": ["e\u0301 \u00e9 x\u0323"], "dev": ["x"]}), "--json")
    assert done.result["tokens"][1:-2] == ["x", "\u00e9", "\u0323"]
    assert done.result["combining"] == {"\u0323": 1}
    assert "U+0323" in done.stderr


def test_a_checkpoints_tokenizer_is_taken_over(asrctl, tmp_path: Path) -> None:
    path = corpus(tmp_path, {"train": ["hello world"], "dev": ["again"]})
    folder = checkpoint(tmp_path / "upper", UPPER, **ANGLED)
    result = asrctl("vocab", "manifest", path, "--from", folder, "--case", "upper", "--json").result
    assert result["tokens"] == UPPER
    special = json.loads((Path(result["path"]) / "special_tokens.json").read_text(encoding="utf-8"))
    assert special == {"word_delimiter": "|", "unk": "<unk>", "pad": "<pad>"}


def test_tokens_that_the_checkpoint_does_not_have_are_refused(asrctl, tmp_path: Path, workspace: Path) -> None:
    path = corpus(tmp_path, {"train": ["hello world"], "dev": ["again"]})
    folder = checkpoint(tmp_path / "upper", UPPER, **ANGLED)
    words = ("vocab", "manifest", path, "--from", folder, "--case", "upper")
    own = tmp_path / "own.yaml"
    own.write_text("text: {pad: '[P]'}")
    for option, value in (("--unk", "?"), ("--pad", "_"), ("--word-delimiter", "_"), ("--preset", own)):
        refused = asrctl(*words, option, value, "--json")
        assert refused.exit_code == 2
        assert "leave these out" in refused.error["fix"] and not (workspace / "vocab").exists()
    assert refused.error["message"] == f"the vocabulary of {folder} has pad '<pad>', not '[P]' (preset own)"
    same = ("--unk", "<unk>", "--pad", "<pad>", "--word-delimiter", "|")
    assert asrctl(*words, *same, "--json").result["tokens"] == UPPER


def test_a_checkpoints_token_of_one_letter_is_no_letter_of_the_text(asrctl, tmp_path: Path) -> None:
    """Else it would be the CTC blank as a label, or unknown and never told."""
    folder = checkpoint(tmp_path / "base", ["|", "a", "b", "?", "_"], unk_token="?", pad_token="_")
    path = corpus(tmp_path, {"train": ["a_b" + 400 * "a", "ab?" + 400 * "b"], "dev": ["a"]})
    done = asrctl("vocab", "manifest", path, "--from", folder, "--json").succeeded()
    assert done.result["tokens"] == ["|", "a", "b", "?", "_"]
    assert done.result["beyond"] == {"train": {"?": 1, "_": 1}}
    assert "2 characters" in done.stderr
    vocabulary = Vocabulary.load(Path(done.result["path"]))
    assert vocabulary.encoder()("a_b?") == ([1, vocabulary.unk_id, 2, vocabulary.unk_id], {"_": 1, "?": 1})


def test_a_hub_name_is_found_in_the_hubs_cache(asrctl_process, tmp_path: Path) -> None:
    path = corpus(tmp_path, {"train": ["hello world"], "dev": ["again"]})
    repository = tmp_path / "home" / "hub" / "models--somebody--speech"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123abc", encoding="utf-8")
    (repository / "snapshots").mkdir()
    checkpoint(repository / "snapshots" / "0123abc", UPPER, **ANGLED)
    words = ("vocab", "manifest", path, "--case", "upper", "--json", "--from")
    cache = {"HF_HOME": str(tmp_path / "home")}
    assert asrctl_process(*words, "somebody/speech", env=cache).result["tokens"] == UPPER
    failed = asrctl_process(*words, "somebody/else", env=cache)
    assert failed.exit_code == 4
    assert failed.error["message"].startswith("the vocabulary of somebody/else can not be had: ")
    assert failed.error["fix"] == "unset HF_HUB_OFFLINE, or name a local folder instead"
    assert "Traceback" not in failed.stderr


def test_a_tokenizer_of_the_wrong_case_is_refused_with_the_fix(asrctl, tmp_path: Path, workspace: Path) -> None:
    path = corpus(tmp_path, {"train": ["hello world"], "dev": ["again"]})
    folder = checkpoint(tmp_path / "upper", UPPER, **ANGLED)
    failed = asrctl("vocab", "manifest", path, "--from", folder, "--json")
    assert failed.exit_code == 5
    assert failed.error["message"].startswith("93.8 % of the characters in the transcripts are not in the vocabulary")
    assert failed.error["fix"] == "use --case upper: the vocabulary is in upper case"
    assert not (workspace / "vocab").exists()


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["<unk>", "|", "a"], "for which the model has no output"),
        ([], "for which the model has no output"),
    ],
)
def test_a_tokenizer_that_is_none_is_refused(asrctl, tmp_path: Path, tokens: List[str], message: str) -> None:
    path = corpus(tmp_path, {"train": ["a"], "dev": ["a"]})
    failed = asrctl("vocab", "manifest", path, "--from", checkpoint(tmp_path / "x", tokens, **ANGLED), "--json")
    assert failed.exit_code == 5
    assert message in failed.error["message"]
    for words in (["--from", tmp_path / "missing"], ["--from", path]):
        assert asrctl("vocab", "manifest", path, *words, "--json").exit_code == 5


def test_transcripts_without_letters_are_refused(asrctl, tmp_path: Path) -> None:
    failed = asrctl("vocab", "manifest", corpus(tmp_path, {"train": [" ", "||"], "dev": ["a"]}), "--json")
    assert failed.exit_code == 5
