"""base-4ipu and large-8ipu are the recipe that Graphcore published, in every value, or say where they are not.

The recipe is a command (README.md of optimum-graphcore's examples/speech-recognition), the defaults of its script
run_speech_recognition_ctc.py, those of IPUTrainingArguments and IPUConfig 0.7.1, and an ipu_config.json. The script is
not part of the package: its defaults, the same in every version of it, stand here as a table. All else is built by the
package itself.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from asrctl.config import presets
from asrctl.data.corpora import librispeech
from asrctl.data.text import TextRules, build_vocabulary
from asrctl.ipu import config
from asrctl.models import loading

from . import tiny

DOCS = Path(__file__).resolve().parents[3] / "docs" / "ipu.md"

# ModelArguments and DataTrainingArguments of the script; `...` has no default.
SCRIPT = {
    "model_name_or_path": ...,
    "tokenizer_name_or_path": None,
    "cache_dir": None,
    "freeze_feature_encoder": True,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "hidden_dropout": 0.0,
    "final_dropout": 0.0,
    "mask_time_prob": 0.0,
    "mask_time_length": 10,
    "mask_feature_prob": 0.0,
    "mask_feature_length": 10,
    "layerdrop": 0.0,
    "ctc_loss_reduction": "mean",
    "dataset_name": ...,
    "dataset_config_name": None,
    "train_split_name": "train+validation",
    "eval_split_name": "test",
    "audio_column_name": "audio",
    "text_column_name": "text",
    "overwrite_cache": False,
    "preprocessing_num_workers": None,
    "max_train_samples": None,
    "max_eval_samples": None,
    "chars_to_ignore": None,
    "eval_metrics": ["wer"],
    "max_duration_in_seconds": 20.0,
    "min_duration_in_seconds": 0.0,
    "preprocessing_only": False,
    "use_auth_token": False,
    "unk_token": "[UNK]",
    "pad_token": "[PAD]",
    "word_delimiter_token": "|",
    "phoneme_language": None,
}
# What the script writes over the checkpoint's configuration, besides what follows from the vocabulary.
WRITTEN = (
    "feat_proj_dropout", "attention_dropout", "hidden_dropout", "final_dropout", "activation_dropout", "layerdrop",
    "mask_time_prob", "mask_time_length", "mask_feature_prob", "mask_feature_length", "ctc_loss_reduction",
)  # fmt: skip
COMMAND = {
    "dataset_name": "librispeech_asr",
    "dataset_config_name": "clean",
    "train_split_name": "train.100",
    "eval_split_name": "validation",
    "model_name_or_path": "facebook/wav2vec2-base-960h",
    "ipu_config_name": "base_4-ipu_config.json",
    "mask_time_prob": 0.0,
    "output_dir": "wav2vec2-base-960h",
    "overwrite_output_dir": True,
    "length_column_name": "input_length",
    "num_train_epochs": 1,
    "learning_rate": 3e-4,
    "warmup_steps": 400,
    "evaluation_strategy": "steps",
    "text_column_name": "text",
    "save_steps": 400,
    "eval_steps": 400,
    "logging_steps": 10,
    "save_total_limit": 1,
    "freeze_feature_encoder": True,
    "do_train": True,
    "do_eval": True,
    "layerdrop": 0.0,
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "adam_beta1": 0.9,
    "adam_beta2": 0.98,
    "adam_epsilon": 1e-4,
    "dataloader_drop_last": True,
    "dataloader_mode": "async_rebatched",
    "dataloader_num_workers": 8,
}
BASE = {
    "layers_per_ipu": [9, 4, 4, 4],
    "ipus_per_replica": 4,
    "matmul_proportion": [0.1] * 4,
    "gradient_accumulation_steps": 32,
    "replication_factor": 1,
    "inference_replication_factor": 1,
    "device_iterations": 1,
    "inference_device_iterations": 4,
    "optimizer_state_offchip": False,
    "replicated_tensor_sharding": True,
    "recompute_checkpoint_every_layer": False,
    "enable_half_partials": True,
    "executable_cache_dir": "./exe_cache",
}
LARGE = {
    **BASE,
    "layers_per_ipu": [8, 3, 4, 4, 4, 4, 4, 2],
    "ipus_per_replica": 8,
    "matmul_proportion": [0.1] * 8,
    "gradient_accumulation_steps": 16,
    "inference_device_iterations": 8,
    "optimizer_state_offchip": True,
}
# The large configuration came without a command.
PUBLISHED = {
    "base-4ipu": (COMMAND, BASE),
    "large-8ipu": ({**COMMAND, "model_name_or_path": "facebook/wav2vec2-large-960h-lv60-self"}, LARGE),
}

# Argument -> key of the recipe, with the same value.
SAME = {
    "model_name_or_path": "model.checkpoint",
    **{name: f"model.{name}" for name in WRITTEN if not name.startswith("mask_")},
    "freeze_feature_encoder": "model.freeze_feature_encoder",
    "mask_time_prob": "model.spec_augment.time_prob",
    "mask_time_length": "model.spec_augment.time_length",
    "mask_feature_prob": "model.spec_augment.feature_prob",
    "mask_feature_length": "model.spec_augment.feature_length",
    "max_eval_samples": "run.eval_max_utterances",
    "max_duration_in_seconds": "audio.max_s",
    "min_duration_in_seconds": "audio.min_s",
    "unk_token": "text.unk",
    "pad_token": "text.pad",
    "word_delimiter_token": "text.word_delimiter",
    "per_device_train_batch_size": "ipu.micro_batch",
    "per_device_eval_batch_size": "ipu.micro_batch",
    "learning_rate": "optim.learning_rate",
    "weight_decay": "optim.weight_decay",
    "adam_epsilon": "optim.adam_eps",
    "num_train_epochs": "optim.epochs",
    "lr_scheduler_type": "optim.schedule",
    "warmup_ratio": "optim.warmup_share",
    "warmup_steps": "optim.warmup_steps",
    "logging_steps": "run.log_every",
    "save_steps": "run.save_every",
    "eval_steps": "run.eval_every",
    "save_total_limit": "run.keep",
    "seed": "optim.seed",
    "dataloader_drop_last": "batches.drop_last",
    "n_ipu": "ipu.pod",
    "loss_scaling": "ipu.loss_scaling",
    "auto_loss_scaling": "ipu.auto_loss_scaling",
}
# Argument, value -> keys and values of the recipe, where it is said otherwise there.
OTHERWISE = {
    "chars_to_ignore": lambda value: {"text.remove": "".join(value or [])},
    "adam_beta1": lambda value: {"optim.adam_betas.0": value},
    "adam_beta2": lambda value: {"optim.adam_betas.1": value},
    "max_steps": lambda value: {"optim.max_steps": value if value > 0 else None},
    # IPUTrainer does not clip, whatever this says.
    "max_grad_norm": lambda value: {"optim.max_grad_norm": None},
    "group_by_length": lambda value: {"batches.order": "grouped" if value else "shuffled"},
    "fp32": lambda value: {"ipu.precision": "fp32" if value else "fp16"},
    "lamb": lambda value: {"optim.optimizer": "lamb" if value else "adamw"},
    "dataloader_mode": lambda value: {"ipu.dataloader_mode": ["sync", "async", "async_rebatched"][value.value]},
    "dataloader_num_workers": lambda value: {"ipu.dataloader_workers": value},
}
# Arguments that no key stands for; docs/ipu.md names each. Value: what it is, or `...` where any does the same here.
WITHOUT_KEY = {
    **dict.fromkeys(
        (
            "dataset_name", "dataset_config_name", "train_split_name", "eval_split_name", "cache_dir", "output_dir",
            "overwrite_output_dir", "length_column_name", "ipu_config_name", "do_train", "do_eval", "logging_dir",
            "run_name", "disable_tqdm", "log_level", "evaluation_strategy",
        ),
        ...,
    ),
    "tokenizer_name_or_path": None,
    "audio_column_name": "audio",
    "text_column_name": "text",
    "overwrite_cache": False,
    "preprocessing_num_workers": None,
    "max_train_samples": None,
    "eval_metrics": ["wer"],
    "preprocessing_only": False,
    "use_auth_token": False,
    "phoneme_language": None,
    "do_predict": False,
    "prediction_loss_only": False,
    "gradient_accumulation_steps": 1,
    "eval_delay": 0,
    "logging_strategy": "steps",
    "logging_first_step": False,
    "logging_nan_inf_filter": False,
    "save_strategy": "steps",
    "data_seed": None,
    "debug": [],
    "past_index": -1,
    "remove_unused_columns": True,
    "label_names": None,
    "load_best_model_at_end": False,
    "metric_for_best_model": None,
    "greater_is_better": None,
    "ignore_data_skip": False,
    "label_smoothing_factor": 0.0,
    "report_to": [],
    "dataloader_pin_memory": True,
    "skip_memory_metrics": True,
    "push_to_hub": False,
    "resume_from_checkpoint": None,
    "hub_model_id": None,
    "hub_strategy": "every_save",
    "hub_token": None,
    "hub_private_repo": False,
    "gradient_checkpointing": False,
    "include_inputs_for_metrics": False,
    "push_to_hub_model_id": None,
    "push_to_hub_organization": None,
    "push_to_hub_token": None,
    "lamb_no_bias_correction": False,
    "compile_only": False,
    "ipu_config_overrides": None,
    "pad_on_batch_axis": False,
}  # fmt: skip
# Keys of the recipe that none of the arguments decides, and what they must be for the script's experiment.
OF_THE_SCRIPT = {
    "model.ctc_zero_infinity": False,  # of the checkpoint
    "model.blank_bias": 0.0,
    "model.filterbank": False,
    "audio.sample_rate": 16000,  # of the checkpoint's preprocessor
    "text.case": "lower",
    "text.vocab_splits": ["train", "eval"],
    "optim.adam_bias_correction": False,
    "batches.shapes": "static",
    "batches.augment.speed": 0.0,
    "batches.augment.gain_db": 0.0,
    "batches.augment.eq_db": 0.0,
    "batches.augment.noise_snr_db": None,
    "batches.augment.join": 1,
    "batches.augment.vtlp": 0.0,
    "batches.augment.noise_files": None,
    "batches.augment.reverb_share": 0.0,
    "batches.augment.reverb_files": None,
    "batches.augment.clip_share": 0.0,
    "batches.augment.low_pass_share": 0.0,
    "batches.augment.codec_share": 0.0,
    "text.language": None,
    "text.phonemes": None,
    "run.early_stopping": None,
    "run.guard": None,
    "model.language": None,
    "model.language_from": None,
    "model.lora.rank": 0,
    "model.freeze": [],
    "model.freeze_layers": 0,
    "optim.layer_decay": 1.0,
    "optim.ema_decay": None,
    "optim.head_only_steps": 0,
    "optim.unfreeze_every": 0,
}
# Of the trainer's arguments: those that make the result, and not the log.
DECISIVE = (
    "per_device_train_batch_size", "per_device_eval_batch_size", "learning_rate", "weight_decay", "adam_beta1",
    "adam_beta2", "adam_epsilon", "lr_scheduler_type", "warmup_ratio", "warmup_steps", "seed", "data_seed",
    "label_smoothing_factor", "group_by_length", "gradient_checkpointing", "fp32", "lamb",
    "lamb_no_bias_correction", "loss_scaling", "auto_loss_scaling", "dataloader_mode", "dataloader_num_workers",
    "past_index", "n_ipu", "ipu_config_overrides", "pad_on_batch_axis",
)  # fmt: skip
# Keys that say how asrctl works, and rows of the table in docs/ipu.md -> the key they are about.
OWN = (
    r"name|description|model\.(revision|architecture|head)|optim\.(global_batch_s|tri_stage.*)"
    r"|(cpu|cuda|mps)\..*|ipu\.hosts"
    # Of what is off.
    r"|batches\.augment\.(noise_share|low_pass_hz|codecs.*)|model\.lora\..*"
)
DIFFERENT = {
    "`layer_norm_eps`": "model.config.layer_norm_eps",
    "labels are padded to": "batches.max_labels",
    "`output_mode`": "ipu.output_mode",
    "what ends a run early": "run.max_silent_steps",
    "head": None,
    "outputs": None,
    "end of a transcript": None,
    "attention mask": None,
    "first learning rate": None,
    "order of the data": None,
    "length of an utterance": None,
    "model that is kept": None,
}


def flat(values, prefix=""):
    """{"a": {"b": 1}} -> {"a.b": 1}"""
    found = {}
    for name, value in values.items():
        nested = dict(enumerate(value)) if name == "adam_betas" else value
        found.update(flat(nested, f"{prefix}{name}.") if isinstance(nested, dict) else {f"{prefix}{name}": value})
    return found


def effective(optimum, command):
    """Every argument of script and trainer as the command leaves it."""
    names = [field.name for field in dataclasses.fields(optimum.IPUTrainingArguments)]
    trainer = optimum.IPUTrainingArguments(**{name: value for name, value in command.items() if name in names})
    script = {name: command.get(name, value) for name, value in SCRIPT.items()}
    assert ... not in script.values() and not set(script) & set(names) and set(command) <= {*script, *names}
    return {**script, **{name: getattr(trainer, name) for name in names}}


@pytest.fixture(params=sorted(PUBLISHED))
def published(request, optimum):
    """(arguments, IPUConfig, our recipe, its keys)."""
    command, ipu = PUBLISHED[request.param]
    recipe = presets.load(request.param).recipe
    return effective(optimum, command), optimum.IPUConfig(**ipu), recipe, flat(recipe.as_dict())


def expected(arguments):
    """{recipe key: value} that the arguments ask for."""
    found = {}
    for name, key in SAME.items():
        value = getattr(arguments[name], "value", arguments[name])
        assert found.setdefault(key, value) == value
    for name, say in OTHERWISE.items():
        found.update(say(arguments[name]))
    return found


def test_every_argument_is_the_presets_value_or_is_named_as_having_no_key(published):
    arguments, _, _, ours = published
    assert {name: value for name, value in expected(arguments).items() if ours[name] != value} == {}
    rest = set(arguments) - set(SAME) - set(OTHERWISE)
    assert rest == set(WITHOUT_KEY)
    fixed = {name: value for name, value in WITHOUT_KEY.items() if value is not ...}
    assert {name: getattr(arguments[name], "value", arguments[name]) for name in fixed} == fixed


def test_every_key_of_the_recipe_is_the_scripts_or_asrctls_own(published):
    arguments, ipu_config, recipe, ours = published
    assert {key: ours[key] for key in OF_THE_SCRIPT} == OF_THE_SCRIPT
    accounted = {*expected(arguments), *OF_THE_SCRIPT, *filter(None, DIFFERENT.values()), *placed(recipe)}
    assert [key for key in ours if key not in accounted and not re.fullmatch(OWN, key)] == []


def placed(recipe):
    """Keys that make the IPUConfig."""
    names = {"replication_factor": "replication", "inference_replication_factor": "inference_replication"}
    found = {f"ipu.{names.get(name, name)}" for name in config.ipu_config_kwargs(recipe, cache=Path("cache"))}
    return {"optim.global_batch", *found}


def test_the_ipu_config_is_the_published_one(published, optimum):
    _, theirs, recipe, _ = published
    ours = optimum.IPUConfig(**config.ipu_config_kwargs(recipe, cache=Path("exe_cache")))
    unlike = {key for key, value in theirs.to_dict().items() if ours.to_dict()[key] != value}
    assert unlike == {"output_mode", "executable_cache_dir"}


def test_the_arguments_that_reach_the_trainer_are_the_published_ones(published, optimum):
    """All but those that say who saves, logs and evaluates: asrctl does."""
    theirs, _, recipe, _ = published
    ours = optimum.IPUTrainingArguments(**config.training_arguments_kwargs(recipe, output=Path("out"), calls=891))
    unlike = {name: (getattr(ours, name), theirs[name]) for name in DECISIVE if getattr(ours, name) != theirs[name]}
    assert unlike == {}


def test_the_trainer_corrects_no_bias_and_clips_nothing(optimum, poptorch, tmp_path, monkeypatch):
    """`optim.adam_bias_correction: false` and `optim.max_grad_norm: null` are what it does with the default of 1."""
    given = {}
    made = poptorch.optim.AdamW
    monkeypatch.setattr(
        "optimum.graphcore.trainer.AdamW", lambda *groups, **options: given.update(options) or made(*groups, **options)
    )
    tiny.trainer(optimum, tmp_path, tiny.ctc_model(), max_grad_norm=1.0).create_optimizer()
    assert given["bias_correction"] is False and "max_grad_norm" not in given


def checkpoint(folder, **changes):
    """A tiny checkpoint whose configuration has dropout everywhere, as that of wav2vec 2.0 base does."""
    rates = dict.fromkeys([name for name in WRITTEN if name.endswith("dropout") or name == "layerdrop"], 0.3)
    tiny.ctc_model(**rates, mask_time_prob=0.05, apply_spec_augment=True, **changes).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("preset", sorted(PUBLISHED))
def test_the_recipe_is_written_over_the_checkpoints_configuration(preset, optimum, tmp_path):
    vocabulary = build_vocabulary(dict.fromkeys("abc ", 1), TextRules())
    section = presets.load(preset, overrides=[f"model.checkpoint={checkpoint(tmp_path / 'base')}"]).recipe.model
    built = loading.build(section, vocabulary, seed=1, sample_rate=16000).recognizer.model.train()
    assert {name: getattr(built.config, name) for name in WRITTEN} == {name: SCRIPT[name] for name in WRITTEN}
    assert {module.p for module in built.modules() if type(module).__name__ == "Dropout"} == {0.0}
    assert {layer.attention.dropout for layer in built.wav2vec2.encoder.layers} == {0.0}


def test_the_vocabulary_is_the_scripts_in_its_order(optimum, tmp_path):
    """Characters by code point, the delimiter in the space's place, then [UNK] and [PAD]. docs/ipu.md: what differs.

    The tokenizer that the script makes of the file has two tokens more, so that English text has as many as the
    checkpoint has outputs, and the head of other letters is taken over; and it keeps the space that ends each text.
    """
    from transformers import AutoTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

    letters = "abcdefghijklmnopqrstuvwxyz' "
    ours = build_vocabulary(dict.fromkeys(letters, 1), TextRules())
    theirs = {character: index for index, character in enumerate(sorted(set(letters)))}
    theirs["|"] = theirs.pop(" ")
    theirs["[UNK]"] = len(theirs)
    theirs["[PAD]"] = len(theirs)
    assert ours.ids == theirs
    (tmp_path / "vocab.json").write_text(json.dumps(theirs))
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "word_delimiter_token": "|"}
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path), config=None, tokenizer_type="wav2vec2", **special)
    assert (len(tokenizer), tokenizer.pad_token_id) == (len(ours) + 2, ours.blank_id) == (32, 29)
    assert tokenizer("ab c ").input_ids == [*ours.encoder()("ab c")[0], ours.delimiter_id]
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=False)  # as that of wav2vec2-base-960h
    batch = Wav2Vec2Processor(extractor, tokenizer).pad(
        [{"input_values": np.ones(10, np.float32)}], padding="longest", pad_to_multiple_of=20, return_tensors="pt"
    )
    assert list(batch) == ["input_values"] and batch["input_values"].shape == (1, 20)


def test_the_corpus_is_the_commands():
    splits = {COMMAND["train_split_name"]: "train", COMMAND["eval_split_name"]: "eval"}
    corpus = librispeech.CORPUS
    assert {role: (corpus.split_names[name],) for name, role in splits.items()} == dict(corpus.splits)


def test_the_docs_name_what_differs_and_what_has_no_key():
    text = DOCS.read_text(encoding="utf-8").split("## The published recipe")[1].split("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    assert rows[2:] == list(DIFFERENT)
    assert [name for name in WITHOUT_KEY if f"`{name}`" not in text] == []
