"""What a reader says of a place, an edit changes there, and the same reader reads it back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.parameters.edits.kind import RefusedError
from resume_daemon.parameters.edits.plan import kind_of
from resume_daemon.parameters.edits.splice import replaced
from resume_daemon.parameters.sources.every import read_file

if TYPE_CHECKING:
    from pathlib import Path

    from resume_daemon.parameters.values import Setting

KINDS = {
    "configurations": ".yaml",
    "json": ".json",
    "code": ".py",
    "scripts": ".sh",
    "environment_files": ".env",
}
NAMES = st.sampled_from(
    ["beta", "seed", "max_steps", "max_prompt_length", "max_completion_length", "num_generations"]
)
NUMBERS = st.integers(0, 10**6)
WORDS = st.sampled_from(["cosine", "a b", "größer", "true", "1e-6", "it's", "#7", ""])
VALUES = NUMBERS | st.booleans() | WORDS | st.floats(1e-8, 10, allow_nan=False)
COMMENT = st.sampled_from(["", "  # tokens", "  # it's 5: don't", "  # größer = 7"])
TABLES = st.dictionaries(NAMES, VALUES, min_size=1, max_size=5)


@st.composite
def yaml_files(draw: st.DrawFn) -> str:
    tables = draw(st.dictionaries(st.sampled_from(["a", "training"]), TABLES, min_size=1))
    text = yaml.safe_dump(
        {**tables, **draw(TABLES)},
        default_flow_style=draw(st.sampled_from([None, False, True])),
        default_style=draw(st.sampled_from([None, None, "'", '"'])),
        indent=draw(st.integers(2, 6)),
        allow_unicode=draw(st.booleans()),
        width=10_000,
    )
    return draw(COMMENT).strip() + "\n" + text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))


@st.composite
def json_files(draw: st.DrawFn) -> str:
    return json.dumps(
        {"training": draw(TABLES), **draw(TABLES)},
        indent=draw(st.sampled_from([None, 1, 4, "\t"])),
        ensure_ascii=draw(st.booleans()),
    )


@st.composite
def python_files(draw: st.DrawFn) -> str:
    lines = ["from dataclasses import dataclass, field", "", "@dataclass", "class ScriptConfig:"]
    for name, value in draw(TABLES).items():
        form = draw(st.sampled_from(["{}", "field(default={}, metadata={{'help': '5'}})", "({})"]))
        lines.append(f"    {name}: object = {form.format(repr(value))}{draw(COMMENT)}")
    return "\n".join([*lines, "    n = 1", ""])


def _word(value: Any, quote: str) -> str:
    text = str(value)
    mark = quote or ('"' if not text or set(text) & set(" '#") else "")
    return f"{mark}{text}{mark}" if mark != "'" or "'" not in text else f'"{text}"'


QUOTES = st.sampled_from(["", '"', "'"])


@st.composite
def shell_files(draw: st.DrawFn) -> str:
    lines = ["#!/bin/bash", draw(COMMENT).strip()]
    words = ["python train.py"]
    for name, value in draw(TABLES).items():
        word = _word(value, draw(QUOTES))
        form = draw(st.sampled_from(["flag", "equals", "variable", "exported", "default"]))
        if form == "flag":
            words.append(f"--{name} {word}")
        elif form == "equals":
            words.append(f"--{name}={word}")
        elif form == "exported":
            lines.append(f"export {name.upper()}={word}{draw(COMMENT)}")
        elif form == "default":
            lines.append(f'{name.upper()}="${{{name.upper()}:-{draw(NUMBERS)}}}"')
            words.append(f'--{name} "${name.upper()}"')
        else:
            lines.append(f"{name.upper()}={word}{draw(COMMENT)}")
            words.append(f'--{name} "${{{name.upper()}}}"')
    return "\n".join([*lines, draw(st.sampled_from([" ", " \\\n    "])).join(words), ""])


@st.composite
def environment_files(draw: st.DrawFn) -> str:
    pairs = draw(TABLES).items()
    return "".join(f"{name.upper()}={_word(value, draw(QUOTES))}\n" for name, value in pairs)


FILES = {
    "configurations": yaml_files(),
    "json": json_files(),
    "code": python_files(),
    "scripts": shell_files(),
    "environment_files": environment_files(),
}


def read(kind: str, path: Path) -> list[Setting]:
    field = "configurations" if kind == "json" else kind
    return read_file(field, path, "x", {}, {"beta", "seed"})


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("edited")


@pytest.mark.parametrize("kind", FILES)
@given(data=st.data(), new=NUMBERS)
def test_a_value_that_has_a_place_is_changed_there_and_read_back_alone(
    directory: Path, kind: str, data: st.DataObject, new: int
) -> None:
    path = directory / f"train{KINDS[kind]}"
    content = data.draw(FILES[kind]).encode()
    path.write_bytes(content)
    before = read(kind, path)
    places = [n for n, each in enumerate(before) if each.span is not None and each.certain]
    for number in places:
        setting = before[number]
        try:
            changed = replaced(content, setting, new, kind_of(path, content))
        except RefusedError:
            # Only what is text, or has a tag, may have no place for a number in its manner.
            tagged = setting.span is not None and content[setting.span[0]] == ord("!")
            number_there = isinstance(setting.value, int) and not isinstance(setting.value, bool)
            assert tagged or not number_there, setting
            continue
        path.write_bytes(changed)
        after = read(kind, path)
        assert [plain(each) for n, each in enumerate(after) if n != number] == [
            plain(each) for n, each in enumerate(before) if n != number
        ]
        assert str(after[number].value) == str(new)
        if isinstance(setting.value, int) and not isinstance(setting.value, bool):
            assert after[number].value == new


def plain(setting: Setting) -> Setting:
    """Return a setting without its place, which moves with what stands before it."""
    return replace(setting, span=None)
