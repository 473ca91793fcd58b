from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

import pytest

import resume_daemon
from resume_daemon.catalog import REPORTERS, THEMES, code, codes
from resume_daemon.findings import Code, Severity
from resume_daemon.report.findings_page import page

if TYPE_CHECKING:
    from pathlib import Path


def declared() -> dict[str, list[Code]]:
    """Return every code that any module of the package holds, by module."""
    found: dict[str, list[Code]] = {}
    for module in pkgutil.walk_packages(resume_daemon.__path__, "resume_daemon."):
        # What runs inside a trainer imports the trainer, and reports nothing.
        if not module.name.endswith((".__main__", "integrations.transformers")):
            values = vars(importlib.import_module(module.name)).values()
            if own := [value for value in values if isinstance(value, Code)]:
                found[module.name] = own
    return found


def test_every_code_of_the_package_is_in_the_catalog() -> None:
    for module, values in declared().items():
        for value in values:
            assert codes().get(value.id) is value, f"{module} is not in catalog.REPORTERS"


def test_every_reporter_reports() -> None:
    assert set(REPORTERS) <= set(declared())


def test_ids_are_of_their_theme_and_sorted() -> None:
    assert list(codes()) == sorted(codes())
    for each in codes().values():
        assert each.id.startswith("RD")
        assert len(each.id) == 5
        assert each.id[2] in THEMES
        assert each.id[3:].isdigit()


def test_names_are_slugs_and_no_two_are_the_same() -> None:
    names = [each.name for each in codes().values()]

    assert len(set(names)) == len(names)
    for name in names:
        assert name == name.lower()
        assert name.replace("-", "").isalnum()


def test_every_code_explains_itself() -> None:
    for each in codes().values():
        assert isinstance(each.severity, Severity)
        assert each.title
        assert not each.title.endswith(".")
        assert "\n" not in each.title
        for text in (each.meaning, each.action):
            assert text.strip() == text != ""
            assert text.endswith((".", "?", "`"))


def test_a_code_is_found_by_id_or_name_in_any_case() -> None:
    assert code(" rd201 ") is code("RD201") is code("Weights-Unreadable")
    assert code("RD201") is not None
    assert code("RD000") is None
    assert code("") is None


@pytest.mark.parametrize(
    ("first", "second"),
    [("RD901", "RD901"), ("RD901", "RD902")],
    ids=["id", "name"],
)
def test_two_codes_that_share_an_id_or_a_name_are_refused(
    monkeypatch: pytest.MonkeyPatch, first: str, second: str
) -> None:
    from resume_daemon.checks import presence  # noqa: PLC0415 - changed only here

    names = ("same", "same") if first != second else ("one", "two")
    for number, (identifier, name) in enumerate(zip((first, second), names, strict=True)):
        value = Code(identifier, name, Severity.INFO, "t", "m", "a")
        monkeypatch.setattr(presence, f"_EXTRA_{number}", value, raising=False)
    codes.cache_clear()
    try:
        with pytest.raises(RuntimeError, match="declared twice"):
            codes()
    finally:
        codes.cache_clear()


def test_the_page_of_findings_is_current(repository: Path) -> None:
    assert (repository / "docs" / "findings.md").read_text(encoding="utf-8") == page(), (
        "run `make docs`"
    )


def test_the_page_has_every_code_and_what_to_do() -> None:
    text = page()
    for each in codes().values():
        assert f"### {each.id} {each.name}\n" in text
        assert each.action in text


def test_a_finding_has_the_severity_and_the_hint_of_its_code_unless_told_otherwise() -> None:
    value = Code("RD901", "n", Severity.ERROR, "t", "m", "do this")

    assert value.finding("x", file="f").as_json() == {
        "code": "RD901",
        "severity": "error",
        "file": "f",
        "message": "x",
        "hint": "do this",
    }
    assert value.finding("x" * 10**6).message == "x" * 1000 + "..."
    other = value.finding("x", severity=Severity.INFO, hint="")
    assert (other.severity, other.hint, other.file) == (Severity.INFO, "", None)
