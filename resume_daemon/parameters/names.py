"""One parameter under its many names: dashes, upper case, and what other trainers call it."""

from __future__ import annotations

from typing import Final

ALIASES: Final = {
    # OpenRLHF, slime, ms-swift and many scripts.
    "lr": "learning_rate",
    "actor_learning_rate": "learning_rate",
    "kl_coef": "beta",
    "kl_coeff": "beta",
    "kl_beta": "beta",
    "init_kl_coef": "beta",
    "kl_loss_coef": "beta",
    "n_samples_per_prompt": "num_generations",
    "rollout_n": "num_generations",
    "generate_max_len": "max_completion_length",
    "max_response_length": "max_completion_length",
    "max_new_tokens": "max_completion_length",
    "prompt_max_len": "max_prompt_length",
    "max_seq_len": "max_seq_length",
    "max_sequence_length": "max_seq_length",
    "vllm_max_model_len": "vllm_max_model_length",
    "max_model_len": "vllm_max_model_length",
    "pretrain": "model_name_or_path",
    "model_path": "model_name_or_path",
    "model_name": "model_name_or_path",
    "base_model": "model_name_or_path",
    "base_model_name_or_path": "model_name_or_path",
    "_name_or_path": "model_name_or_path",
    "lora_rank": "lora_r",
    # PEFT's own, in adapter_config.json.
    "r": "lora_r",
    "target_modules": "lora_target_modules",
    "modules_to_save": "lora_modules_to_save",
    # Various.
    "train_batch_size_per_device": "per_device_train_batch_size",
    "micro_train_batch_size": "per_device_train_batch_size",
    "grad_accum_steps": "gradient_accumulation_steps",
    "accumulate_grad_batches": "gradient_accumulation_steps",
    "dtype": "torch_dtype",
    "random_seed": "seed",
    "num_epochs": "num_train_epochs",
    "max_epochs": "num_train_epochs",
    "max_norm": "max_grad_norm",
    "gradient_clipping": "max_grad_norm",
}
"""What other trainers and scripts call a parameter, and what TRL calls it."""


def canonical(name: str) -> str:
    """Return the name that a parameter is known by here.

    ``--learning-rate``, ``LEARNING_RATE`` and ``lr`` are all ``learning_rate``.
    """
    plain = name.lstrip("-").replace("-", "_").lower()
    return ALIASES.get(plain, plain)


KNOWN: Final = frozenset(
    {
        "beta",
        "bf16",
        "dataset_name",
        "gradient_accumulation_steps",
        "learning_rate",
        "lora_alpha",
        "lora_r",
        "loss_type",
        "lr_scheduler_type",
        "max_completion_length",
        "max_grad_norm",
        "max_prompt_length",
        "max_seq_length",
        "max_steps",
        "model_name_or_path",
        "num_generations",
        "num_train_epochs",
        "per_device_train_batch_size",
        "save_steps",
        "seed",
        "temperature",
        "top_p",
        "vllm_max_model_length",
        "warmup_ratio",
        "warmup_steps",
        "weight_decay",
    }
)
"""Parameters that are known without a checkpoint: by them a configuration file is recognised."""
