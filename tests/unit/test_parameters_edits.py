"""Edits change one value, and every other byte stays what it was."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from blake3 import blake3
from hypothesis import assume, given
from hypothesis import strategies as st

from resume_daemon.errors import FormatError, VanishedError
from resume_daemon.parameters.edits.json_file import JsonFile
from resume_daemon.parameters.edits.kind import Kind, RefusedError
from resume_daemon.parameters.edits.plan import Wish, kind_of, steps_for
from resume_daemon.parameters.edits.python_file import PythonFile
from resume_daemon.parameters.edits.shell_file import ShellFile
from resume_daemon.parameters.edits.splice import replaced
from resume_daemon.parameters.edits.yaml_file import YamlFile
from resume_daemon.parameters.values import Setting, Source, SourceKind

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "max_completion_length"


def setting(data: bytes, text: bytes, value: Any, *, path: Path | None = None) -> Setting:
    """Return the value whose text is marked ``@text@`` by standing there once."""
    assert data.count(text) == 1, text
    begin = data.index(text)
    source = Source(SourceKind.CONFIGURATION, path or Path("/run/x"), "x")
    return Setting(NAME, value, source, line=1, span=(begin, begin + len(text)))


@dataclass(frozen=True)
class Form:
    """How one kind of file holds one number among lines of others."""

    kind: Kind
    before: Callable[[list[str]], str]
    text: Callable[[int], str]
    after: Callable[[list[str]], str]
    read: Callable[[bytes], Any]


def yaml_read(data: bytes) -> Any:
    return yaml.safe_load(data)["training"][NAME]


def python_read(data: bytes) -> Any:
    for node in ast.walk(ast.parse(data)):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == NAME:
            assert node.value is not None
            return ast.literal_eval(node.value)
    raise AssertionError(NAME)


def python_call_read(data: bytes) -> Any:
    for node in ast.walk(ast.parse(data)):
        if isinstance(node, ast.keyword) and node.arg == "default":
            return ast.literal_eval(node.value)
    raise AssertionError(NAME)


def shell_read(data: bytes) -> Any:
    found = re.search(rb"(?m)^export LEN=(['\"]?)(\d+)\1", data)
    assert found is not None
    return int(found[2])


def flag_read(data: bytes) -> Any:
    found = re.search(rb"--max_completion_length[= ](\d+)", data)
    assert found is not None
    return int(found[1])


def comments(lines: list[str], indent: str = "") -> str:
    return "".join(f"{indent}# {line}\n" for line in lines)


FORMS = {
    "yaml": Form(
        YamlFile(),
        lambda c: comments(c) + f"training:   # the part that matters\n    seed: 42\n    {NAME}:  ",
        str,
        lambda c: "   # tokens\n" + comments(c, "    ") + "    tags: [a,   'b']\n",
        yaml_read,
    ),
    "yaml in quotes": Form(
        YamlFile(),
        lambda c: comments(c) + f"training: {{ '{NAME}': ",
        lambda value: f"'{value}'",
        lambda c: ",x:  1}\n" + comments(c),
        lambda data: int(yaml_read(data)),
    ),
    "json": Form(
        JsonFile(),
        lambda c: json.dumps({"notes": c}, indent=3)[:-1] + f',\n\t"{NAME}" :  ',
        str,
        lambda c: ' ,"last":' + json.dumps(c, ensure_ascii=False) + "}",
        lambda data: json.loads(data)[NAME],
    ),
    "dataclass": Form(
        PythonFile(),
        lambda c: comments(c) + f"@dataclass\nclass ScriptConfig:\n    {NAME}: int   =   ",
        str,
        lambda c: "  # tokens\n" + comments(c, "    ") + "    seed: int = 42\n",
        python_read,
    ),
    "field": Form(
        PythonFile(),
        lambda c: comments(c) + f"class ScriptConfig:\n    {NAME}: int = field(\n        default=",
        lambda value: f"{value:_}",
        lambda c: f',\n        metadata={{"help": {c!a}}},\n    )\n',
        python_call_read,
    ),
    "shell": Form(
        ShellFile(),
        lambda c: "#!/bin/bash\n" + comments(c) + "set -e; export LEN=",
        str,
        lambda c: "   # tokens\n" + comments(c) + 'python train.py --len "$LEN" \\\n  --seed 42\n',
        lambda data: shell_read(data.replace(b"; export", b"\nexport")),
    ),
    "shell in quotes": Form(
        ShellFile(),
        lambda c: comments(c) + "export LEN=",
        lambda value: f'"{value}"',
        lambda c: "\n" + comments(c),
        shell_read,
    ),
    "flag": Form(
        ShellFile(),
        lambda c: comments(c) + f"torchrun train.py \\\n    --{NAME} ",
        str,
        lambda c: " \\\n    --beta 0.04 &>> log\n" + comments(c),
        flag_read,
    ),
    "flag with an equals sign": Form(
        ShellFile(),
        lambda c: comments(c) + f"torchrun train.py --{NAME}=",
        str,
        lambda c: " --beta=0.04\n" + comments(c),
        flag_read,
    ),
}

LINES = st.lists(
    st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")), max_size=20), max_size=3
)
LENGTHS = st.integers(1, 10**6)


@pytest.mark.parametrize("name", FORMS)
@given(lines=LINES, old=LENGTHS, new=LENGTHS, crlf=st.booleans(), mark=st.booleans())
def test_one_value_changes_and_every_other_byte_stays(
    name: str, lines: list[str], old: int, new: int, *, crlf: bool, mark: bool
) -> None:
    form = FORMS[name]
    before, after = form.before(lines), form.after(lines)
    if crlf and name not in {"flag", "shell"}:
        before, after = before.replace("\n", "\r\n"), after.replace("\n", "\r\n")
    # PyYAML takes no byte order mark but at the very beginning, and a shell none at all.
    head = ("\ufeff" if mark and not isinstance(form.kind, ShellFile) else "") + before
    assume("\ufeff" not in head[1:] + after)
    data = (head + form.text(old) + after).encode()
    begin = len(head.encode())
    span = (begin, begin + len(form.text(old).encode()))
    source = Source(SourceKind.CONFIGURATION, Path("/run/x"), "x")

    changed = replaced(data, Setting(NAME, old, source, span=span), new, form.kind)

    assert changed.startswith(head.encode())
    assert changed.endswith(after.encode())
    assert form.read(changed.removeprefix("\ufeff".encode())) == new
    # Once more gives the same.
    end = len(changed) - len(after.encode())
    again = Setting(NAME, new, source, span=(begin, end))
    assert replaced(changed, again, new, form.kind) == changed
    if new != old:
        middle = changed[begin:end].decode()
        quoted = form.text(old)[0] in "'\""
        assert (middle[0] in "'\"") is quoted


@given(st.binary(max_size=60), st.integers(0, 60), st.integers(0, 60), st.sampled_from(["y", 7]))
def test_whatever_the_bytes_and_the_span_only_the_span_changes_or_it_is_refused(
    data: bytes, begin: int, length: int, old: Any
) -> None:
    source = Source(SourceKind.CONFIGURATION, Path("/run/x"), "x")
    wrong = Setting(NAME, old, source, span=(begin, begin + length))
    for kind in (YamlFile(), JsonFile(), PythonFile(), ShellFile()):
        try:
            changed = replaced(data, wrong, 8, kind)
        except RefusedError:
            continue
        assert changed.startswith(data[:begin])
        assert changed.endswith(data[begin + length :])


REFUSALS: dict[str, tuple[Kind, bytes, bytes, Any]] = {
    "an anchor that is referred to": (
        YamlFile(),
        b"max: &m 2561\nother: *m\n",
        b"2561",
        2561,
    ),
    "a key that stands twice": (YamlFile(), b"max: 2561\nmax: 7\n", b"2561", 2561),
    "a block": (YamlFile(), b"max: |\n  2561\n", b"|\n  2561\n", "2561\n"),
    "a tag": (YamlFile(), b"max: !!int 2561\n", b"!!int 2561", 2561),
    "yaml that is not": (YamlFile(), b"max: 2561\n\t- [\n", b"2561", 2561),
    "a comment": (YamlFile(), b"max: 1 # 2561\n", b"2561", 2561),
    "json with a key twice": (JsonFile(), b'{"m": 2561, "m": 7}', b"2561", 2561),
    "json that is not": (JsonFile(), b'{"m": 2561,}', b"2561", 2561),
    "another value than was read": (JsonFile(), b'{"m": 2561}', b"2561", 2500),
    "a part of a value": (JsonFile(), b'{"m": 2561}', b"561", 561),
    "a sum": (PythonFile(), b"m = 4096 - 1535\n", b"4096 - 1535", 2561),
    "a call": (PythonFile(), b"m = int(2561)\n", b"int(2561)", 2561),
    "a name": (PythonFile(), b"m = LENGTH\n", b"LENGTH", 2561),
    "text in two pieces": (PythonFile(), b"m = 'a' 'b'\n", b"'a' 'b'", "ab"),
    "a formatted text": (PythonFile(), b"m = f'{x}'\n", b"f'{x}'", "x"),
    "python that is not": (PythonFile(), b"m = 2561\nclass:\n", b"2561", 2561),
    "a variable": (ShellFile(), b'LEN="$MAX"\n', b'"$MAX"', 2561),
    "arithmetic": (ShellFile(), b"LEN=$((4096-1))\n", b"$((4096-1))", 4095),
    "a comment of a script": (ShellFile(), b"LEN=1 # 2561\n", b"2561", 2561),
    "a document in a script": (ShellFile(), b"cat <<EOF\nLEN=2561\nEOF\n", b"2561", 2561),
    "a quotation without end": (ShellFile(), b"LEN=2561\necho 'x\n", b"2561", 2561),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_changed_alone_is_refused(name: str) -> None:
    kind, data, text, value = REFUSALS[name]
    with pytest.raises(RefusedError):
        replaced(data, setting(data, text, value), 2560, kind)


def test_a_value_that_is_computed_at_the_start_is_refused() -> None:
    data = b'{"m": 2561}'
    computed = replace(setting(data, b"2561", 2561), certain=False)
    with pytest.raises(RefusedError, match="computed"):
        replaced(data, computed, 2560, JsonFile())
    with pytest.raises(RefusedError, match="not written there"):
        replaced(data, replace(computed, certain=True, span=None), 2560, JsonFile())


def test_a_default_inside_an_expansion_is_changed_in_place() -> None:
    data = b'LEN="${LEN:-2561}"\n'
    changed = replaced(data, setting(data, b"2561", 2561), 2560, ShellFile())
    assert changed == b'LEN="${LEN:-2560}"\n'


@pytest.mark.parametrize(
    ("kind", "data", "text", "values", "expected"),
    [
        (YamlFile(), b"x: yes\n", b"yes", (True, False), b"x: no\n"),
        (YamlFile(), b"x: True\n", b"True", (True, False), b"x: False\n"),
        (YamlFile(), b"x: 0.04\n", b"0.04", (0.04, 1e-05), b"x: 1.0e-05\n"),
        (YamlFile(), b"x: 6e-6\n", b"6e-6", (6e-06, 1e-05), b"x: 1.0e-05\n"),
        (ShellFile(), b"X=6e-6\n", b"6e-6", (6e-06, 1e-05), b"X=1e-05\n"),
        (YamlFile(), b"x: abc\n", b"abc", ("abc", "yes"), b"x: 'yes'\n"),
        (YamlFile(), b"x: abc\n", b"abc", ("abc", "it's: #1"), b"x: 'it''s: #1'\n"),
        (YamlFile(), b'x: "abc"\n', b'"abc"', ("abc", 'a"b'), b'x: "a\\"b"\n'),
        (YamlFile(), b"x: 5\n", b"5", (5, None), b"x: null\n"),
        (JsonFile(), b'{"x": true}', b"true", (True, False), b'{"x": false}'),
        (JsonFile(), b'{"x": "abc"}', b'"abc"', ("abc", "\xe4"), '{"x": "ä"}'.encode()),
        (PythonFile(), b"x = 'abc'\n", b"'abc'", ("abc", "def"), b"x = 'def'\n"),
        (PythonFile(), b"x = -1\n", b"-1", (-1, -2), b"x = -2\n"),
        (PythonFile(), b"x = True\n", b"True", (True, False), b"x = False\n"),
        (ShellFile(), b"X='a b'\n", b"'a b'", ("a b", "c d"), b"X='c d'\n"),
        (ShellFile(), b'C="t.py --x 5 --y=6"\n', b"5", (5, 7), b'C="t.py --x 7 --y=6"\n'),
        (ShellFile(), b'C="t.py --x 5 --y=6"\n', b"6", (6, 7), b'C="t.py --x 5 --y=7"\n'),
        (ShellFile(), b"X=true\n", b"true", ("true", False), b"X=false\n"),
    ],
)
def test_values_are_written_in_the_manner_of_the_file(
    kind: Kind, data: bytes, text: bytes, values: tuple[Any, Any], expected: bytes
) -> None:
    old, new = values
    assert replaced(data, setting(data, text, old), new, kind) == expected


@pytest.mark.parametrize(
    ("kind", "data", "text", "old", "new"),
    [
        (ShellFile(), b"X=abc\n", b"abc", "abc", "a b"),
        (ShellFile(), b'X="abc"\n', b'"abc"', "abc", "$(rm -rf /)"),
        (ShellFile(), b"X=abc\n", b"abc", "abc", None),
        (PythonFile(), b"x = 'abc'\n", b"'abc'", "abc", "it's"),
        (PythonFile(), b"x = 'abc'\n", b"'abc'", "abc", [1]),
        (JsonFile(), b'{"x": 1}', b"1", 1, [1]),
    ],
)
def test_a_value_that_has_no_place_there_is_refused(
    kind: Kind, data: bytes, text: bytes, old: Any, new: Any
) -> None:
    with pytest.raises(RefusedError):
        replaced(data, setting(data, text, old), new, kind)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.yaml", b"", YamlFile),
        ("a.YML", b"", YamlFile),
        ("a.json", b"", JsonFile),
        ("a.py", b"", PythonFile),
        ("a.sh", b"", ShellFile),
        (".env", b"", ShellFile),
        (".env.local", b"", ShellFile),
        ("train", b"#!/usr/bin/env bash\n", ShellFile),
        ("train", b"#!/usr/bin/python3\n", PythonFile),
    ],
)
def test_the_kind_of_a_file_is_told_by_its_name_or_first_line(
    name: str, content: bytes, kind: type
) -> None:
    assert isinstance(kind_of(Path(name), content), kind)


def test_another_kind_of_file_is_not_edited() -> None:
    with pytest.raises(RefusedError):
        kind_of(Path("config.toml"), b"x = 1\n")


def test_values_of_one_file_make_one_step(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    data = b"max_prompt_length: 1500  # short\nmax_completion_length: 25610\n"
    path.write_bytes(data)
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    (step,) = steps_for(
        [
            Wish(setting(data, b"1500", 1500, path=link), 10240),
            Wish(setting(data, b"25610", 25610, path=link), 3),
        ]
    )
    assert step.target == path.resolve()
    assert step.before == blake3(data).hexdigest()
    assert step.content == b"max_prompt_length: 10240  # short\nmax_completion_length: 3\n"
    assert "set max_completion_length from 25610 to 3 in x line 1" in step.sentence
    assert path.read_bytes() == data


def test_a_value_that_is_there_already_needs_no_step(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_bytes(b'{"m": 5}')
    assert steps_for([Wish(setting(b'{"m": 5}', b"5", 5, path=path), 5)]) == ()


def test_a_refusal_names_the_file_and_what_to_do_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "config.py"
    path.write_bytes(b"m = 4096 - 1535\n")
    wish = Wish(setting(b"m = 4096 - 1535\n", b"4096 - 1535", 2561, path=path), 2560)
    with pytest.raises(FormatError, match="computed") as caught:
        steps_for([wish])
    assert str(path) in str(caught.value)
    assert "set it to 2560" in str(caught.value)


def test_a_file_that_is_gone_and_a_variable_of_the_environment_are_told(tmp_path: Path) -> None:
    gone = setting(b"m: 1", b"1", 1, path=tmp_path / "gone.yaml")
    with pytest.raises(VanishedError):
        steps_for([Wish(gone, 2)])
    variable = replace(gone, source=Source(SourceKind.ENVIRONMENT, None, "environment"))
    with pytest.raises(FormatError, match="environment"):
        steps_for([Wish(variable, 2)])


def test_yaml_that_repeats_itself_without_end_is_refused_soon() -> None:
    lines = [b"a0: &a0 [x, x]"] + [
        b"a%d: &a%d [*a%d, *a%d, *a%d, *a%d]" % (n, n, n - 1, n - 1, n - 1, n - 1)
        for n in range(1, 30)
    ]
    data = b"\n".join([*lines, b"m: 2561\n"])
    with pytest.raises(RefusedError, match="more than"):
        replaced(data, setting(data, b"2561", 2561), 2560, YamlFile())
