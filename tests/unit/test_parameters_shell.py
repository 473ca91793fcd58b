"""What a launch script starts the training with: read, and never run."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resume_daemon.errors import FormatError, ResumeDaemonError
from resume_daemon.parameters.edits.plan import Wish, steps_for
from resume_daemon.parameters.names import KNOWN
from resume_daemon.parameters.sources.launch import Launch, read_launch_script
from resume_daemon.parameters.sources.shell_arithmetic import evaluate
from resume_daemon.parameters.sources.text import value_of
from resume_daemon.parameters.values import Setting, SourceKind

if TYPE_CHECKING:
    from pathlib import Path


def launch(directory: Path, text: str, **environ: str) -> Launch:
    path = directory / "train.sh"
    path.write_text(text, encoding="utf-8")
    return read_launch_script(path, "train.sh", environ, KNOWN)


def given_to(directory: Path, text: str, **environ: str) -> dict[str, Setting]:
    return {each.name: each for each in launch(directory, text, **environ).settings}


def text_at(directory: Path, setting: Setting) -> str | None:
    if setting.span is None:
        return None
    return (directory / "train.sh").read_bytes()[slice(*setting.span)].decode()


SCRIPT = """\
#!/bin/bash
# Läuft auf dem Cluster
set -euo pipefail
export MAX_SEQ_LENGTH=4096
MODEL="Qwen/Qwen3-8B"   # the base
PROMPT=1536
LR=6e-6

CUDA_VISIBLE_DEVICES=0,1 torchrun --nproc_per_node=2 --nnodes 1 --standalone \\
    train.py \\
    --model_name_or_path "$MODEL" \\
    --max-prompt-length ${PROMPT} \\
    --max_completion_length 2560 \\
    --learning_rate=$LR --bf16 --no_use_vllm \\
    --beta '0.04' --target q_proj v_proj \\
    2>&1 | tee train.log
echo "used $MODEL"
"""


def test_arguments_are_read_with_what_their_variables_stand_for(tmp_path: Path) -> None:
    found = given_to(tmp_path, SCRIPT)
    values = {name: each.value for name, each in found.items()}
    assert values == {
        "MAX_SEQ_LENGTH": 4096,
        "CUDA_VISIBLE_DEVICES": "0,1",
        "model_name_or_path": "Qwen/Qwen3-8B",
        "max_prompt_length": 1536,
        "max_completion_length": 2560,
        "learning_rate": 6e-6,
        "bf16": True,
        "use_vllm": False,
        "beta": 0.04,
        "target": ["q_proj", "v_proj"],
    }
    assert all(each.certain for each in found.values())
    assert found["MAX_SEQ_LENGTH"].source.kind is SourceKind.ENVIRONMENT
    assert found["beta"].source.kind is SourceKind.COMMAND_LINE


def test_the_place_of_a_value_is_where_its_text_stands(tmp_path: Path) -> None:
    found = given_to(tmp_path, SCRIPT)
    places = {name: (each.line, text_at(tmp_path, each)) for name, each in found.items()}
    assert places["max_prompt_length"] == (6, "1536"), "at the variable's assignment"
    assert places["model_name_or_path"] == (5, '"Qwen/Qwen3-8B"')
    assert places["max_completion_length"] == (13, "2560")
    assert places["learning_rate"] == (7, "6e-6")
    assert places["beta"] == (15, "'0.04'")
    assert places["MAX_SEQ_LENGTH"] == (4, "4096")


def test_what_the_launcher_is_given_is_no_parameter_of_the_training(tmp_path: Path) -> None:
    found = launch(tmp_path, SCRIPT)
    assert {each.name: each.value for each in found.launcher} == {
        "nproc_per_node": 2,
        "nnodes": 1,
        "standalone": True,
    }
    assert (found.program, found.launcher_name) == ("train.py", "torchrun")


def test_a_variable_that_two_parameters_share_says_so_and_changes_for_both_or_not_at_all(
    tmp_path: Path,
) -> None:
    text = "L=2048\nlog() { echo $1; }\nlog $L\npython t.py --max_prompt_length $L --x_length $L\n"
    found = given_to(tmp_path, text)
    prompt, other = found["max_prompt_length"], found["x_length"]
    assert (prompt.value, prompt.also, other.also) == (2048, ("x_length",), ("max_prompt_length",))
    (step,) = steps_for([Wish(prompt, 1024), Wish(other, 1024)])
    assert step.content.decode() == text.replace("2048", "1024")
    with pytest.raises(FormatError, match="x_length is given by the same text"):
        steps_for([Wish(prompt, 1024)])


def test_a_variable_that_something_else_uses_has_no_place(tmp_path: Path) -> None:
    text = "L=2048\nM=$((L * 2))\npython t.py --max_prompt_length $L\n"
    assert given_to(tmp_path, text)["max_prompt_length"].span is None


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ('[ "$A" = true ]', True),
        ('[ "$A" != true ] || [ "$B" -gt 2 ]', True),
        ('[ "$A" = true ] && [ "$B" -gt 3 ]', False),
        ('[[ $A == "true" && -n $B ]]', True),
        ('[ -z "$A" ]', False),
        ('[ ! -z "$C" ]', False),
        ('! [ "$B" -le 2 ]', True),
        ("$A", True),
        ("false", False),
    ],
)
def test_a_condition_over_what_is_known_decides_which_way_it_goes(
    tmp_path: Path, condition: str, holds: bool
) -> None:
    text = f'A=true; B=3; C=""\nif {condition}; then S=1; else S=2; fi\n'
    found = given_to(tmp_path, text + "python t.py --seed $S\n")["seed"]
    assert (found.value, found.certain) == (1 if holds else 2, True)
    done = subprocess.run(
        ["bash", "-c", text + "echo $S"], capture_output=True, check=True, text=True, timeout=20
    )
    assert int(done.stdout) == found.value


@pytest.mark.parametrize("condition", ["[ -f x ]", '[ "$1" = x ]', "[[ $A == t* ]]", "((A > 3))"])
def test_a_condition_over_anything_else_leaves_both_ways_open(
    tmp_path: Path, condition: str
) -> None:
    text = f"A=true\nif {condition}; then S=1; else S=2; fi\npython t.py --seed $S\n"
    assert not given_to(tmp_path, text)["seed"].certain


BUILT = """\
DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LR=2e-5   # raised
BF16=true
CMD=""
CMD="${CMD} --model_name_or_path \\"Qwen/Qwen3 8B\\""
CMD="${CMD} --learning_rate ${LR}"
if [ "$BF16" = true ]; then CMD="${CMD} --bf16"; fi
if [ -d "$RESUME" ]; then CMD="${CMD} --resume_from_checkpoint $RESUME"; fi
CMD="${CMD} --seed 7"
FULL="python ${DIR}/main.py ${CMD}"
echo "$FULL" > full.txt
eval "${FULL}"
"""


def test_a_command_that_is_put_together_as_a_text_is_taken_apart_again(tmp_path: Path) -> None:
    found = launch(tmp_path, BUILT)
    values = {each.name: (each.value, each.certain) for each in found.settings}
    assert values == {
        "model_name_or_path": ("Qwen/Qwen3 8B", True),
        "learning_rate": (2e-5, True),
        "bf16": (True, True),
        "resume_from_checkpoint": ("$RESUME", False),
        "seed": (7, True),
    }
    by_name = {each.name: each for each in found.settings}
    assert text_at(tmp_path, by_name["learning_rate"]) == "2e-5"
    assert text_at(tmp_path, by_name["seed"]) == "7"
    assert found.program == str(tmp_path / "main.py")


@pytest.mark.parametrize(
    ("assignment", "word", "value", "place"),
    [
        ("B=${B:-8}", "$B", 8, "8"),
        ("B=${B:-8}", '"${B}"', 8, "8"),
        ("", "${B:-8}", 8, "8"),
        ('B="${B:-8}"', "$B", 8, "8"),
        ("A=4096; B=$((A - 1536))", "$B", 2560, None),
        ("A=7; B=$(( (A + 1) / 2 * -3 % 5 ))", "$B", -2, None),
        ("B=a\\ b", '"$B"', "a b", None),
        ("B=a; C=b", '"$B $C  ${B} ${C}x"', "a b  a bx", None),
        ("B=pre", '"${B}fix"', "prefix", None),
        ("B=1", "'$B'", "$B", "'$B'"),
        ("B=1; B=2", "$B", 2, "2"),
        ("B=1; (B=3)", "$B", 1, "1"),
        ("B=1; f() { B=5; }; f", "$B", 5, "5"),
    ],
)
def test_what_the_shell_would_make_of_a_word_is_known(
    tmp_path: Path, assignment: str, word: str, value: Any, place: str | None
) -> None:
    found = given_to(tmp_path, f"{assignment}\npython t.py --seed {word}\n")["seed"]
    assert (found.value, found.certain) == (value, True)
    assert text_at(tmp_path, found) == place
    # The shell itself says the same.
    script = f"{assignment}\nprintf '%s' {word}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, check=True, text=True, timeout=20, env={}
    )
    assert value_of(done.stdout) == value


@pytest.mark.parametrize(
    "before",
    [
        "B=$(date +%s)",
        "B=`date`",
        "B=$1",
        "read B",
        "B=1; if [ -f x ]; then B=2; fi",
        "B=1; [ -f x ] || B=2",
        "for B in 1 2; do :; done",
        "B=1; while read x; do B+=$x; done",
        "source other.sh",
        "case $1 in a) B=1;; esac",
        "B=${OTHER%x}",
        "B=abc; B=${B/a/b}",
        "B[1]=3",
        "f() { B=5; }",
        "A=$((1/0)); B=$A",
        "A=08; B=$((A + 1))",
    ],
)
def test_what_is_decided_when_it_runs_is_not_certain_and_cannot_be_changed(
    tmp_path: Path, before: str
) -> None:
    found = given_to(tmp_path, f"{before}\npython t.py --seed $B\n")["seed"]
    assert not found.certain
    assert found.span is None


def test_an_array_of_arguments_is_read_element_by_element(tmp_path: Path) -> None:
    text = (
        "ARGS=(\n  --max_prompt_length 1536  # a comment\n  '--beta=0.04'\n)\n"
        'ARGS+=(--seed "7")\nif [ "$X" ]; then ARGS+=(--lr 1); fi\n'
        'accelerate launch --num_processes 4 -m pkg.train "${ARGS[@]}"\n'
    )
    found = given_to(tmp_path, text)
    assert {
        name: (each.value, each.certain, text_at(tmp_path, each)) for name, each in found.items()
    } == {
        "max_prompt_length": (1536, True, "1536"),
        "beta": (0.04, True, "0.04"),
        "seed": (7, True, '"7"'),
        "lr": (1, False, None),
    }
    assert launch(tmp_path, text).program == "pkg.train"


def test_a_text_of_arguments_is_split_as_the_shell_splits_it(tmp_path: Path) -> None:
    text = 'ARGS="--seed 7 \\\n  --beta 0.04"\npython t.py $ARGS --output_dir "a b"\n'
    found = given_to(tmp_path, text)
    assert (found["seed"].value, text_at(tmp_path, found["seed"])) == (7, "7")
    assert (found["beta"].value, found["beta"].line) == (0.04, 2)
    assert found["output_dir"].value == "a b"


def test_an_array_that_grows_in_a_loop_is_not_certain(tmp_path: Path) -> None:
    text = 'ARGS=(--seed 1)\nfor x in a b; do ARGS+=(--x $x); done\npython t.py "${ARGS[@]}"\n'
    found = launch(tmp_path, text)
    assert found.settings == ()


def test_the_environment_that_the_script_inherits_decides_where_it_is_asked(tmp_path: Path) -> None:
    text = "python t.py --seed ${SEED:-8} --beta $BETA\n"
    found = given_to(tmp_path, text, SEED="3", BETA="0.1")
    assert (found["seed"].value, found["seed"].span) == (3, None)
    assert (found["beta"].value, found["beta"].certain) == (0.1, True)
    assert not given_to(tmp_path, text)["beta"].certain


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("python train.py --seed 1", "train.py"),
        ("nohup python3.11 -u -X dev train.py --seed 1 > log 2>&1 &", "train.py"),
        ("exec srun --gpus 8 python -m trl.scripts.grpo --seed 1", "trl.scripts.grpo"),
        ("deepspeed --num_gpus 8 train.py --seed 1", "train.py"),
        ("python -m torch.distributed.run --nproc_per_node 8 train.py --seed 1", "train.py"),
        ("uv run --no-sync train.py --seed 1", "train.py"),
        ("trl grpo --seed 1", "trl grpo"),
        ("env A=1 /opt/bin/python train.py --seed 1", "train.py"),
        ('CMD="python train.py --seed 1"\neval $CMD', "train.py"),
        ('CMD="python train.py --seed 1"\n$CMD', "train.py"),
        ("cd /code && python train.py --seed 1 || exit 1", "train.py"),
        ("while true; do python train.py --seed 1 && break; done", "train.py"),
        ("main() { python train.py --seed 1; }\nmain", "train.py"),
        ("if ! python train.py --seed 1; then echo failed; fi", "train.py"),
        ("if [ -f x ]; then python train.py --seed 1; fi", "train.py"),
        ("if [ -f x ]; then python a.py --seed 1; else python a.py --seed 1 --x; fi", "a.py"),
        (
            "python prepare.py --input x\npython train.py --seed 1\npython -c 'x' --seed 2",
            "train.py",
        ),
        ("python -m verl.trainer.main_ppo algorithm.seed=1 +a.b=2", "verl.trainer.main_ppo"),
    ],
)
def test_the_training_is_found_behind_whatever_starts_it(
    tmp_path: Path, command: str, program: str
) -> None:
    found = launch(tmp_path, command + "\n")
    assert found.program == program
    seed = next(each for each in found.settings if each.name == "seed")
    assert (seed.value, seed.certain, text_at(tmp_path, seed)) == (1, True, "1")


def test_what_two_ways_to_start_it_do_not_agree_on_is_not_certain(tmp_path: Path) -> None:
    text = "if [ -d $1 ]; then python t.py --seed 1 --beta 2 --resume x; else python t.py --seed 1 "
    found = given_to(tmp_path, text + "--beta 3; fi\n")
    assert {name: each.certain for name, each in found.items()} == {"seed": True, "beta": False}
    found = given_to(tmp_path, "python t.py --seed 1 --resume x || python t.py --seed 1\n")
    assert found["seed"].certain


def test_arguments_that_the_script_passes_on_are_said_not_to_be_known(tmp_path: Path) -> None:
    (note,) = launch(tmp_path, 'python t.py --seed 1 "$@"\n').notes
    assert note == "line 1 passes on $@, which is known only when it runs"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("#!/usr/bin/env python3\nprint(1)\n", "its first line names python"),
        ("class A:\n    x: int = (1,\n", "it is no shell script: see its line"),
        ("\0", "zero bytes"),
    ],
)
def test_what_is_no_shell_script_is_said(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(FormatError) as raised:
        launch(tmp_path, text)
    assert reason in str(raised.value)


def test_a_script_with_a_mistake_in_it_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    found = launch(tmp_path, "python t.py --seed 1\nif [ x ]; then\n")
    assert found.settings[0].value == 1
    assert not found.settings[0].certain
    assert "is not understood" in found.notes[0]


def test_nothing_of_a_script_is_run(tmp_path: Path) -> None:
    target = tmp_path / "made"
    found = launch(
        tmp_path, f"touch {target}\nX=$(touch {target})\npython t.py --seed `touch {target}`\n"
    )
    assert found.settings
    assert not target.exists()


def test_a_variable_that_doubles_itself_does_not_grow_without_end(tmp_path: Path) -> None:
    text = "A=" + "x" * 100 + "\n" + "A=$A$A\n" * 200 + "python t.py --seed $A\n"
    (found,) = launch(tmp_path, text).settings
    assert not found.certain
    with pytest.raises(FormatError, match="nested deeper"):
        launch(tmp_path, "if a; then\n" * 300 + "python t.py\n" + "fi\n" * 300)
    with pytest.raises(FormatError, match="nested too deeply"):
        launch(tmp_path, "python t.py --seed " + '"${A:-' * 2000 + "1" + '}"' * 2000)


NUMBERS = st.integers(0, 99).map(str) | st.sampled_from(["A", "$B", "${A}"])
SUMS: st.SearchStrategy[str] = st.deferred(
    lambda: st.one_of(
        NUMBERS,
        st.tuples(SUMS, st.sampled_from("+-*/%"), SUMS).map(" ".join),
        SUMS.map("({})".format),
        SUMS.map("- {}".format),
    )
)


@settings(deadline=None, max_examples=50)
@given(text=SUMS)
def test_arithmetic_is_that_of_the_shell(text: str) -> None:
    known = evaluate(text, {"A": 7, "B": -3}.get)
    command = ["bash", "-c", f"A=7; B=-3; echo $(({text}))"]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=20)
    if known is not None:
        assert known == int(done.stdout)


# fmt: off
PIECES = st.sampled_from(
    [
        "python t.py ", "--seed ", "--a=", "1 ", "$A ", "${A} ", '"$A" ', "A=1\n", "A=$A", "'x' ",
        '"', "'", "(", ")", "\\\n", "\n", "if x; then ", "fi\n", "$((A+1)) ", "$(x) ", "ü",
        '"${ARGS[@]}" ', "ARGS+=(", "export ", "|| ", "<<E\n", "E\n", "`", "${A:-", "}",
        "ARGS=(", "for A in ",
        "; do ", "done\n", "{ ", "f() ", "\\", "#", "case $A in a) ", ";; esac\n", "eval ", "=",
        "[ ",
    ]
)
# fmt: on


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.lists(PIECES, max_size=25).map("".join) | st.text(max_size=40))
def test_any_text_is_read_or_refused_and_every_place_is_the_value(
    tmp_path: Path, text: str
) -> None:
    try:
        found = launch(tmp_path, text)
    except ResumeDaemonError:
        return
    for each in (*found.settings, *found.launcher):
        if each.span is not None:
            stands = text_at(tmp_path, each) or ""
            if stands[:1] in {"'", '"'} and stands[:1] == stands[-1:]:
                stands = stands[1:-1]
            assert value_of(stands) == each.value


PASSED_ON = """\
A=4096
LR=6e-6
FLAGS="--x 1 --y '2 3'"
ARGS=(--max_prompt_length "$((A - 2560))" --name "a b" --escaped a\\ b)
[ "$LR" = 6e-6 ] && ARGS+=(--lr "$LR")
if [[ -n "${UNSET:-}" ]]; then ARGS+=(--never 1); else ARGS+=(--always 1); fi
CMD="python t.py --learning_rate ${LR} --beta=${BETA:-0.04} \\
   --p 'x y' $FLAGS"
"""


@pytest.mark.parametrize(
    "start", ['eval "$CMD" "${ARGS[@]}"', "$CMD $LR", 'python t.py "${ARGS[@]}"']
)
def test_the_settings_are_of_the_words_that_bash_passes_on(tmp_path: Path, start: str) -> None:
    text = f"{PASSED_ON}{start}\n"
    found = launch(tmp_path, text)
    assert all(each.certain for each in found.settings)
    python = tmp_path / "python"
    python.write_text("#!/bin/bash\nprintf '%s\\0' \"$@\"\n", encoding="utf-8")
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", str(tmp_path / "train.sh")],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        check=True,
        text=True,
        timeout=20,
    )
    given: dict[str, list[str]] = {}
    for word in done.stdout.split("\0")[1:-1]:
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            given[name] = [value] if equals else []
        else:
            given[list(given)[-1]].append(word)
    expected = {
        name: value_of(words[0]) if len(words) == 1 else [value_of(word) for word in words]
        for name, words in given.items()
    }
    assert {each.name: each.value for each in found.settings} == expected
