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


PATHS: Final = {
    # verl.
    "rollout.n": "num_generations",
    "algorithm.kl_ctrl.kl_coef": "beta",
    "model.path": "model_name_or_path",
    "model.name": "model_name_or_path",
    "dataset.name": "dataset_name",
    "dataset.path": "dataset_path",
    "lora.r": "lora_r",
    "lora.rank": "lora_r",
    "lora.alpha": "lora_alpha",
    "lora.dropout": "lora_dropout",
}
"""The same, where the name alone says too little: by the last keys of the path."""

OF_ANOTHER: Final = frozenset(
    {"critic", "eval", "evaluation", "ref", "reference", "reward", "reward_model", "teacher", "val"}
)
"""Tables of a configuration that belong to another model, or to another occasion, than training."""

SAYS_LITTLE: Final = frozenset(
    {"enable", "enabled", "mode", "n", "name", "path", "size", "strategy", "type", "version"}
)
"""Names that mean something only with the table that they stand in."""


def parameter_of(name: str, keys: str = "") -> str:
    """Return the name that a parameter is known by here, from where it stands.

    ``critic.optim.lr`` is not the ``learning_rate`` of what is trained.

    Args:
        name: As it is written.
        keys: The keys of the tables that it stands in, with dots between them.
    """
    if not keys:
        return canonical(name)
    parts = [*keys.lower().replace("-", "_").split("."), name.lower().replace("-", "_")]
    for count in (3, 2):
        if found := PATHS.get(".".join(parts[-count:])):
            return found if not OF_ANOTHER & set(parts[:-1]) else ".".join(parts)
    if OF_ANOTHER & set(parts[:-1]) or parts[-1] in SAYS_LITTLE:
        return ".".join(parts)
    return canonical(name)


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
