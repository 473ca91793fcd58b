from __future__ import annotations

import itertools
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from resume_daemon.errors import FormatError, VanishedError
from resume_daemon.formats import yaml_document
from resume_daemon.formats.inert_values import How, Reference
from resume_daemon.formats.yaml_document import read_yaml

if TYPE_CHECKING:
    from pathlib import Path

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inside: st.lists(inside, max_size=5) | st.dictionaries(TEXT, inside, max_size=5),
    max_leaves=20,
)


def value_of(text: str, tmp_path: Path) -> Any:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path).value


def reason_of(text: str, tmp_path: Path) -> str:
    with pytest.raises(FormatError) as caught:
        value_of(text, tmp_path)
    return caught.value.reason


@given(VALUES, st.sampled_from([None, True, False]))
def test_every_value_comes_back(
    tmp_path_factory: pytest.TempPathFactory, value: Any, flow: bool | None
) -> None:
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)
    assert value_of(text, tmp_path_factory.getbasetemp()) == value


@given(st.binary(max_size=200) | st.text("{}[]:-&*!?|>'\"%@ \n\tab1", max_size=80).map(str.encode))
def test_random_bytes_raise_nothing_but_a_format_error(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.yaml"
    path.write_bytes(noise)
    with suppress(FormatError):
        read_yaml(path)


@given(st.text("{}[]:-&*'\" \nab1", max_size=40))
def test_what_the_safe_loader_reads_is_read_the_same(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    try:
        expected = yaml.safe_load(text)
    except Exception:  # noqa: BLE001 - whatever the library raises, ours must not pass it on.
        with suppress(FormatError):
            value_of(text, tmp_path_factory.getbasetemp())
        return
    with suppress(FormatError):
        assert value_of(text, tmp_path_factory.getbasetemp()) == expected


def test_a_configuration_with_aliases_is_read(tmp_path: Path) -> None:
    text = "a: &x {lr: 1.0e-5, on: yes, n: 1_000}\nb: *x\nc: [*x, ~, 2024-01-01]\n"
    table = {"lr": 1e-5, True: True, "n": 1000}
    assert value_of(text, tmp_path) == {"a": table, "b": table, "c": [table, None, "2024-01-01"]}


def test_aliases_do_not_multiply(tmp_path: Path) -> None:
    names = "abcdefghij"
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for before, name in itertools.pairwise(names):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    assert "holds more than 100000 values, its aliases expanded" in reason_of(
        "\n".join(lines), tmp_path
    )


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: *a}", "a: &a 1\nb: &a [*a]"])
def test_nothing_contains_itself(text: str, tmp_path: Path) -> None:
    assert "stands for nothing before it" in reason_of(text, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 500_000,
        "{" * 500_000,
        "- " * 300_000,
        "? " * 300_000,
        "&a " * 300_000,
        "a: " + "1:" * 400_000 + "1",
        "a: " + "1" * 900_000,
        "- a\n" * 200_000,
        "a: 0x" + "f" * 900_000,
        "'" * 900_001,
        "#" * 900_000,
    ],
    ids=range(11),
)
def test_no_document_takes_long(text: str, tmp_path: Path) -> None:
    begin = time.process_time()
    with suppress(FormatError):
        value_of(text, tmp_path)
    assert time.process_time() - begin < 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty"),
        ("a: 1\nb: [1, 2", "expected ',' or ']'"),
        ("a: b: c", "line 1 column 5: mapping values are not allowed"),
        ("a: 1\n---\nb: 2", "a second document follows"),
        ("{[a]: 1}", "a key is a list or a table"),
        ("a: !!int x", "'x' is no int"),
        ("- " * 70 + "a", "nested deeper than 64 levels"),
    ],
)
def test_what_is_wrong_is_said(text: str, words: str, tmp_path: Path) -> None:
    assert words in reason_of(text, tmp_path)


def test_what_an_unsafe_loader_would_do_is_named_and_not_done(tmp_path: Path) -> None:
    path = tmp_path / "hparams.yaml"
    path.write_text(
        "a: !!python/object/apply:os.system ['true']\n"
        "b: !!python/object:argparse.Namespace {x: 1}\n"
        "c: !!python/object/new:collections.Counter []\n"
        "d: !!python/name:torch.float32 ''\n"
        "e: !!python/module:subprocess ''\n"
        "f: !!python/tuple [1, 2]\n"
    )
    content = read_yaml(path)
    assert content.value["a"] == ["true"]
    assert content.value["b"] == {"x": 1}
    assert content.references == (
        Reference("os", "system", How.CALL),
        Reference("argparse", "Namespace", How.NEW),
        Reference("collections", "Counter", How.NEW),
        Reference("torch", "float32", How.MENTION),
        Reference("subprocess", "*", How.MENTION),
    )


def test_a_document_beyond_the_limit_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yaml_document, "YAML_LIMIT", 5)
    assert "more than 5 are not read" in reason_of("a: 12345", tmp_path)


def test_a_missing_document_is_gone_and_not_damaged(tmp_path: Path) -> None:
    with pytest.raises(VanishedError):
        read_yaml(tmp_path / "none.yaml")
