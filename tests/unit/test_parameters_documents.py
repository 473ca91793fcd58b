"""Values of YAML, JSON and environment files, with the exact place of each."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resume_daemon.errors import FormatError, ResumeDaemonError
from resume_daemon.parameters.sources.env_file import read_environment_file
from resume_daemon.parameters.sources.environment import read_environment
from resume_daemon.parameters.sources.json_file import read_json_settings
from resume_daemon.parameters.sources.yaml_file import read_yaml_settings
from resume_daemon.parameters.values import Setting, Source, SourceKind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

READERS = {
    "train.yaml": read_yaml_settings,
    "train.json": read_json_settings,
    "train.env": read_environment_file,
}

YAML = """\
# Zahlen für den Lauf: ü
max_seq_length: 4096   # of the model
lr: 1e-6
training: {beta: 0.04, "seed": 42}
'quoted': "two words"
lora:
  target_modules: [q_proj, v_proj]
  block:
    - a
    - b
on: yes
prompt: |
  a long
  text
empty:
"""


def read(directory: Path, name: str, content: str | bytes) -> list[Setting]:
    path = directory / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return READERS[name](path, Source(SourceKind.CONFIGURATION, path, name))


def by_name(found: list[Setting]) -> dict[str, Setting]:
    return {each.name: each for each in found}


def text_at(directory: Path, name: str, setting: Setting) -> str:
    assert setting.span is not None
    begin, end = setting.span
    return (directory / name).read_bytes()[begin:end].decode()


def test_yaml_values_come_with_their_line_their_keys_and_their_exact_bytes(tmp_path: Path) -> None:
    found = by_name(read(tmp_path, "train.yaml", YAML))
    length = found["max_seq_length"]
    assert (length.value, length.line, length.scope) == (4096, 2, "")
    assert text_at(tmp_path, "train.yaml", length) == "4096"
    assert found["lr"].value == 1e-6, "what YAML 1.1 takes for text is the number that was meant"
    assert (found["beta"].value, found["beta"].scope) == (0.04, "training")
    assert text_at(tmp_path, "train.yaml", found["seed"]) == "42"
    assert text_at(tmp_path, "train.yaml", found["quoted"]) == '"two words"'
    assert found["target_modules"].value == ["q_proj", "v_proj"]
    assert text_at(tmp_path, "train.yaml", found["target_modules"]) == "[q_proj, v_proj]"
    assert found["block"].value == ["a", "b"]
    assert found["prompt"].value == "a long\ntext\n"
    assert found["on"].value is True
    assert found["empty"].value is None
    for name in ("block", "prompt", "empty"):
        assert found[name].span is None, "no text that could be replaced alone"


def test_a_yaml_value_that_stands_for_several_has_no_place_of_its_own(tmp_path: Path) -> None:
    text = "base: &b {beta: 0.1, seed: 1}\nrun: {<<: *b, seed: &s 2}\nother: *s\n"
    found = read(tmp_path, "train.yaml", text)
    assert [(s.scope, s.name, s.value) for s in found] == [
        ("base", "beta", 0.1),
        ("base", "seed", 1),
        ("run", "beta", 0.1),
        ("run", "seed", 1),
        ("run", "seed", 2),
        ("", "other", 2),
    ]
    assert all(each.span is None for each in found)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "line 2: "),
        ("- a\n", "it is no table of names and values"),
        ("a: !!python/object/apply:os.system [x]\nb: [" + "[" * 40, ""),
        (b"a: \xff\n", "line 1 is not UTF-8 text"),
        ("a: 1\0", "zero bytes"),
        ("a: *nobody", "undefined alias"),
    ],
)
def test_what_is_no_yaml_configuration_is_said(
    tmp_path: Path, text: str | bytes, reason: str
) -> None:
    with pytest.raises(FormatError, match=r"read the configuration|read the YAML") as raised:
        read(tmp_path, "train.yaml", text)
    assert reason in str(raised.value)


def test_aliases_that_would_expand_to_billions_are_refused(tmp_path: Path) -> None:
    lines = ["l0: &l0 {a: 1, b: 2}"]
    lines += [
        f"l{n}: &l{n} {{{', '.join(f'k{k}: *l{n - 1}' for k in range(9))}}}" for n in range(1, 9)
    ]
    with pytest.raises(FormatError, match="aliases expanded"):
        read(tmp_path, "train.yaml", "\n".join(lines))


def test_a_python_tag_is_no_value_and_makes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "made"
    text = f"a: !!python/object/apply:pathlib.Path.touch [{target}]\n"
    text += "b: !!python/name:os.system ''\nc: 1\n"
    assert [each.name for each in read(tmp_path, "train.yaml", text)] == ["c"]
    assert not target.exists()


def test_json_values_come_with_their_line_their_keys_and_their_exact_bytes(tmp_path: Path) -> None:
    text = '{\n\t"ä": "ü",\n\t"lengths" : {"max_seq_length":4096 , "list": [1, 2]},\n'
    text += '\t"no": null, "t": [{}]}\n'
    found = by_name(read(tmp_path, "train.json", text))
    length = found["max_seq_length"]
    assert (length.value, length.line, length.scope) == (4096, 3, "lengths")
    assert text_at(tmp_path, "train.json", length) == "4096"
    assert text_at(tmp_path, "train.json", found["ä"]) == '"ü"'
    assert text_at(tmp_path, "train.json", found["list"]) == "[1, 2]"
    assert found["no"].value is None
    assert "t" not in found


@pytest.mark.parametrize(
    "text", ["", "[1]", '{"a": 1', "{" * 5000, '{"a":' * 200 + "1" + "}" * 200]
)
def test_what_is_no_json_configuration_is_said(tmp_path: Path, text: str) -> None:
    with pytest.raises(FormatError):
        read(tmp_path, "train.json", text)


def test_an_environment_file_is_read_as_systemd_and_docker_read_it(tmp_path: Path) -> None:
    text = (
        "# comment\n; another\nMAX_SEQ_LENGTH=4096\nexport LR='1e-6' # why\n"
        'NAME="a b"\nHALF=a#b\nOTHER=$HOME/x\nBAD LINE\nEMPTY=\n'
    )
    found = by_name(read(tmp_path, "train.env", text))
    assert found["MAX_SEQ_LENGTH"].value == 4096
    assert found["MAX_SEQ_LENGTH"].line == 3
    assert (found["LR"].value, text_at(tmp_path, "train.env", found["LR"])) == (1e-6, "'1e-6'")
    assert (found["NAME"].value, found["HALF"].value) == ("a b", "a#b")
    assert found["OTHER"].certain is False, "one reader expands it and another does not"
    assert found["EMPTY"].value == ""
    assert set(found) == {"MAX_SEQ_LENGTH", "LR", "NAME", "HALF", "OTHER", "EMPTY"}


def test_of_an_environment_only_parameters_are_taken() -> None:
    environ = {"PATH": "/bin", "MAX_SEQ_LENGTH": "4096", "HOME": "/root"}
    (found,) = read_environment(environ, {"max_seq_length"})
    assert (found.value, found.source.kind, found.source.path) == (
        4096,
        SourceKind.ENVIRONMENT,
        None,
    )


@pytest.mark.parametrize("name", READERS)
def test_a_directory_or_a_pipe_is_no_configuration(tmp_path: Path, name: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe, tmp_path / "gone"):
        with pytest.raises(ResumeDaemonError):
            READERS[name](path, Source(SourceKind.CONFIGURATION, path, name))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abcdé_", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)
TABLES = st.dictionaries(st.text("abcdé_", min_size=1, max_size=4), VALUES, max_size=4)
DUMPS: dict[str, Callable[[Any], str]] = {
    "train.json": lambda table: json.dumps(table, indent=1, ensure_ascii=False),
    "train.yaml": lambda table: yaml.safe_dump(table, allow_unicode=True),
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(table=TABLES, name=st.sampled_from(sorted(DUMPS)))
def test_the_bytes_of_every_place_are_the_value_that_stands_there(
    tmp_path: Path, table: dict[str, Any], name: str
) -> None:
    for setting in read(tmp_path, name, DUMPS[name](table)):
        if setting.span is not None:
            # YAML takes 5e-324 for text, since it has no point, and JSON does not.
            parse = json.loads if name.endswith(".json") else yaml.safe_load
            assert parse(text_at(tmp_path, name, setting)) == setting.value
        inner: Any = table
        for key in filter(None, setting.scope.split(".")):
            inner = inner[key]
        assert inner[setting.name] == setting.value


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=60) | st.text("{}[]:,\"'-&*!|>#a1 \n\t\\<").map(str.encode))
@pytest.mark.parametrize("name", READERS)
def test_whatever_a_file_holds_it_is_read_or_refused_in_a_sentence(
    tmp_path: Path, name: str, content: bytes
) -> None:
    try:
        found = read(tmp_path, name, content)
    except ResumeDaemonError:
        return
    for setting in found:
        if setting.span is not None:
            assert text_at(tmp_path, name, setting)
