"""The catalog codes of the curriculum, RD501 and on."""

from __future__ import annotations

from resume_daemon.findings import Code, Severity

_REAL_RUNS = "two public GRPO runs of qhy991/GRPO-Clean-2, as left on disk"
_CALLBACK = "qhy991/GRPO-Clean-2, grpo_project/curriculum/callbacks.py, _save_curriculum_state"

HISTORY_LOST = Code(
    "RD501",
    "curriculum-history-lost",
    Severity.WARNING,
    "The curriculum's history was lost",
    "The state holds no evaluations from before some step, although the trainer was training then "
    "and no rolling window explains it. A resume most likely started the curriculum afresh: the "
    "stage and every average over the history count from there, so stages may be repeated or "
    "skipped.",
    "Look for a snapshot from before that step ('resume-daemon snapshots') and restore its "
    "curriculum before you resume; make the training script load the state when it resumes.",
    f"{_REAL_RUNS}: a history that starts at step 542 after a resume from step 540",
)
AHEAD = Code(
    "RD502",
    "curriculum-ahead",
    Severity.WARNING,
    "The curriculum state is ahead of the checkpoint",
    "The state file was rewritten after this checkpoint, and no earlier version of it was seen. A "
    "resume would go on with a stage and a history that these weights have not reached.",
    "Resume from the checkpoint that the state belongs to, or reset the curriculum to this step.",
    f"{_CALLBACK}: one file per run, rewritten in place, whatever checkpoint is resumed",
)
BEHIND = Code(
    "RD503",
    "curriculum-behind",
    Severity.WARNING,
    "The curriculum state is far behind the checkpoint",
    "The last state at or before this checkpoint is older than it should be: the trainer stopped "
    "writing it, or the file is not the one in use. A resume repeats that part of the curriculum.",
    "See whether the trainer still writes the file (permissions, a full disk, another output "
    "directory), and say in the configuration how far behind is normal.",
    _CALLBACK,
)
AHEAD_AT_RESUME = Code(
    "RD504",
    "curriculum-ahead-at-resume",
    Severity.WARNING,
    "Training resumed with a curriculum that is ahead of the weights",
    "The trainer went back to an earlier step while the state file stayed as it was, so the "
    "curriculum goes on from a step that the weights have not reached, and the steps in between "
    "enter its history twice.",
    "Stop, restore the curriculum of the checkpoint ('resume-daemon snapshots restore'), and "
    "resume again.",
    f"{_CALLBACK}; measured by resuming from a checkpoint between two writes of the state",
)
STAGE_BACK = Code(
    "RD505",
    "curriculum-stage-back",
    Severity.INFO,
    "The curriculum went back to an earlier stage",
    "The stage is lower than in the version before. After a resume from an earlier step, or where "
    "the curriculum may demote, this is normal. A fall of several stages while the step went on "
    "means most likely that the state was started afresh.",
    "If nobody meant it, compare the two versions ('resume-daemon snapshots diff') and restore.",
    "Unity ml-agents issue 2993: the wrong curriculum level after a load",
)
HISTORY_DAMAGED = Code(
    "RD506",
    "curriculum-history-damaged",
    Severity.WARNING,
    "The curriculum's history is not in order, or holds NaN or infinity",
    "Averages over it are wrong: one NaN makes every comparison with a threshold false, so no "
    "stage is ever passed; entries out of order come from a resume that kept the later ones.",
    "Restore a version from before it happened, and find out why the evaluation returned it.",
    "Python's json module writes NaN and reads it back without a word",
)
UNREADABLE = Code(
    "RD507",
    "curriculum-unreadable",
    Severity.WARNING,
    "The curriculum state cannot be read",
    "The file is empty, cut short, or not what its name says, and has been for longer than a write "
    "takes. On resume the trainer fails, or starts the curriculum afresh without a word.",
    "Restore the last whole version ('resume-daemon snapshots restore'); the damaged one is kept.",
    f"{_CALLBACK}: open for writing empties the file before the first byte is written",
)
LAG = Code(
    "RD508",
    "curriculum-lag",
    Severity.INFO,
    "The curriculum state is older than the checkpoint",
    "The trainer writes the state less often than checkpoints, so a resume repeats a few steps of "
    "the curriculum. It is said so that nobody takes the two for the same moment.",
    "Nothing, if these steps do not matter; else write the state at every save of a checkpoint.",
    f"{_REAL_RUNS}: the state of step 300 beside checkpoint 310",
)
NOT_COMPARABLE = Code(
    "RD509",
    "curriculum-step-unknown",
    Severity.INFO,
    "The curriculum state declares no step that compares with the checkpoint's",
    "It has no step, or counts episodes or samples. Which version belongs to the checkpoint was "
    "decided by time alone, and may be off by one write.",
    "Let the trainer write its global step into the state, and name it in the configuration.",
    "schemas in public code that count episodes or samples (npp-rl, SkyRL)",
)

CODES = (
    HISTORY_LOST,
    AHEAD,
    BEHIND,
    AHEAD_AT_RESUME,
    STAGE_BACK,
    HISTORY_DAMAGED,
    UNREADABLE,
    LAG,
    NOT_COMPARABLE,
)
