"""Keys of an ipu_config.json, of every release of optimum-graphcore, and what becomes of them under release 0.7.1."""

from __future__ import annotations

from typing import Any, Dict, Tuple

# What 0.7.1 takes where a file is silent; a preset that extends another must say it. (Not output_mode: it only decides
# which losses are logged, and asrctl has a default of its own.)
DEFAULTS: Dict[str, Any] = {
    "replication_factor": 1,
    "inference_replication_factor": 1,
    "gradient_accumulation_steps": 1,
    "device_iterations": 1,
    "inference_device_iterations": 1,
    "optimizer_state_offchip": False,
    "replicated_tensor_sharding": False,
    "recompute_checkpoint_every_layer": False,
    "enable_half_partials": True,
    "auto_loss_scaling": False,
    "output_mode": None,
    "matmul_proportion": 0.2,
    "seed": None,
}
NAMES = {"replication_factor": "replication", "inference_replication_factor": "inference_replication"}
# Spellings of the first releases.
OLD_NAMES = {"random_seed": "seed"}
# Keys of every configuration of transformers: IPUConfig takes them, and does nothing with them.
_OF_TRANSFORMERS = (
    "return_dict", "output_hidden_states", "output_attentions", "torchscript", "torch_dtype", "use_bfloat16",
    "tf_legacy_loss", "pruned_heads", "tie_word_embeddings", "is_encoder_decoder", "is_decoder",
    "cross_attention_hidden_size", "add_cross_attention", "tie_encoder_decoder", "max_length", "min_length",
    "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty", "temperature", "top_k",
    "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "chunk_size_feed_forward",
    "output_scores", "return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id",
    "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens",
    "architectures", "finetuning_task", "id2label", "label2id", "tokenizer_class", "prefix", "bos_token_id",
    "pad_token_id", "eos_token_id", "sep_token_id", "decoder_start_token_id", "task_specific_params",
    "problem_type",
)  # fmt: skip
# Keys without effect on a CTC model under 0.7.1 -> what to say of them; nothing where there is nothing to say.
WITHOUT_EFFECT = {
    **dict.fromkeys(_OF_TRANSFORMERS, ""),
    "executable_cache_dir": "",
    "embedding_serialization_factor": "",
    "inference_embedding_serialization_factor": "",
    "projection_serialization_factor": "",
    "inference_projection_serialization_factor": "",
    "optimum_version": "",
    "optimum_graphcore_version": "",
    "transformers_version": "",
    "poptorch_version": "",
    "model_type": "",
    "_name_or_path": "",
    "sharded_execution_for_inference": "evaluation is always sharded now",
    "enable_half_first_order_momentum": "Adam's first moment is fp16 wherever the weights are",
    "decompose_grad_sum": "it is gone from optimum-graphcore",
    "profile_dir": "it is gone from optimum-graphcore; POPLAR_ENGINE_OPTIONS asks for a profile",
    "async_dataloader": "ipu.dataloader_mode says how batches reach the device",
}
# Keys that are refused unless they have one of these values -> the fix.
REFUSED: Dict[str, Tuple[Tuple[Any, ...], str]] = {
    "synthetic_data": ((None, False), "remove it: asrctl trains on speech"),
    "use_popdist": ((None, False), "remove it, and set ipu.hosts to the number of hosts"),
    "execute_encoder_on_cpu_for_generation": ((None, False), "remove it: a CTC model generates nothing"),
    "explicit_ir_inference": ((None, False), "remove it: it does not work in optimum-graphcore 0.7.1"),
    "parallelize_kwargs": ((None, {}), "remove it: CTC models take none"),
    "inference_parallelize_kwargs": ((None, {}), "remove it: CTC models take none"),
    "serialized_embedding_splits_per_ipu": ((None,), "remove it: a CTC model has no embedding"),
    "inference_serialized_embedding_splits_per_ipu": ((None,), "remove it: a CTC model has no embedding"),
    "serialized_projection_splits_per_ipu": ((None,), "remove it: the head of a CTC model is not split"),
    "inference_serialized_projection_splits_per_ipu": ((None,), "remove it: the head of a CTC model is not split"),
}
# Arguments of the script and keys of the model, which the first examples kept in the same file -> where they are.
ELSEWHERE = {
    "learning_rate": "optim.learning_rate",
    "weight_decay": "optim.weight_decay",
    "warmup_steps": "optim.warmup_steps",
    "warmup_ratio": "optim.warmup_share",
    "lr_warmup": "optim.warmup_share",
    "lr_scheduler_type": "optim.schedule",
    "lr_schedule": "optim.schedule",
    "num_train_epochs": "optim.epochs",
    "max_steps": "optim.max_steps",
    "adam_beta1": "optim.adam_betas",
    "adam_beta2": "optim.adam_betas",
    "adam_epsilon": "optim.adam_eps",
    "optimizer": "optim.optimizer",
    "lamb": "optim.optimizer",
    "loss_scaling": "ipu.loss_scaling",
    "fp32": "ipu.precision",
    "n_ipu": "ipu.pod",
    "pod_type": "ipu.pod",
    "micro_batch_size": "ipu.micro_batch",
    "per_device_train_batch_size": "ipu.micro_batch",
    "per_device_eval_batch_size": "ipu.micro_batch",
    "dataloader_mode": "ipu.dataloader_mode",
    "dataloader_num_workers": "ipu.dataloader_workers",
    "dataloader_workers": "ipu.dataloader_workers",
    "dataloader_drop_last": "batches.drop_last",
    "model_name_or_path": "model.checkpoint",
    "layer_norm_eps": "model.config.layer_norm_eps",
}
LIKE_TRAINING = ("layers_per_ipu", "ipus_per_replica", "matmul_proportion")
