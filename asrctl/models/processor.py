"""The JSON files of a Hugging Face processor (tokenizer and feature extractor), read and written as plain JSON.

Both library generations read what is written here; nothing of a checkpoint's own code is ever run.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from asrctl.data import sentencepiece_model, subwords
from asrctl.data.collate import FeatureRules
from asrctl.data.subwords import Subwords
from asrctl.data.text import Vocabulary, read_special, tokens_by_id
from asrctl.errors import BadData
from asrctl.models import model_files, partial_models
from asrctl.storage import files
from asrctl.storage.records import is_text

TOKENIZER_CLASS, FEATURE_CLASS = "Wav2Vec2CTCTokenizer", "Wav2Vec2FeatureExtractor"
# The one that collapses repeats and leaves out the blank where tokens are pieces of words; since transformers 4.57.
SUBWORD_CLASS = "ParakeetTokenizer"
# Its tokens are phonemes, whose texts asrctl makes itself.
PHONEME_CLASS = "Wav2Vec2PhonemeCTCTokenizer"
# What a file of the feature extractor says beside the settings.
_NO_SETTINGS = ("feature_extractor_type", "processor_class")
_FIX = "choose a folder that holds a complete CTC checkpoint (config.json, weights, vocab.json)"
# Its old name, of which nothing but vocab.json counts here.
_READ_CLASSES = (TOKENIZER_CLASS, "Wav2Vec2Tokenizer", PHONEME_CLASS)
# What special_tokens.json says beside tokens.
_KINDS = ("lower_case", "phones", "subwords")
# Tokens that a tokenizer gives an id behind all others where no file does, in this order, and those it invents.
_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_INVENTED = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def write(folder: Path, vocabulary: Vocabulary, rules: FeatureRules, language: Optional[str] = None) -> None:
    """vocab.json, special_tokens.json, tokenizer_config.json, special_tokens_map.json, preprocessor_config.json.

    language: that of a model of many, whose vocab.json holds one vocabulary for each.
    """
    vocabulary.save(folder)
    special = {"pad_token": vocabulary.pad, "unk_token": vocabulary.unk}
    tokenizer = dict(
        special,
        tokenizer_class=TOKENIZER_CLASS,
        # Empty rather than null: transformers complains of null at each character that it decodes.
        word_delimiter_token=vocabulary.word_delimiter or "",
        # No sentence marks: the library would invent ids beyond the logits for them (transformers issue 15392).
        bos_token=None,
        eos_token=None,
        do_lower_case=vocabulary.lower_case,
        replace_word_delimiter_char=" ",
        clean_up_tokenization_spaces=vocabulary.clean_up,
    )
    if language is not None:
        files.write_json(folder / "vocab.json", {language: vocabulary.ids})
        tokenizer["target_lang"] = language
    if vocabulary.phones:
        tokenizer.update(tokenizer_class=PHONEME_CLASS, do_phonemize=False, phone_delimiter_token=" ")
    if vocabulary.subwords is not None:
        tokenizer = dict(special, tokenizer_class=SUBWORD_CLASS, clean_up_tokenization_spaces=False)
    files.write_json(folder / "tokenizer_config.json", tokenizer)
    named = {key: token for key, token in special.items() if token is not None}
    files.write_json(folder / "special_tokens_map.json", named)
    files.write_json(folder / "preprocessor_config.json", _feature_settings(rules))


def _feature_settings(rules: FeatureRules) -> Dict[str, Any]:
    if rules.front_end is not None:
        return {**rules.front_end.settings, "feature_extractor_type": rules.front_end.name}
    return {
        "feature_extractor_type": FEATURE_CLASS,
        "processor_class": "Wav2Vec2Processor",
        "feature_size": 1,
        "sampling_rate": rules.sample_rate,
        "padding_value": 0.0,
        "padding_side": "right",
        "do_normalize": rules.normalize,
        "return_attention_mask": rules.use_mask,
    }


def read_vocabulary(folder: Path, outputs: Optional[int] = None, language: Optional[str] = None) -> Vocabulary:
    """The vocabulary of a checkpoint folder with the ids that plain transformers gives its tokens.

    language: of a model of many; by default the one that its tokenizer is set to. outputs: of the model's head; by
    default what config.json says. Tokens that tokenizers add to those of vocab.json
    count as far as the head has outputs for them. Raises BadData for damaged files, for those that contradict
    themselves, and for tokenizers of other kinds.
    """
    settings = _settings(folder)
    if _has_subwords(folder, settings):
        return _subword_vocabulary(folder, settings, outputs)
    _refuse_other_tokenizers(folder, settings)
    if outputs is None and language is None:
        outputs = _configured_outputs(folder)
    tokens = _tokens(folder, settings, outputs, language)
    delimiter = settings["word_delimiter_token"] if settings.get("word_delimiter_token") is not None else "|"
    if delimiter not in tokens:
        delimiter = " " if " " in tokens else None
    between = settings.get("replace_word_delimiter_char", " ")
    if delimiter is not None and between != " ":
        raise BadData(
            f"the tokenizer of {folder} writes {between!r} between words, asrctl a space",
            fix="set replace_word_delimiter_char to a space in its tokenizer_config.json, or choose another checkpoint",
        )
    unk, pad = (_token(settings, key, tokens) for key in ("unk_token", "pad_token"))
    if pad not in tokens:
        raise BadData(
            f"the tokenizer of {folder} pads with {pad!r}, the blank of CTC, for which the model has no output",
            fix="correct pad_token in tokenizer_config.json, or choose another checkpoint",
        )
    is_lower, phones = settings.get("do_lower_case") is True, _class(folder, settings) == PHONEME_CLASS
    cleans = settings.get("clean_up_tokenization_spaces") is True and not phones
    known_unk = unk if unk in tokens else None
    return Vocabulary(tokens, delimiter, known_unk, pad, is_lower and not phones, phones, clean_up=cleans)


def _has_subwords(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether a folder's tokenizer writes pieces of words."""
    kind = _class(folder, settings)
    are_there = any((folder / name).exists() for name in (subwords.FILE, *sentencepiece_model.NAMES))
    return are_there and (kind not in _READ_CLASSES if kind else not (folder / "vocab.json").exists())


def language_of(folder: Path) -> Optional[str]:
    """The language that the tokenizer of a model of many is set to; None for a model of one. Raises BadData."""
    language = _settings(folder).get("target_lang")
    if not isinstance(language, str) or not (folder / "vocab.json").exists():
        return None
    ids = files.read_json(folder / "vocab.json", fix=_FIX)
    return language if isinstance(ids, dict) and isinstance(ids.get(language), dict) else None


def _subword_vocabulary(folder: Path, settings: Mapping[str, Any], outputs: Optional[int]) -> Vocabulary:
    """That of a tokenizer.json. Raises BadData."""
    tokenizer = _subwords(folder, _class(folder, settings))
    tokens = tokenizer.tokens()
    if outputs is None:
        outputs = _configured_outputs(folder)
    blank = _read_section(folder / "config.json").get("pad_token_id")
    pad = settings.get("pad_token")
    if pad not in tokens and outputs == len(tokens) + 1:
        # As NeMo has it: the blank follows on the tokens, and no file names it.
        pad = pad or "<pad>"
        tokens = (*tokens, str(pad))
    if pad is None and isinstance(blank, int) and 0 <= blank < len(tokens):
        pad = tokens[blank]
    if outputs is not None and outputs != len(tokens):
        raise BadData(f"the tokenizer of {folder} has {len(tokens)} tokens, and the model {outputs} outputs", fix=_FIX)
    if pad not in tokens:
        raise BadData(
            f"the tokenizer of {folder} names no token for padding, the blank of CTC",
            fix="name it as pad_token in tokenizer_config.json, or choose another checkpoint",
        )
    unk = settings.get("unk_token") or next((token for token in ("<unk>", "[UNK]") if token in tokens), None)
    return Vocabulary(tokens, None, unk if unk in tokens else None, str(pad), subwords=tokenizer)


def _subwords(folder: Path, kind: Any) -> Subwords:
    """Raises BadData."""
    named = kind if isinstance(kind, str) and kind else subwords.USUAL_CLASS
    if (folder / subwords.FILE).exists():
        return Subwords.read(folder / subwords.FILE, named, fix=_FIX)
    path = next(folder / name for name in sentencepiece_model.NAMES if (folder / name).exists())
    return Subwords(sentencepiece_model.to_tokenizer_json(path, fix=_FIX), named)


def _settings(folder: Path) -> Dict[str, Any]:
    """What the files beside vocab.json say, special tokens as plain text. Raises BadData.

    special_tokens_map.json goes before tokenizer_config.json. Where the latter has an added_tokens_decoder, generations
    of transformers disagree on that, so the two must not differ.
    """
    found: Dict[str, Any] = {}
    if (folder / "special_tokens.json").exists():
        ours = read_special(folder, fix=_FIX)
        found = {f"{key}_token": value for key, value in ours.items() if key not in _KINDS}
        found.update({"tokenizer_class": ours["subwords"]} if "subwords" in ours else {})
        found["do_lower_case"] = ours.get("lower_case", False)
    config = _plain_tokens(_read_section(folder / "tokenizer_config.json"))
    named = _plain_tokens(_read_section(folder / "special_tokens_map.json"))
    if isinstance(config.get("added_tokens_decoder"), dict):
        for key in ("unk_token", "pad_token"):
            if config.get(key, named.get(key)) != named.get(key, config.get(key)):
                raise BadData(
                    f"special_tokens_map.json and tokenizer_config.json of {folder} have different ideas of {key}: "
                    f"{named[key]!r} and {config[key]!r}",
                    fix="correct one of the two",
                )
    return {**found, **config, **named}


def _read_section(path: Path) -> Dict[str, Any]:
    """A file of settings; empty where it is missing or holds none."""
    found = files.read_json(path, fix=_FIX) if path.exists() else {}
    return found if isinstance(found, dict) else {}


def _plain_tokens(settings: Mapping[str, Any]) -> Dict[str, Any]:
    """Settings with special tokens, which many tokenizers store as objects, as text."""
    return {key: _content(value) if key.endswith("_token") else value for key, value in settings.items()}


def _content(value: Any) -> Any:
    return value.get("content") if isinstance(value, dict) else value


def _refuse_other_tokenizers(folder: Path, settings: Mapping[str, Any]) -> None:
    """Raises BadData for the classes that read vocab.json in another way."""
    name = _class(folder, settings)
    if isinstance(name, str) and name and name not in _READ_CLASSES:
        raise BadData(
            f"the tokenizer of {folder} is a {name}, and asrctl reads those of the class {TOKENIZER_CLASS}",
            fix="choose a checkpoint that writes characters",
        )


def _class(folder: Path, settings: Mapping[str, Any]) -> Any:
    return settings.get("tokenizer_class") or _read_section(folder / "config.json").get("tokenizer_class")


def _configured_outputs(folder: Path) -> Optional[int]:
    size = _read_section(folder / "config.json").get("vocab_size")
    return size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else None


def _tokens(
    folder: Path, settings: Mapping[str, Any], outputs: Optional[int], language: Optional[str]
) -> Tuple[str, ...]:
    """All tokens that have an output, by id. Raises BadData."""
    path = folder / "vocab.json"
    fix = f"correct {path}, or choose another checkpoint"
    ids = _language(path, language or settings.get("target_lang"))
    if isinstance(ids, dict):  # 1.0 is 1, as everywhere in JSON
        ids = {token: int(i) if isinstance(i, float) and i.is_integer() else i for token, i in ids.items()}
    own = tokens_by_id(ids, path, fix=fix)
    by_id = dict(enumerate(own))
    if language is not None and outputs is None:
        outputs = len(own)
    for index, token, where in _added(folder, settings):
        if language is not None and (index in by_id or token in own):
            continue  # as `set_target_lang` has it: they may be of the language that the tokenizer was saved with
        if by_id.get(index, token) != token:
            raise BadData(f"{where} of {folder} has {token!r} where vocab.json has {by_id[index]!r}", fix=fix)
        by_id[index] = token
    for token in _behind(settings):
        if token not in by_id.values() and outputs is not None and len(by_id) < outputs:
            by_id.setdefault(len(by_id), token)  # where that is taken, another id is missing
    most = len(own) if outputs is None else max(len(own), outputs)
    kept = {index: token for index, token in by_id.items() if outputs is None or index < most}
    twice = [token for token, count in Counter(kept.values()).items() if count > 1]
    if twice:
        raise BadData(f"the tokenizer of {folder} has two ids for {twice[0]!r}", fix=fix)
    return tokens_by_id({token: index for index, token in kept.items()}, path, fix=fix)


def _language(path: Path, language: Any) -> Any:
    """vocab.json, of a model of many languages the part of one. Raises BadData."""
    if not path.exists():
        partial_models.refuse(path.parent)
    ids = files.read_json(path, fix=_FIX)
    if not (isinstance(ids, dict) and ids and all(isinstance(value, dict) for value in ids.values())):
        return ids
    if isinstance(language, str) and language in ids:
        return ids[language]
    some = ", ".join(sorted(ids)[:5]) + (" ..." if len(ids) > 5 else "")
    which = "" if language is None else f", and none for {language!r}"
    raise BadData(
        f"{path} holds one vocabulary per language ({some}){which}",
        fix="name one of these: as model.language to train it, as --from-language of vocab, or as target_lang in "
        "tokenizer_config.json",
    )


def _added(folder: Path, settings: Mapping[str, Any]) -> List[Tuple[int, str, str]]:
    """(id, token, file) of the tokens beside those of vocab.json. Raises BadData."""
    decoder = settings.get("added_tokens_decoder")
    if isinstance(decoder, dict):
        name, pairs = "tokenizer_config.json", [(index, _content(value)) for index, value in decoder.items()]
    else:
        name = "added_tokens.json"
        pairs = [(index, token) for token, index in _read_section(folder / name).items()]
        more = _read_section(folder / "tokenizer.json").get("added_tokens")
        pairs += [(item.get("id"), item.get("content")) for item in more or [] if isinstance(item, dict)]
    found = []
    for index, token in pairs:
        number = int(index) if isinstance(index, str) and index.isdecimal() and len(index) < 10 else index
        plain = isinstance(number, int) and not isinstance(number, bool) and number >= 0
        if not plain or not isinstance(token, str) or not is_text(token):
            raise BadData(f"{name} of {folder} does not map tokens to ids", fix=_FIX)
        found.append((number, token, name))
    return sorted(found)


def _behind(settings: Mapping[str, Any]) -> List[str]:
    """Special tokens in the order in which tokenizers add those that have no id."""
    named = [settings.get(key, _INVENTED.get(key)) for key in _NAMED]
    more = settings.get("additional_special_tokens") or settings.get("extra_special_tokens")
    named += [_content(token) for token in more] if isinstance(more, list) else []
    return list(dict.fromkeys(token for token in named if isinstance(token, str) and token and is_text(token)))


def _token(settings: Mapping[str, Any], key: str, tokens: Tuple[str, ...]) -> str:
    """A special token; where no file says which, the one of the two usual ones that is there."""
    value = settings.get(key)
    if isinstance(value, str) and value:
        return value
    usual = _INVENTED[key], "[" + _INVENTED[key].strip("<>").upper() + "]"
    return next((token for token in usual if token in tokens), usual[0])


def read_features(folder: Path, *, layer_norm: bool) -> FeatureRules:
    """The feature rules of a checkpoint folder; where it has none, those usual for its kind of encoder.

    Raises BadData, where the files of two library generations differ, too.
    """
    found = {name: rules for name in model_files.FEATURE_FILES for rules in _feature_rules(folder / name, layer_norm)}
    found_rules = {(rules.sample_rate, rules.normalize) for rules in found.values()}
    if len(found_rules) > 1:
        said = ", ".join(f"{name}: {rules.sample_rate} Hz, {_words(rules)}" for name, rules in found.items())
        raise BadData(
            f"{folder} says in two ways how a recording is heard ({said})", fix="delete the file that is wrong"
        )
    return next(iter(found.values()), FeatureRules(use_mask=layer_norm))


def _words(rules: FeatureRules) -> str:
    return "normalized" if rules.normalize else "not normalized"


def read_rate(folder: Path, extractor: str) -> int:
    """Samples per second that a checkpoint folder's feature extractor wants. Raises BadData."""
    if extractor == FEATURE_CLASS:
        return read_features(folder, layer_norm=True).sample_rate
    return int(read_settings(folder, extractor).get("sampling_rate", 16000))


def read_settings(folder: Path, extractor: str) -> Dict[str, Any]:
    """What a folder says of a feature extractor that makes more than samples; empty where it says nothing.

    Raises BadData, also where the files of two library generations differ.
    """
    names = model_files.FEATURE_FILES
    found = {name: values for name in names for values in _extractor_values(folder / name, extractor)}
    told = [{key: value for key, value in values.items() if key not in _NO_SETTINGS} for values in found.values()]
    if len(told) == 2 and any(told[0][key] != told[1][key] for key in set(told[0]) & set(told[1])):
        raise BadData(
            f"{' and '.join(found)} of {folder} say in two ways how a recording is heard",
            fix="delete the file that is wrong",
        )
    return {key: value for values in told for key, value in values.items()}


def _feature_rules(path: Path, layer_norm: bool) -> List[FeatureRules]:
    """The rules of a file; none where it is missing or only tells of the tokenizer. Raises BadData."""
    return [
        FeatureRules(
            int(values.get("sampling_rate", 16000)),
            bool(values.get("do_normalize", True)),
            bool(values.get("return_attention_mask", layer_norm)),
        )
        for values in _extractor_values(path, FEATURE_CLASS)
    ]


def _extractor_values(path: Path, extractor: str) -> List[Dict[str, Any]]:
    """What a file says of the feature extractor; nothing where it is missing or only tells of the tokenizer.

    Raises BadData, for one of another class too.
    """
    if not path.exists():
        return []
    values = files.read_json(path, fix=_FIX)
    if path.name == model_files.FEATURE_FILES[1] and isinstance(values, dict):
        if not {"feature_extractor", "audio_processor"} & set(values):
            return []
        values = values.get("feature_extractor", values.get("audio_processor"))
    if not isinstance(values, dict):
        raise BadData(f"{path} holds no settings", fix=_FIX)
    kind, rate = values.get("feature_extractor_type", extractor), values.get("sampling_rate", 16000)
    if kind != extractor:
        raise BadData(f"{path} is of a {kind}, and asrctl hears with a {extractor}", fix=_FIX)
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or rate != int(rate) or not 4000 <= rate <= 48000:
        raise BadData(f"{path} has a sampling_rate of {rate!r}", fix=_FIX)
    return [values]
