"""Tokenizer and processor files of strangers: read as plain transformers reads them, or refused with the reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
import transformers
from safetensors.torch import load, save_file

from asrctl.data.collate import FeatureRules
from asrctl.models import processor
from asrctl.models.model_files import model_digest
from asrctl.storage.checksums import SUMS

from ..helpers.hub import serving

TOKENS = {"|": 0, "a": 1, "b": 2, "c": 3, "[UNK]": 4, "[PAD]": 5}
CONFIG: Dict[str, Any] = {"tokenizer_class": "Wav2Vec2CTCTokenizer", "unk_token": "[UNK]", "pad_token": "[PAD]"}
NO_MARKS = {"bos_token": None, "eos_token": None}
MARKS = {"<s>": 6, "</s>": 7}
HEARD = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 8000, "do_normalize": False}
V5 = transformers.__version__.startswith("5")


def decoder(tokens: Dict[str, int]) -> Dict[str, Any]:
    """As transformers writes it since 4.34."""
    flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    return {str(index): {"content": token, "special": True, **flags} for token, index in tokens.items()}


def write(folder: Path, **values: Any) -> Path:
    """JSON files by name; None takes one away."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        path = folder / f"{name}.json"
        path.unlink() if value is None else path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return folder


def plain_tokens(folder: Path, outputs: int) -> List[str]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    return [tokenizer.convert_ids_to_tokens(index) for index in range(outputs)]


@pytest.fixture
def model(tones: Path, tmp_path: Path) -> Path:
    """The folder of a model that has learned something, without the files that only asrctl writes."""
    folder = tmp_path / "theirs"
    shutil.copytree(str(tones / "runs" / "learned" / "model"), str(folder))
    for name in ("special_tokens.json", SUMS):
        (folder / name).unlink()
    return folder


def widen(folder: Path, outputs: int) -> None:
    """Give the head outputs that it never writes, as `resize` does when tokens were added."""
    path = folder / "model.safetensors"
    weights = load(path.read_bytes())
    missing = outputs - len(weights["lm_head.bias"])
    rows = torch.zeros(missing, weights["lm_head.weight"].shape[1])
    weights["lm_head.weight"] = torch.cat([weights["lm_head.weight"], rows])
    weights["lm_head.bias"] = torch.cat([weights["lm_head.bias"], torch.full((missing,), -30.0)])
    save_file(weights, str(path), metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    write(folder, config=dict(config, vocab_size=outputs))


def heard(asrctl: Any, *options: Any) -> List[str]:
    """The hypotheses of an evaluation."""
    result = asrctl("eval", "--device", "cpu", *options, "--json").succeeded().result
    lines = Path(result["hypotheses"]).read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["hypothesis"] for line in lines]


# -- tokens beside vocab.json -----------------------------------------------------------------------------------------


def in_a_file(folder: Path) -> None:
    """transformers up to 4.33."""
    write(folder, added_tokens=MARKS, tokenizer_config=CONFIG)


def in_the_config(folder: Path) -> None:
    write(folder, tokenizer_config=dict(CONFIG, added_tokens_decoder=decoder(MARKS)))


def in_both(folder: Path) -> None:
    in_the_config(folder)
    write(folder, added_tokens=MARKS)


def nowhere(folder: Path) -> None:
    """The marks that a tokenizer has unless it is told not to; it gives them ids of its own."""
    write(folder, tokenizer_config=CONFIG)


def by_the_library(folder: Path) -> None:
    """Whichever generation runs this test."""
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), **names)
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
    for name in ("tokenizer_config", "special_tokens_map", "preprocessor_config"):
        write(folder, **{name: None})
    pair = transformers.Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer)
    pair.save_pretrained(str(folder))
    transformers.Wav2Vec2Processor.from_pretrained(str(folder)).save_pretrained(str(folder))


@pytest.mark.parametrize("tell", [in_a_file, in_the_config, in_both, nowhere, by_the_library])
def test_a_head_with_outputs_for_added_tokens_is_used(tell: Any, asrctl: Any, model: Path, tmp_path: Path) -> None:
    expected = heard(asrctl, "--run", "learned")
    tell(model)
    widen(model, 8)
    assert list(processor.read_vocabulary(model).tokens) == plain_tokens(model, 8)
    assert heard(asrctl, "--model", model) == expected
    out = tmp_path / "out"
    asrctl("export", "--model", model, "--output", out).succeeded()  # verified with plain transformers
    assert plain_tokens(out, 8) == plain_tokens(model, 8)


@pytest.mark.parametrize("tell", [in_a_file, in_the_config, nowhere, by_the_library])
def test_added_tokens_without_outputs_are_left_out(tell: Any, asrctl: Any, model: Path) -> None:
    expected = heard(asrctl, "--run", "learned")
    tell(model)
    assert heard(asrctl, "--model", model) == expected


def test_a_head_that_has_still_more_outputs_is_refused(asrctl: Any, model: Path) -> None:
    in_a_file(model)
    widen(model, 9)
    failed = asrctl("eval", "--model", model, "--json")
    assert failed.exit_code == 5 and failed.error["message"] == f"{model} has 9 outputs but 8 tokens"


def test_a_model_goes_on_learning_with_its_added_tokens(asrctl: Any, tones: Path, model: Path) -> None:
    in_a_file(model)
    widen(model, 8)
    corpus = tones / "list.csv"
    source = json.loads(next((tones / "manifests").glob("*/utterances.jsonl")).read_text().splitlines()[0])["audio"]
    rows = [f"{path},abc" for path in sorted(Path(source).parent.glob("*.wav"))]
    corpus.write_text("\n".join(["path,text", *rows]) + "\n", encoding="utf-8")
    asrctl("vocab", "manifest", corpus, "--from", model, "--name", "more").succeeded()
    asrctl("prepare", "manifest", corpus, "--name", "more").succeeded()
    preset = tones.parent / "more.yaml"
    preset.write_text("name: more\nmodel:\n  checkpoint: " + str(model) + "\ncpu: {precision: fp32}\n")
    options = ("--preset", preset, "--data", "more", "--max-steps", 1, "--device", "cpu", "--run", "more")
    done = asrctl("train", *options).succeeded()
    assert "a new head" not in done.stderr
    assert plain_tokens(tones / "runs" / "more" / "model", 8) == plain_tokens(model, 8)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"added_tokens": {"<s>": 3, "</s>": 6}}, "added_tokens.json of {} has '<s>' where vocab.json has 'c'"),
        ({"added_tokens": {"a": 6}}, "the tokenizer of {} has two ids for 'a'"),
        ({"added_tokens": {"<s>": "six"}}, "added_tokens.json of {} does not map tokens to ids"),
        ({"added_tokens": {"<s>": 7}}, "must use each id from 0 to 6 once; no token has the id 6"),
        ({"vocab": dict(TOKENS, d=0)}, "must use each id from 0 to 6 once; '|' and 'd' have the id 0"),
        ({"tokenizer_config": dict(CONFIG, tokenizer_class="WhisperTokenizer")}, "WhisperTokenizer"),
        ({"tokenizer_config": dict(CONFIG, pad_token="<x>", **NO_MARKS)}, "pads with '<x>', the blank of CTC"),
        ({"tokenizer_config": dict(CONFIG, replace_word_delimiter_char="_")}, "writes '_' between words"),
        (
            {
                "tokenizer_config": dict(CONFIG, added_tokens_decoder=decoder({"[PAD]": 5})),
                "special_tokens_map": {"pad_token": "c"},
            },
            "have different ideas of pad_token: 'c' and '[PAD]'",
        ),
        ({"vocab": {"eng": TOKENS, "deu": TOKENS}}, "one vocabulary per language (deu, eng)"),
    ],
)
def test_files_that_contradict_themselves_are_refused(
    files: Dict[str, Any], said: str, asrctl: Any, model: Path
) -> None:
    write(model, **{"tokenizer_config": CONFIG, "special_tokens_map": None, **files})
    if "added_tokens" in files:
        widen(model, 8)
    failed = asrctl("eval", "--model", model, "--json")
    assert failed.exit_code == 5 and said.format(model) in failed.error["message"]
    assert "asrctl vocab" not in failed.error["fix"]


# -- other vocabularies -----------------------------------------------------------------------------------------------


def last_of_each(tokens: Dict[str, int]) -> Dict[str, int]:
    """{token: id} in which a later token takes the id of an earlier one."""
    return {token: index for index, token in {index: token for token, index in tokens.items()}.items()}


@pytest.mark.parametrize(
    ("tokens", "config", "lost"),
    [
        (dict(TOKENS, q=4), CONFIG, {}),
        (dict(TOKENS, q=0), CONFIG, {" ": "q"}),
        ({**TOKENS, " ": 0}, CONFIG, {}),
        ({**TOKENS, "<unk>": 4}, dict(CONFIG, unk_token={"__type": "AddedToken", "content": "<unk>"}), {}),
        ({token.upper(): index for token, index in TOKENS.items()}, dict(CONFIG, do_lower_case=True), {}),
        (dict(TOKENS, sch=3), CONFIG, {"c": "sch"}),
        ({token: float(index) for token, index in TOKENS.items()}, CONFIG, {}),
    ],
    ids=["no-unk", "no-delimiter", "space", "object", "lower-case", "digraph", "float-ids"],
)
def test_a_vocabulary_of_another_kind_is_used(
    tokens: Dict[str, int], config: Dict[str, Any], lost: Dict[str, str], asrctl: Any, model: Path
) -> None:
    expected = heard(asrctl, "--run", "learned")
    write(model, vocab=last_of_each(tokens), tokenizer_config=dict(config, **NO_MARKS), special_tokens_map=None)
    assert list(processor.read_vocabulary(model).tokens) == plain_tokens(model, 6)
    found = heard(asrctl, "--model", model)
    assert found == [text.translate(str.maketrans(lost)) for text in expected]
    done = asrctl("export", "--model", model, "--format", "hf", "--json").succeeded()
    assert done.result["verified"]["transcripts_equal"] == 6
    assert "not set yet" not in done.stderr


def test_the_part_of_a_language_is_used(asrctl: Any, model: Path) -> None:
    expected = heard(asrctl, "--run", "learned")
    other = dict(zip("xyz", range(3)))
    config = dict(CONFIG, target_lang="eng", **NO_MARKS)
    write(model, vocab={"deu": other, "eng": TOKENS}, tokenizer_config=config, special_tokens_map=None)
    if V5:
        assert plain_tokens(model, 6) == list(TOKENS)
    assert heard(asrctl, "--model", model) == expected


def test_data_for_a_vocabulary_without_unknown_holds_nothing_unknown(asrctl: Any, tones: Path, model: Path) -> None:
    write(
        model, vocab=last_of_each(dict(TOKENS, q=4)), tokenizer_config=dict(CONFIG, **NO_MARKS), special_tokens_map=None
    )
    corpus = tones / "list.jsonl"
    rows = [{"path": f"{number}.wav", "text": "abc " * 40} for number in range(30)]

    def take_over() -> Any:
        corpus.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
        return asrctl("vocab", "manifest", corpus, "--from", model, "--json")

    vocab = take_over().succeeded().result
    assert vocab["tokens"] == list("|abcq") + ["[PAD]"]
    rows[0]["text"] += "d"
    failed = take_over()
    assert failed.exit_code == 5
    assert "no token for unknown characters, and the train split holds 'd' U+0064 x1" in failed.error["message"]


# -- how a recording is heard -----------------------------------------------------------------------------------------


def current(values: Dict[str, Any]) -> Dict[str, Any]:
    """What transformers 5 saves."""
    return {"processor_config": {"feature_extractor": values, "processor_class": "Wav2Vec2Processor"}}


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (current(dict(HEARD, return_attention_mask=False)), FeatureRules(8000, False, False)),
        ({"preprocessor_config": dict(HEARD, return_attention_mask=False)}, FeatureRules(8000, False, False)),
        ({"preprocessor_config": HEARD, **current(HEARD)}, FeatureRules(8000, False, True)),
        ({"preprocessor_config": dict(HEARD, sampling_rate=16000.0)}, FeatureRules(16000, False, True)),
        (current({"feature_extractor_type": HEARD["feature_extractor_type"]}), FeatureRules(16000, True, True)),
        ({"processor_config": {"processor_class": "x"}, "preprocessor_config": HEARD}, FeatureRules(8000, False, True)),
        ({"processor_config": {"processor_class": "x"}}, FeatureRules(16000, True, True)),
    ],
)
def test_both_generations_files_say_how_a_recording_is_heard(
    files: Dict[str, Any], told: FeatureRules, tmp_path: Path
) -> None:
    write(tmp_path, **files)
    assert processor.read_features(tmp_path, layer_norm=True) == told
    if "preprocessor_config" in files or (V5 and "feature_extractor" in files.get("processor_config", {})):
        plain = transformers.AutoFeatureExtractor.from_pretrained(str(tmp_path))
        assert (plain.sampling_rate, plain.do_normalize) == (told.sample_rate, told.normalize)


def test_a_processor_that_the_library_saved_is_heard_with(asrctl: Any, model: Path) -> None:
    extractor = transformers.Wav2Vec2FeatureExtractor(sampling_rate=8000, do_normalize=False)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(model))
    (model / "preprocessor_config.json").unlink()
    transformers.Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(str(model))
    assert processor.read_features(model, layer_norm=True) == FeatureRules(8000, False, False)
    failed = asrctl("eval", "--model", model, "--json")
    assert failed.exit_code == 3
    assert failed.error["message"] == "the checkpoint hears 8000 samples per second, the data has 16000"


def test_two_files_that_say_different_things_are_refused(asrctl: Any, model: Path) -> None:
    write(model, **current(HEARD))
    failed = asrctl("eval", "--model", model, "--json")
    assert failed.exit_code == 5
    assert "preprocessor_config.json: 16000 Hz, normalized" in failed.error["message"]
    assert "processor_config.json: 8000 Hz, not normalized" in failed.error["message"]
    (model / "preprocessor_config.json").unlink()
    assert asrctl("eval", "--model", model, "--json").exit_code == 3


def test_another_kind_of_input_is_refused_by_name(asrctl: Any, model: Path) -> None:
    write(model, preprocessor_config={"feature_extractor_type": "SeamlessM4TFeatureExtractor"})
    failed = asrctl("eval", "--model", model, "--json")
    assert failed.exit_code == 5 and "SeamlessM4TFeatureExtractor" in failed.error["message"]


# -- files as they lie about ------------------------------------------------------------------------------------------


def test_a_byte_order_mark_is_passed_over(asrctl: Any, model: Path) -> None:
    expected = heard(asrctl, "--run", "learned")
    for path in model.glob("*.json"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert heard(asrctl, "--model", model) == expected


def test_every_file_that_is_read_counts_in_the_digest(asrctl: Any, model: Path) -> None:
    before = model_digest(model)
    (model / "README.md").write_text("a card")
    assert model_digest(model) == before
    for name in ("added_tokens", "processor_config", "tokenizer"):
        write(model, **{name: {}})
        assert model_digest(model) != before
        write(model, **{name: None})
    assert model_digest(model) == before


def test_all_of_these_files_come_from_the_hub(asrctl_process: Any, tones: Path, model: Path, tmp_path: Path) -> None:
    in_a_file(model)
    widen(model, 8)
    settings = json.loads((model / "preprocessor_config.json").read_text())
    write(model, preprocessor_config=None, **current(settings))
    with serving(model, "somebody/speech", tmp_path / "home") as env:
        result = asrctl_process("eval", "--model", "somebody/speech", "--device", "cpu", "--json", env=env).result
        assert tmp_path / "home" in Path(result["model"]["path"]).parents
        assert result["model"]["digest"] == model_digest(model)
        corpus = tones / "list.csv"
        corpus.write_text("path,text\na.wav,abc\n", encoding="utf-8")
        words = ("vocab", "manifest", corpus, "--from", "somebody/speech", "--json")
        other = dict(env, HF_HOME=str(tmp_path / "other"))
        assert asrctl_process(*words, env=other).result["tokens"][-2:] == ["<s>", "</s>"]
    again = asrctl_process(*words, env=dict(other, HF_HUB_OFFLINE="1"))
    assert again.result["tokens"][-2:] == ["<s>", "</s>"] and "the hub" not in again.stderr
