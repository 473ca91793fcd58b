"""Packages of the trainer's interpreter, found and judged by files alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from resume_daemon.doctor.combinations import KNOWN, met
from resume_daemon.doctor.dependencies import PACKAGES, DependencyFacts, check
from resume_daemon.doctor.distributions import installed_in
from resume_daemon.doctor.interpreter import default_interpreter, named_interpreter
from resume_daemon.errors import UsageError
from tests.packages import FITTING, site_of, write_environment, write_interpreter, write_package

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resume_daemon.findings import Finding

NEEDED = dict.fromkeys(("torch", "transformers", "trl"), "the run was trained with it")


def findings(
    python: Path,
    environ: Mapping[str, str] | None = None,
    *,
    needed: Mapping[str, str] = NEEDED,
    settings: tuple[str, ...] = (),
    written_with: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Return what is said of an interpreter's packages."""
    found = named_interpreter(python, environ or {})
    facts = DependencyFacts(
        interpreter=found,
        installed=installed_in(found.directories, frozenset(PACKAGES)),
        needed=needed,
        settings=settings,
        platform={"python_version": found.version or ""},
        written_with=written_with,
    )
    return list(check(facts))


def codes(found: list[Finding]) -> list[str]:
    return [each.code for each in found]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_interpreter(tmp_path / "base")


def test_packages_that_fit_give_no_finding(tmp_path: Path, base: Path) -> None:
    python = write_environment(tmp_path / "venv", base, FITTING)
    assert findings(python) == []
    assert findings(tmp_path / "venv") == []


def test_a_missing_package_is_an_error_that_says_why_it_is_needed(
    tmp_path: Path, base: Path
) -> None:
    without = {name: version for name, version in FITTING.items() if name != "trl"}
    python = write_environment(tmp_path / "venv", base, without)
    (found,) = findings(python)
    assert (found.code, found.severity.value) == ("RD836", "error")
    assert found.message == (f"trl is not installed for {python}: the run was trained with it.")


def test_what_the_base_installation_has_counts_only_where_the_environment_sees_it(
    tmp_path: Path, base: Path
) -> None:
    for name in NEEDED:
        write_package(site_of(tmp_path / "base"), name, FITTING[name])
    closed = write_environment(tmp_path / "closed", base)
    opened = write_environment(tmp_path / "opened", base, system=True)
    assert codes(findings(closed)) == ["RD836"] * 3
    assert findings(opened) == []
    assert findings(base) == []


def test_the_users_own_packages_count_outside_of_an_environment_alone(
    tmp_path: Path, base: Path
) -> None:
    environ = {"HOME": str(tmp_path / "home")}
    for name in NEEDED:
        write_package(tmp_path / "home/.local/lib/python3.11/site-packages", name, FITTING[name])
    assert findings(base, environ) == []
    assert len(findings(base, environ | {"PYTHONNOUSERSITE": "1"})) == 3
    assert len(findings(write_environment(tmp_path / "venv", base), environ)) == 3


def test_the_first_on_the_path_counts(tmp_path: Path, base: Path) -> None:
    python = write_environment(tmp_path / "venv", base, {"torch": "2.13.0", "numpy": "2.4.6"})
    write_package(tmp_path / "mine", "torch", "2.2.0")
    (found,) = findings(python, {"PYTHONPATH": str(tmp_path / "mine")}, needed={})
    assert found.code == "RD838"
    assert found.message.startswith("torch 2.2.0, numpy 2.4.6: ")


def test_path_files_are_followed_and_their_code_is_not_run(tmp_path: Path, base: Path) -> None:
    python = write_environment(tmp_path / "venv", base)
    for name in NEEDED:
        write_package(tmp_path / "elsewhere", name, FITTING[name])
    marker = tmp_path / "it ran"
    site = site_of(tmp_path / "venv")
    (site / "mine.pth").write_text(f"# mine\n{tmp_path / 'elsewhere'}\n", encoding="utf-8")
    code = f"import os; open({str(marker)!r}, 'w').close()\n"
    (site / "code.pth").write_text(code, encoding="utf-8")
    (site / "sitecustomize.py").write_text(code, encoding="utf-8")
    assert findings(python) == []
    assert named_interpreter(python, {}).code_lines == 1
    assert not marker.exists()


def test_debian_keeps_packages_in_two_places(tmp_path: Path) -> None:
    python = write_interpreter(tmp_path / "usr")
    write_package(tmp_path / "usr/lib/python3/dist-packages", "torch", "2.13.0")
    write_package(tmp_path / "usr/local/lib/python3.11/dist-packages", "trl", "1.16.0")
    assert findings(python, needed=dict.fromkeys(("torch", "trl"), "it is used")) == []


def test_a_shim_of_pyenv_leads_to_the_version_that_is_chosen(tmp_path: Path) -> None:
    root = tmp_path / "pyenv"
    write_interpreter(root / "versions" / "3.11.7")
    write_package(site_of(root / "versions" / "3.11.7"), "torch", "2.13.0")
    (root / "shims").mkdir()
    shim = root / "shims" / "python3"
    shim.write_text("#!/bin/sh\nexec pyenv exec python3\n", encoding="utf-8")
    shim.chmod(0o755)
    (root / "version").write_text("3.11.7\n", encoding="utf-8")
    found = default_interpreter({"PATH": str(root / "shims")})
    assert found is not None
    assert found.version == "3.11"
    assert found.path == root / "versions" / "3.11.7" / "bin" / "python3"
    assert "torch" in installed_in(found.directories, frozenset()).first


def test_a_guess_without_torch_is_said_to_be_one_and_nothing_more(
    tmp_path: Path, base: Path
) -> None:
    write_package(site_of(tmp_path / "base"), "numpy", "2.4.6")
    found = default_interpreter({"PATH": str(base.parent)})
    assert found is not None
    there = installed_in(found.directories, frozenset())
    facts = DependencyFacts(found, there, NEEDED, believed=False)
    (said,) = check(facts)
    assert (said.code, said.severity.value) == ("RD840", "info")
    nothing = DependencyFacts(None, installed_in((), frozenset()), NEEDED, believed=False)
    assert [each.message for each in check(nothing)] == ["There is no python on PATH."]


@pytest.mark.parametrize("name", ["nowhere/python", "empty"])
def test_what_is_no_interpreter_is_wrong_usage(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="there is no interpreter"):
        named_interpreter(tmp_path / name, {})


def test_an_unmet_requirement_is_said_with_both_versions(tmp_path: Path, base: Path) -> None:
    python = write_environment(tmp_path / "venv", base, {"tokenizers": "0.20.0"})
    site = site_of(tmp_path / "venv")
    write_package(site, "torch", "2.13.0")
    wanted = [
        "tokenizers<0.24.0,>=0.23.1",
        "safetensors>=0.8.0",
        "sentencepiece; extra == 'sentencepiece'",
        "tomli; python_version < '3.11'",
        "this is no requirement at all ][",
    ]
    write_package(site, "transformers", "5.24.0", wanted)
    said = findings(python, needed={})
    assert codes(said) == ["RD837", "RD837"]
    assert said[0].message == (
        "transformers 5.24.0 asks for tokenizers<0.24.0,>=0.23.1; 0.20.0 is installed."
    )
    assert said[1].message == (
        "transformers 5.24.0 asks for safetensors>=0.8.0, which is not installed."
    )


def test_the_metadata_of_an_update_that_was_cut_off_is_seen(tmp_path: Path, base: Path) -> None:
    python = write_environment(tmp_path / "venv", base, {"torch": "2.12.0"})
    write_package(site_of(tmp_path / "venv"), "torch", "2.13.0")
    (said,) = findings(python, needed={})
    assert said.code == "RD839"
    assert said.message.startswith("torch 2.12.0 and 2.13.0 in ")


def test_metadata_that_is_no_text_leaves_the_version_of_the_name(
    tmp_path: Path, base: Path
) -> None:
    python = write_environment(tmp_path / "venv", base, {"torch": "2.2.0"})
    folder = write_package(site_of(tmp_path / "venv"), "numpy", "2.1.0")
    (folder / "METADATA").write_bytes(bytes(range(256)) * 100)
    assert codes(findings(python, needed={})) == ["RD838"]


@pytest.mark.parametrize(
    ("versions", "settings", "wrong"),
    [
        ({"trl": "0.28.0"}, ["max_prompt_length"], True),
        ({"trl": "1.16.0"}, ["max_prompt_length"], True),
        ({"trl": "0.27.2"}, ["max_prompt_length"], False),
        ({"trl": "1.16.0"}, [], False),
        ({"torch": "2.2.2+cu121", "numpy": "2.0.1"}, [], True),
        ({"torch": "2.3.0", "numpy": "2.0.1"}, [], False),
        ({"torch": "2.5.1", "transformers": "4.52.4"}, [], True),
        ({"torch": "2.5.1", "transformers": "4.51.3"}, [], False),
        ({"torch": "2.6.0.dev20241112+cu121", "transformers": "4.46.3"}, [], True),
        ({"torch": "2.6.0", "transformers": "4.47.1"}, [], False),
        ({"torch": "not a version", "numpy": "2.0"}, [], False),
    ],
)
def test_known_combinations_are_those_of_their_sources(
    versions: dict[str, str], settings: list[str], wrong: bool
) -> None:
    assert bool(list(met(versions, settings))) is wrong


def test_every_known_combination_names_its_source_and_a_way_out() -> None:
    for each in KNOWN:
        assert each.source
        assert "nstall" in each.hint


def test_a_package_older_than_the_one_that_wrote_the_checkpoint_is_told(
    tmp_path: Path, base: Path
) -> None:
    python = write_environment(
        tmp_path / "venv", base, {"torch": "2.13.0", "transformers": "5.2.0"}
    )
    told = findings(python, needed={}, written_with={"transformers": "5.24.0"})
    assert codes(told) == ["RD841"]
    assert findings(python, needed={}, written_with={"transformers": "5.2.0.dev0"}) == []


def test_the_interpreter_that_runs_this_is_read_as_it_sees_itself() -> None:
    found = named_interpreter(Path(sys.executable), {})
    assert found.version == f"{sys.version_info.major}.{sys.version_info.minor}"
    first = installed_in(found.directories, frozenset({"numpy"})).first
    import numpy as np  # noqa: PLC0415 - to compare with

    assert first["numpy"].version == np.__version__
