"""The training's own code: is it whole, found out without running a line of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import resume_daemon
from resume_daemon.doctor.package import check, summary
from resume_daemon.doctor.package_files import package_facts
from resume_daemon.errors import UsageError


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """Return a configuration package such as the guide speaks of, whole."""
    package = tmp_path / "project" / "configs"
    write(package.parent / "__init__.py", "")
    write(
        package / "__init__.py",
        "from .script import ScriptConfig\n"
        "from .environment import EnvConfig as Environment, LIMITS\n"
        "import torch\n",
    )
    write(
        package / "script.py",
        "from project.configs.environment import *\nclass ScriptConfig: ...\n",
    )
    write(
        package / "environment.py",
        "import os\nif os.name == 'posix':\n    LIMITS = (1, 2)\nelse:\n    LIMITS = ()\n"
        "class EnvConfig:\n    pass\n",
    )
    return package


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def said(place: Path, *, newer: bool = False) -> list[tuple[str, str, str]]:
    found = check(package_facts(place, newer=newer))
    return [(each.code, each.severity.value, each.message) for each in found]


def test_a_whole_package_gives_no_finding(configs: Path) -> None:
    assert said(configs) == []
    assert said(configs.parent) == []
    assert said(configs / "script.py") == []
    assert summary(package_facts(configs)) == "3 modules read, none of them run"


def test_this_program_itself_is_whole() -> None:
    assert said(Path(resume_daemon.__path__[0])) == []


def test_a_missing_module_is_told_with_the_line_that_imports_it(configs: Path) -> None:
    (configs / "environment.py").unlink()
    assert said(configs) == [
        (
            "RD866",
            "error",
            "configs/__init__.py line 2 imports project.configs.environment, which is not there.",
        ),
        (
            "RD866",
            "error",
            "configs/script.py line 1 imports project.configs.environment, which is not there.",
        ),
    ]


def test_a_missing_init_is_a_warning(configs: Path) -> None:
    (configs / "__init__.py").unlink()
    write(configs / "script.py", "from .environment import EnvConfig\n")
    assert said(configs.parent) == [
        ("RD865", "warning", "project/configs has no __init__.py."),
    ]
    assert [each[0] for each in said(configs)] == ["RD865"]


def test_a_name_that_the_other_module_does_not_have_is_told(configs: Path) -> None:
    write(configs / "environment.py", "class EnvConfig: ...\n")
    where = "from project.configs.environment, which does not have it."
    assert said(configs) == [
        (
            "RD867",
            "error",
            f"configs/__init__.py line 2 imports LIMITS {where}",
        )
    ]


@pytest.mark.parametrize(
    "source",
    [
        "def __getattr__(name): ...\n",
        "globals()['LIMITS'] = EnvConfig = 1\n",
        "from somewhere_else import *\n",
        "import sys\nsys.modules[__name__] = object()\n",
        "from .script import *\nfrom .more import *\n",
        "try:\n    import EnvConfig\nexcept ImportError:\n    pass\nfor LIMITS in ():\n    pass\n",
        "with open('x') as LIMITS:\n    EnvConfig: int = 0\n",
        "(LIMITS, EnvConfig), *rest = f()\n",
        "EnvConfig = LIMITS = 0\n",
        "if (LIMITS := 3) and (EnvConfig := 4):\n    pass\n",
    ],
)
def test_names_that_a_module_may_have_are_not_said_to_be_missing(
    configs: Path, source: str
) -> None:
    write(configs / "more.py", "EnvConfig = LIMITS = 1\n")
    write(configs / "environment.py", source)
    assert said(configs) == []


@pytest.mark.parametrize(
    ("source", "severity"),
    [
        ("import project.configs.gone\n", "error"),
        ("from . import gone\n", "error"),
        ("from project.configs import gone\n", "error"),
        ("from .gone import x\n", "error"),
        ("from ..... import gone\n", "error"),
        ("def f():\n    from .gone import x\n", "warning"),
        ("class C:\n    from .gone import x\n", "error"),
        ("try:\n    from .gone import x\nexcept ImportError:\n    x = None\n", None),
        (
            "try:\n    from .gone import x\nexcept (OSError, ModuleNotFoundError):\n    x = 1\n",
            None,
        ),
        ("try:\n    from .gone import x\nexcept ValueError:\n    pass\n", "error"),
        (
            "import contextlib\nwith contextlib.suppress(ImportError):\n    from .gone import x\n",
            None,
        ),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .gone import x\n", None),
        ("import gone\nfrom gone.too import x\n", None),
        ("import configs_of_another.gone\n", None),
    ],
)
def test_how_grave_a_missing_module_is_depends_on_when_it_is_imported(
    configs: Path, source: str, severity: str | None
) -> None:
    write(configs / "script.py", f"{source}class ScriptConfig: ...\n")
    assert [each[1] for each in said(configs)] == ([severity] if severity else [])


def test_modules_beside_each_other_without_a_package_are_held_together(tmp_path: Path) -> None:
    write(
        tmp_path / "train.py", "import settings\nfrom rewards import score, other\nimport torch\n"
    )
    write(tmp_path / "settings.py", "import gone_and_not_ours\n")
    write(tmp_path / "rewards.py", "def score(): ...\n")
    where = "line 2 imports other from rewards, which does not have it."
    assert said(tmp_path) == [
        ("RD867", "error", f"{tmp_path.name}/train.py {where}"),
    ]


@pytest.mark.parametrize(
    "content",
    [b"class ScriptConfig(:\n", b"x = (1,\n", b"\x00\x01", bytes(range(256)), b"(" * 10_000],
)
def test_what_is_no_python_is_an_error_unless_the_trainer_reads_a_newer_one(
    configs: Path, content: bytes
) -> None:
    (configs / "script.py").write_bytes(content)
    found = [each for each in said(configs) if each[0] == "RD868"]
    assert [each[1] for each in found] == ["error"]
    assert found[0][2].startswith("configs/script.py: ")
    newer = [each for each in said(configs, newer=True) if each[0] == "RD868"]
    assert [each[1] for each in newer] == ["warning"]


def test_nothing_is_imported(configs: Path, tmp_path: Path) -> None:
    marker = tmp_path / "it ran"
    write(configs / "script.py", f"open({str(marker)!r}, 'w').close()\nclass ScriptConfig: ...\n")
    assert said(configs) == []
    assert not marker.exists()
    assert not list(tmp_path.rglob("__pycache__"))


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_place_without_code_is_wrong_usage(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError):
        package_facts(tmp_path / name)


@given(content=st.binary(max_size=400))
def test_any_bytes_give_an_answer(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("code") / "module.py"
    path.write_bytes(content)
    list(check(package_facts(path)))
