"""A real GRPO run, small enough for a CPU: what a training script does, with nothing replaced.

Started as a program by the tests beside it. It prints ``step N`` when step N has ended, so that a
test can follow it without sleeping, and writes everything below ``--output`` but W&B's log, which
goes where ``WANDB_DIR`` says. Model and tokenizer are made from nothing: no network.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    TrainerCallback,
    set_seed,
)
from trl import GRPOConfig, GRPOTrainer

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

WORDS = 512
"""Size of the vocabulary. Times the hidden size it makes matrices of many pages each."""

STEPS_PER_STAGE = 4


class Curriculum(TrainerCallback):  # type: ignore[misc]  # transformers ships no types here
    """Keeps stage and history in one file of the run, rewritten in place at the end of each step.

    The shape and the habits are those of grpo_project/curriculum/callbacks.py in
    qhy991/GRPO-Clean-2: one file whatever checkpoint is resumed, loaded when training starts. There
    it is written every 50 steps; here at each step, before the checkpoint of that step is saved.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stage = 0
        self.history: list[dict[str, Any]] = []
        if path.exists():
            state = json.loads(path.read_text())
            self.stage, self.history = state["current_stage"], state["performance_history"]

    def on_step_end(
        self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_: Any
    ) -> None:
        """Take note of the step; the stage rises with the number of steps taken."""
        logged = state.log_history[-1] if state.log_history else {}
        self.history.append(
            {
                "step": state.global_step,
                "performance": float(logged.get("reward", 0.0)),
                "loss": float(logged.get("loss", 0.0)),
                "stage": self.stage,
            }
        )
        self.stage = len(self.history) // STEPS_PER_STAGE
        self.path.write_text(json.dumps(self.state_dict(), indent=2))

    def state_dict(self) -> dict[str, Any]:
        """Return what is written."""
        return {
            "current_stage": self.stage,
            "performance_history": self.history,
            "timestamp": time.time(),
        }


class Pace(TrainerCallback):  # type: ignore[misc]  # as above
    """Says which step has ended, waits where it was asked to, and holds still to be killed."""

    def __init__(self, pause: float, hold_after: int | None) -> None:
        self.pause = pause
        self.hold_after = hold_after

    def on_step_begin(
        self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_: Any
    ) -> None:
        """Here the step before is over: logged, saved and handed to W&B."""
        if state.global_step:
            print(f"step {state.global_step}", flush=True)  # noqa: T201 - the test reads it
            time.sleep(self.pause)
        if state.global_step == self.hold_after:
            threading.Event().wait()

    def on_train_end(
        self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_: Any
    ) -> None:
        """No further step begins that could tell of the last one."""
        print(f"step {state.global_step}", flush=True)  # noqa: T201 - as above


def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """Prefer even tokens: completions differ in it, so there is an advantage and a gradient."""
    return [sum(token % 2 == 0 for token in ids) / max(1, len(ids)) for ids in completion_ids]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of one token per word."""
    words = ["<pad>", "<eos>", "<unk>", *(f"w{number}" for number in range(WORDS - 3))]
    tokenizer = Tokenizer(WordLevel({word: at for at, word in enumerate(words)}, "<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    special = dict(zip(("pad_token", "eos_token", "unk_token"), words, strict=False))
    # transformers 4 would give token types too, which this model does not take.
    names = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=names, **special)


def make_model(dtype: torch.dtype, hidden_size: int = 64) -> Qwen2ForCausalLM:
    """Return an untrained model of about 150 thousand parameters."""
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=WORDS,
            hidden_size=hidden_size,
            intermediate_size=2 * hidden_size,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            bos_token_id=None,
            eos_token_id=1,
            pad_token_id=0,
        )
    ).to(dtype)


def make_trainer(
    output: Path,
    *,
    dtype: str = "float32",
    hidden_size: int = 64,
    peft: bool = False,
    callbacks: list[TrainerCallback] | None = None,
    **arguments: Any,
) -> GRPOTrainer:
    """Return a trainer that writes below ``output``; ``arguments`` are its configuration's."""
    set_seed(0)
    peft_config = None
    if peft:
        from peft import LoraConfig  # noqa: PLC0415 - only where asked for

        peft_config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    settings: dict[str, Any] = {
        "output_dir": str(output),
        "save_steps": 5,
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_completion_length": 8,
        "bf16": False,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
    }
    if "activation_checkpointing" in GRPOConfig.__dataclass_fields__:
        # On by default since TRL 1.0, and useless in so small a model.
        settings["activation_checkpointing"] = False
    return GRPOTrainer(
        model=make_model(getattr(torch, dtype), hidden_size),
        reward_funcs=reward,
        args=GRPOConfig(**{**settings, **arguments}),
        train_dataset=Dataset.from_dict({"prompt": [f"w{n} w{n + 1} w{n + 2}" for n in range(64)]}),
        processing_class=make_tokenizer(),
        peft_config=peft_config,
        callbacks=callbacks,
    )


def main() -> None:
    """Train from the beginning or from a checkpoint."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--max-steps", type=int, default=15)
    parser.add_argument("--resume-from", type=Path)
    parser.add_argument("--peft", action="store_true")
    parser.add_argument("--save-total-limit", type=int)
    parser.add_argument("--save-only-model", action="store_true")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--report-to", choices=["wandb", "none"], default="wandb")
    parser.add_argument("--pause-per-step", type=float, default=0.0)
    parser.add_argument("--callback", action="store_true", help="With ResumeDaemonCallback.")
    parser.add_argument("--hold-after", type=int, help="Stand still after this step.")
    given = parser.parse_args()

    torch.set_num_threads(1)
    given.output.mkdir(parents=True, exist_ok=True)
    curriculum = Curriculum(given.output / "curriculum_state_detailed.json")
    callbacks = [curriculum, Pace(given.pause_per_step, given.hold_after)]
    if given.callback:
        from resume_daemon.integrations.transformers import (  # noqa: PLC0415 - as above
            ResumeDaemonCallback,
        )

        callbacks.insert(1, ResumeDaemonCallback(curriculum.state_dict, every_steps=7))
    trainer = make_trainer(
        given.output,
        dtype=given.dtype,
        peft=given.peft,
        callbacks=callbacks,
        max_steps=given.max_steps,
        save_total_limit=given.save_total_limit,
        save_only_model=given.save_only_model,
        report_to=given.report_to,
    )
    trainer.train(resume_from_checkpoint=str(given.resume_from) if given.resume_from else None)


if __name__ == "__main__":
    main()
