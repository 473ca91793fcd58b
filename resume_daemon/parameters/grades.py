"""How much it matters that a parameter changed between two segments of one run.

| grade | what changed |
| --- | --- |
| error | the base model, the adapter's rank or targets: what was saved fits it no more |
| warning | what decides the losses: learning rate and schedule, KL weight, loss, lengths, seeds, |
| | data, sampling, sizes of batches and groups, precision |
| info | everything else: how often it logs, saves and evaluates, where it reports to |
"""

from __future__ import annotations

from typing import Final

from resume_daemon.findings import Severity

MODEL: Final = frozenset(
    {
        "model",
        "model_id",
        "model_name_or_path",
        "lora_r",
        "lora_target_modules",
        "lora_modules_to_save",
        "peft_type",
        "use_dora",
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
    }
)
EXPERIMENT: Final = frozenset(
    {
        # The optimizer and its schedule.
        "learning_rate",
        "lr_scheduler_type",
        "lr_scheduler_kwargs",
        "warmup_steps",
        "warmup_ratio",
        "max_steps",
        "num_train_epochs",
        "optim",
        "optim_args",
        "weight_decay",
        "adam_beta1",
        "adam_beta2",
        "adam_epsilon",
        "max_grad_norm",
        # Batches.
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "generation_batch_size",
        "steps_per_generation",
        "num_generations",
        "num_iterations",
        # The loss.
        "beta",
        "epsilon",
        "epsilon_high",
        "delta",
        "loss_type",
        "scale_rewards",
        "reward_weights",
        "importance_sampling_level",
        "mask_truncated_completions",
        "top_entropy_quantile",
        "sync_ref_model",
        "ref_model_mixup_alpha",
        "ref_model_sync_steps",
        "disable_dropout",
        # Sampling and lengths.
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "repetition_penalty",
        "max_prompt_length",
        "max_completion_length",
        "max_seq_length",
        "script_max_prompt_length",
        "script_max_completion_length",
        "length_allocation_strategy",
        "vllm_max_model_length",
        # Chance and data.
        "seed",
        "data_seed",
        "full_determinism",
        "dataset",
        "dataset_name",
        "dataset_path",
        "dataset_config_name",
        "dataset_split",
        "shuffle_dataset",
        # Adapter and precision.
        "lora_alpha",
        "lora_dropout",
        "use_rslora",
        "bf16",
        "fp16",
        "torch_dtype",
    }
)
OF_ONE_START: Final = frozenset(
    {
        "output_dir",
        "logging_dir",
        "run_name",
        "resume_from_checkpoint",
        "local_rank",
        "overwrite_output_dir",
        "distributed_state",
        "deepspeed_plugin",
        "hub_token",
        "push_to_hub_token",
        "transformers_version",
        "_n_gpu",
        "__cached__setup_devices",
    }
)
"""What belongs to one start of the trainer and is meant to differ, or what is no parameter."""


def grade(name: str) -> Severity:
    """Return how much a change of a parameter matters; see the table of this module."""
    if name in MODEL:
        return Severity.ERROR
    return Severity.WARNING if name in EXPERIMENT else Severity.INFO
