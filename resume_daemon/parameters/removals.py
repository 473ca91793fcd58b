"""Arguments that releases of the trainer no longer take, or do not take yet: a table.

Read in the source of the releases on either side of each removal (the last one that still takes
the argument, and the first that does not).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from resume_daemon.parameters.release import Release

TRL: Final = "trl"
TRANSFORMERS: Final = "transformers"


@dataclass(frozen=True, slots=True)
class Removal:
    """One argument that is gone.

    Attributes:
        package: Whose.
        name: The argument.
        release: The first release that refuses it.
        instead: What to do instead, a sentence without its full stop.
    """

    package: str
    name: str
    release: Release
    instead: str


def _renamed(package: str, release: Release, **names: str) -> tuple[Removal, ...]:
    return tuple(Removal(package, old, release, f"use {new}") for old, new in names.items())


def _removed(package: str, release: Release, instead: str, *names: str) -> tuple[Removal, ...]:
    return tuple(Removal(package, name, release, instead) for name in names)


REMOVALS: Final[tuple[Removal, ...]] = (
    # TRL, tags v0.17.0 and v0.18.0 of trl/trainer/grpo_config.py.
    *_removed(
        TRL,
        (0, 18, 0),
        "set it where the vLLM server is started",
        "vllm_device",
        "vllm_dtype",
        "vllm_enable_prefix_caching",
    ),
    *_renamed(TRL, (0, 18, 0), vllm_max_model_len="vllm_max_model_length (from TRL 0.26 on)"),
    # Tags v0.26.2 and v0.27.0.
    *_renamed(TRL, (0, 27, 0), wandb_log_unique_prompts="log_unique_prompts"),
    # Tags v0.27.2 and v0.28.0.
    *_removed(TRL, (0, 28, 0), "cut or filter long prompts in the dataset", "max_prompt_length"),
    *_renamed(
        TRL,
        (0, 28, 0),
        use_liger_loss="use_liger_kernel",
        vllm_guided_decoding_regex="vllm_structured_outputs_regex",
    ),
    # transformers 4.50.3 and 4.51.0, training_args.py.
    *_renamed(TRANSFORMERS, (4, 51, 0), evaluation_strategy="eval_strategy"),
    *_removed(
        TRANSFORMERS,
        (4, 51, 0),
        "set it in accelerator_config",
        "dispatch_batches",
        "split_batches",
    ),
    # transformers 4.57.6 and 5.0.0; MIGRATION_GUIDE_V5.md says what is used instead.
    *_renamed(
        TRANSFORMERS,
        (5, 0, 0),
        adafactor='optim="adafactor"',
        fsdp_min_num_params="fsdp_config",
        fsdp_transformer_layer_cls_to_wrap="fsdp_config",
        include_inputs_for_metrics="include_for_metrics",
        include_tokens_per_second="include_num_input_tokens_seen",
        jit_mode_eval="torch_compile",
        no_cuda="use_cpu",
        per_gpu_eval_batch_size="per_device_eval_batch_size",
        per_gpu_train_batch_size="per_device_train_batch_size",
        push_to_hub_model_id="hub_model_id",
        push_to_hub_organization="hub_model_id",
        push_to_hub_token="hub_token",  # noqa: S106 - the name of an argument
        ray_scope="the variable RAY_SCOPE",
        torchdynamo="torch_compile_backend",
        tpu_metrics_debug="debug",
        tpu_num_cores="the variable TPU_NUM_CORES",
    ),
    *_removed(
        TRANSFORMERS,
        (5, 0, 0),
        "remove it: it decided nothing in the trainer; resume_from_checkpoint is what resumes",
        "overwrite_output_dir",
    ),
    *_removed(
        TRANSFORMERS,
        (5, 0, 0),
        "remove it: torch's own mixed precision is the only one left",
        "fp16_backend",
        "fp16_opt_level",
        "half_precision_backend",
    ),
    *_removed(
        TRANSFORMERS,
        (5, 0, 0),
        "remove it: safetensors is the only form that is written",
        "save_safetensors",
    ),
    *_removed(
        TRANSFORMERS,
        (5, 0, 0),
        "remove it",
        "mp_parameters",
        "past_index",
        "use_legacy_prediction_loop",
        "use_mps_device",
    ),
    # transformers 5.1.0 and 5.2.0.
    *_renamed(TRANSFORMERS, (5, 2, 0), group_by_length='train_sampling_strategy="group_by_length"'),
    # transformers 5.14.0 and 5.15.0, which say what is used instead when they warn.
    *_renamed(
        TRANSFORMERS,
        (5, 15, 0),
        logging_dir="the variable TENSORBOARD_LOGGING_DIR",
        warmup_ratio="warmup_steps, which takes a fraction",
    ),
)

ADDITIONS: Final[dict[str, Release]] = {
    **dict.fromkeys(("sync_ref_model", "reward_weights", "log_completions"), (0, 15, 0)),
    **dict.fromkeys(
        ("epsilon", "num_iterations", "scale_rewards", "top_k", "top_p", "min_p"), (0, 16, 0)
    ),
    **dict.fromkeys(("loss_type", "mask_truncated_completions", "disable_dropout"), (0, 17, 0)),
    **dict.fromkeys(
        ("generation_batch_size", "steps_per_generation", "vllm_mode", "delta"), (0, 18, 0)
    ),
    "generation_kwargs": (0, 19, 0),
    **dict.fromkeys(("importance_sampling_level", "top_entropy_quantile"), (0, 20, 0)),
    **dict.fromkeys(("vllm_enable_sleep_mode", "vllm_importance_sampling_correction"), (0, 23, 0)),
    **dict.fromkeys(("cast_lm_head_to_fp32", "chat_template_kwargs"), (0, 25, 0)),
    **dict.fromkeys(
        ("log_unique_prompts", "num_generations_eval", "vllm_max_model_length"), (0, 26, 0)
    ),
    **dict.fromkeys(("vllm_structured_outputs_regex", "off_policy_mask_threshold"), (0, 27, 0)),
    "log_completions_hub_repo": (0, 28, 0),
    "pad_to_multiple_of": (1, 0, 0),
}
"""Arguments of TRL's GRPOConfig and the first release that takes them (its tags, one by one)."""
