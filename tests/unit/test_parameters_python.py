"""Configuration classes of the user's code: parsed, and never imported or run."""

from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resume_daemon.errors import FormatError, ResumeDaemonError
from resume_daemon.parameters.post_init import Outcome, follow
from resume_daemon.parameters.sources.python_code import Code, read_code
from resume_daemon.parameters.sources.python_values import Names, Value, evaluate

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.parameters.values import Setting

CONFIGS = '''\
"""Einstellungen: ä."""
import os
from dataclasses import dataclass, field

from trl import GRPOConfig

DEFAULT_LENGTH = 2560
SHARED = 8


@dataclass
class BaseArguments:
    seed: int = 42
    model_name_or_path: str = "Qwen/Qwen3-8B"  # ü
    output_dir: str = None


@dataclass
class ScriptArguments(BaseArguments):
    "What the script takes."

    seed: int = field(default=7, metadata={"help": "x"})
    max_prompt_length: int = 1_536
    max_completion_length: int = DEFAULT_LENGTH
    num_generations: int = SHARED
    steps_per_generation: int = SHARED
    beta: float = -0.04
    learning_rate: float = 2e-6 * 3
    target_modules: list = field(default_factory=lambda: ["q_proj", "v_proj"])
    tags: list = field(default_factory=list)
    data: str = os.path.join("a", "b")
    length: int = int(os.environ.get("LENGTH", "16"))
    needed: str = field()
    also_needed: str
    _private: int = 3


class Other:
    ignored = 1


def main():
    config = GRPOConfig(max_completion_length=512, temperature=0.9, epsilon=f(), **more)
    config = GRPOConfig(beta=args.beta)
'''


def code(directory: Path, text: str = CONFIGS, name: str = "configs.py", **environ: str) -> Code:
    (directory / name).write_text(text, encoding="utf-8")
    return read_code([directory / name], environ)


def by_name(found: Code, scope: str | None = None) -> dict[str, Setting]:
    return {each.name: each for each in found.settings if scope in {None, each.scope}}


def text_at(directory: Path, setting: Setting, name: str = "configs.py") -> str | None:
    if setting.span is None:
        return None
    return (directory / name).read_bytes()[slice(*setting.span)].decode()


def test_defaults_are_read_with_their_line_their_class_and_their_exact_bytes(
    tmp_path: Path,
) -> None:
    found = by_name(code(tmp_path), "ScriptArguments")
    places = {
        name: (each.value, each.certain, text_at(tmp_path, each)) for name, each in found.items()
    }
    assert places == {
        "seed": (7, True, "7"),
        "max_prompt_length": (1536, True, "1_536"),
        "max_completion_length": (2560, True, "2560"),
        "num_generations": (8, True, None),
        "steps_per_generation": (8, True, None),
        "beta": (-0.04, True, "-0.04"),
        "learning_rate": (6e-6, True, None),
        "target_modules": (["q_proj", "v_proj"], True, '["q_proj", "v_proj"]'),
        "tags": ([], True, None),
        "data": ("os.path.join('a', 'b')", False, None),
        "length": (16, False, None),
    }
    assert (found["seed"].line, found["max_completion_length"].line) == (22, 7)
    assert found["seed"].source.label == "configs.py: ScriptArguments"


def test_what_is_inherited_stands_where_it_is_written_unless_it_is_overridden(
    tmp_path: Path,
) -> None:
    found = by_name(code(tmp_path), "BaseArguments")
    assert set(found) == {"model_name_or_path", "output_dir"}
    assert text_at(tmp_path, found["model_name_or_path"]) == '"Qwen/Qwen3-8B"'
    assert found["output_dir"].value is None


def test_what_the_trainers_class_is_called_with_is_a_setting(tmp_path: Path) -> None:
    found = by_name(code(tmp_path), "GRPOConfig")
    assert {name: (each.value, each.certain) for name, each in found.items()} == {
        "max_completion_length": (512, True),
        "temperature": (0.9, True),
        "epsilon": ("f()", False),
    }, "what is only handed on, as beta is, says nothing"
    assert text_at(tmp_path, found["temperature"]) == "0.9"


def test_python_itself_has_the_same_defaults(tmp_path: Path) -> None:
    text = CONFIGS.replace("from trl import GRPOConfig\n", "")
    text = text.replace("    needed: str = field()\n    also_needed: str\n", "")
    found = by_name(code(tmp_path, text))
    script = "import json, configs; a = configs.ScriptArguments(); print(json.dumps(vars(a)))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, check=True, text=True
    )
    values = ast.literal_eval(done.stdout.replace("null", "None"))
    assert {
        name: values[name]
        for name, each in found.items()
        if each.certain and name in values and each.scope != "GRPOConfig"
    } == {
        name: each.value
        for name, each in found.items()
        if each.certain and each.scope != "GRPOConfig"
    }


def test_bases_in_other_files_are_found_by_the_import(tmp_path: Path) -> None:
    package = tmp_path / "project" / "configs"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from .base import Base\n", encoding="utf-8")
    (package / "base.py").write_text(
        "from dataclasses import dataclass\n@dataclass\nclass Base:\n    seed: int = 3\n",
        encoding="utf-8",
    )
    scripts = tmp_path / "project" / "scripts"
    scripts.mkdir()
    text = "from configs import Base\nclass Mine(Base):\n    beta: float = 0.1\n"
    found = code(scripts, text, "train.py")
    assert [(each.scope, each.name, each.value) for each in found.settings] == [
        ("Base", "seed", 3),
        ("Mine", "beta", 0.1),
    ]
    assert [family.name for family in found.families] == ["Mine"]
    assert {each.source.path for each in found.settings} == {
        scripts / "train.py",
        package / "base.py",
    }


def test_a_base_that_two_bases_share_comes_after_both(tmp_path: Path) -> None:
    text = "class AConfig:\n    seed = 1\n    beta = 1\nclass B(AConfig):\n    pass\n"
    text += "class C(AConfig):\n    seed = 3\nclass D(B, C):\n    pass\n"
    assert by_name(code(tmp_path, text))["seed"].value == 3
    (family,) = code(tmp_path, text).families
    assert [each.name for each in family.lineage] == ["D", "B", "C", "AConfig"]


def test_classes_that_multiply_by_inheritance_take_no_time(tmp_path: Path) -> None:
    lines = ["class C0Config: x = 0", "class C1(C0Config): x = 1"]
    lines += [f"class C{n}(C{n - 1}, C{n - 2}{'Config' * (n == 2)}): x = {n}" for n in range(2, 60)]
    (family,) = code(tmp_path, "\n".join(lines) + "\n").families
    assert family.name == "C59"
    deep = "class AConfig:\n    def __post_init__(self):\n        if " + "x + " * 700 + "1:\n"
    (family,) = code(tmp_path, deep + "            raise E\n").families
    assert follow(family, {}).refusals == []


def test_nothing_is_imported_or_run(tmp_path: Path) -> None:
    target = tmp_path / "made"
    package = tmp_path / "configs"
    package.mkdir()
    touch = f"open({str(target)!r}, 'w').close()\n"
    (package / "__init__.py").write_text(
        touch + "from configs.mine import Mine\n", encoding="utf-8"
    )
    (package / "mine.py").write_text(
        f"{touch}from dataclasses import dataclass\n@dataclass\nclass Mine:\n"
        f"    seed: int = 3\n    made: str = {touch[:-1]}\n"
        f"    def __post_init__(self):\n        {touch}        self.beta = 0.1\n",
        encoding="utf-8",
    )
    found = read_code([package], {})
    assert by_name(found)["seed"].value == 3
    (family,) = found.families
    assert follow(family, {}).computed["beta"].value == Value(0.1)
    assert not target.exists()
    assert "configs" not in sys.modules
    # It would have been made.
    subprocess.run([sys.executable, "-c", "import configs"], cwd=tmp_path, check=True)
    assert target.exists()


RULES = """
from dataclasses import dataclass

class Lengths:
    max_prompt_length: int = 1536
    max_completion_length: int = 2560
    max_seq_length: int = None
    strategy: str = "balanced"
    warmup: float = 0.1

    def __post_init__(self):
{body}
"""


def outcome(directory: Path, body: str, **values: Any) -> Outcome:
    text = RULES.replace("class Lengths", "@dataclass\nclass Lengths").format(
        body=textwrap.indent(textwrap.dedent(body), " " * 8)
    )
    (family,) = code(directory, text).families
    return follow(family, {name: Value(value) for name, value in values.items()})


def computed(found: Outcome) -> dict[str, tuple[Any, bool]]:
    return {name: (c.value.value, c.value.certain) for name, c in found.computed.items()}


SUM = "self.max_seq_length = self.max_prompt_length + self.max_completion_length"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (SUM, {"max_seq_length": (4096, True)}),
        (
            "t = 4096\nif self.max_seq_length is None:\n    self.max_seq_length = t",
            {"max_seq_length": (4096, True)},
        ),
        ("if self.max_seq_length:\n    self.beta = 1", {}),
        ("self.max_prompt_length //= 2", {"max_prompt_length": (768, True)}),
        (
            "if self.strategy == 'a':\n    self.warmup = 1\nelse:\n    self.warmup = int(9.6)",
            {"warmup": (9, True)},
        ),
        ("self.max_seq_length = min(self.max_prompt_length, 512)", {"max_seq_length": (512, True)}),
        (
            "self.max_seq_length = 1 if self.warmup > 0.5 else 2",
            {"max_seq_length": (2, True)},
        ),
        ("self.max_seq_length = tokenizer.model_max_length",
         {"max_seq_length": ("tokenizer.model_max_length", False)}),
        ("if unknown():\n    self.warmup = 0.5", {"warmup": (0.5, False)}),
        ("if unknown():\n    raise E\nelse:\n    self.warmup = 0.5", {"warmup": (0.5, True)}),
        ("if unknown():\n    return\nself.warmup = 0.5", {"warmup": (0.5, False)}),
        ("for x in range(3):\n    self.warmup = x", {"warmup": (0.1, False)}),
        ("try:\n    self.warmup = 1\nexcept ValueError:\n    pass", {"warmup": (0.1, False)}),
        ("return\nself.warmup = 1", {}),
        ("super().__post_init__()\nprint('x')\nself.warmup = 1", {"warmup": (1, True)}),
        ("self.warmup = 9 ** 9 ** 9", {"warmup": ("9 ** 9 ** 9", False)}),
        ("self.warmup = 1 / 0", {"warmup": ("1 / 0", False)}),
    ],
)  # fmt: skip
def test_assignments_of_a_post_init_are_understood(
    tmp_path: Path, body: str, expected: dict[str, Any]
) -> None:
    assert computed(outcome(tmp_path, body)) == expected


def test_what_is_given_takes_the_place_of_a_default(tmp_path: Path) -> None:
    found = outcome(tmp_path, SUM, max_prompt_length=1024)
    assert computed(found) == {"max_seq_length": (3584, True)}


@pytest.mark.parametrize(
    ("body", "length", "rule"),
    [
        (
            "if self.max_prompt_length + self.max_completion_length > 4096:\n    raise ValueError",
            1537,
            "raises if self.max_prompt_length + self.max_completion_length > 4096",
        ),
        (
            "assert self.max_prompt_length <= 1536, 'no'",
            1537,
            "assert self.max_prompt_length <= 1536",
        ),
    ],
)
def test_a_rule_that_raises_is_told_when_it_is_not_kept(
    tmp_path: Path, body: str, length: int, rule: str
) -> None:
    assert outcome(tmp_path, body).refusals == []
    (found,) = outcome(tmp_path, body, max_prompt_length=length).refusals
    assert (found.scope, found.rule) == ("Lengths", rule)


def test_a_rule_that_hangs_on_what_is_not_known_is_not_told(tmp_path: Path) -> None:
    body = "if self.max_prompt_length > limit():\n    raise ValueError\nself.warmup = 1"
    found = outcome(tmp_path, body)
    assert found.refusals == []
    assert computed(found) == {"warmup": (1, True)}, "it goes on, or nothing is trained"


@pytest.mark.parametrize("text", ["def f(:\n", "x = (" * 300, "\0"])
def test_what_is_no_python_is_said(tmp_path: Path, text: str) -> None:
    with pytest.raises(FormatError):
        code(tmp_path, text)


def test_a_byte_order_mark_and_other_line_ends_move_no_place(tmp_path: Path) -> None:
    text = "\ufeffclass AConfig: seed = 3\r\nclass BConfig:\r    beta = 'ü' ; gamma = 4\n"
    (tmp_path / "configs.py").write_bytes(text.encode())
    found = by_name(read_code([tmp_path / "configs.py"], {}))
    assert {name: text_at(tmp_path, each) for name, each in found.items()} == {
        "seed": "3",
        "beta": "'ü'",
        "gamma": "4",
    }


NUMBERS = st.integers(-5, 5) | st.floats(-5, 5).map(lambda x: round(x, 2))
OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "<", "==", "!=", "and", "or", "is", "in"]
LEAVES = (NUMBERS | st.booleans() | st.none()).map(repr) | st.sampled_from(["A", "'x'", "unknown"])
EXPRESSIONS: st.SearchStrategy[str] = st.deferred(
    lambda: st.one_of(
        LEAVES,
        st.tuples(EXPRESSIONS, st.sampled_from(OPERATORS), EXPRESSIONS).map(
            lambda x: f"({' '.join(x)})"
        ),
        st.tuples(EXPRESSIONS, LEAVES, LEAVES).map(lambda x: f"({x[0]} if {x[1]} else {x[2]})"),
        EXPRESSIONS.map("(not {})".format),
        st.lists(LEAVES, max_size=3).map(lambda x: f"[{', '.join(x)}]"),
        st.tuples(st.sampled_from(["max", "min", "int", "abs", "len"]), EXPRESSIONS).map(
            lambda x: f"{x[0]}({x[1]})"
        ),
    )
)


@settings(deadline=None)
@given(text=EXPRESSIONS)
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_what_is_certain_of_an_expression_is_what_python_makes_of_it(text: str) -> None:
    found = evaluate(ast.parse(text, mode="eval").body, Names({"A": Value(3)}))
    if found.certain:
        expected = eval(text, {"A": 3, "unknown": None})  # noqa: S307 - made above, of numbers
        assert repr(found.value) == repr(expected)


FIELDS = st.lists(
    st.tuples(
        st.sampled_from(["seed", "beta", "lä", "x"]),
        st.sampled_from(["{}", "field(default={})", "field(default_factory=lambda: {})", "[{}]"]),
        st.integers(-99, 9999).map(repr) | st.text("aü'\\\n", max_size=5).map(repr)
        | st.sampled_from(["1e-6", "None", "True", "A", "B", "1 + 1", "f()", "-0.5"]),
    ),
    max_size=6,
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(fields=FIELDS)
def test_the_bytes_of_every_place_are_the_default_that_stands_there(
    tmp_path: Path, fields: list[tuple[str, str, str]]
) -> None:
    lines = [f"    {name}: 'ü' = {shape.format(value)}" for name, shape, value in fields]
    text = "A = 'ß'\nB = 2\n@dataclass\nclass Mine:\n" + "\n".join(lines or ["    pass"]) + "\n"
    for each in code(tmp_path, text).settings:
        if each.span is not None:
            assert ast.literal_eval(text_at(tmp_path, each) or "") == each.value


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    text=st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            ["class AConfig:\n", "    x = 1\n", "    def __post_init__(self):\n", "        if x:\n",
             "(", "            raise\n", "        self.x += 1\n", "@dataclass\n", "def f():\n",
             "        return\n", "        self.y = self.x / 0\n", "        assert self.x\n",
             "x = 2\n", "        del self.x\n", "        self.a, self.b = 1, 2\n", "  ",
             "class B(AConfig, B):\n"]
        ),
        max_size=14,
    ).map("".join)
)  # fmt: skip
def test_any_text_is_read_or_refused(tmp_path: Path, text: str) -> None:
    try:
        found = code(tmp_path, text)
    except ResumeDaemonError:
        return
    for family in found.families:
        assert dataclasses.is_dataclass(follow(family, {}))
