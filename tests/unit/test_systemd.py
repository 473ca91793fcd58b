from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

EXECUTABLES = {
    "resume-daemon@.service": "/opt/resume_daemon/bin/resume-daemon",
    "user/resume-daemon.service": "%h/.local/bin/resume-daemon",
}
MAX_EXPOSURE_TENTHS = 15

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


@pytest.fixture(params=sorted(EXECUTABLES))
def unit(request: pytest.FixtureRequest, repository: Path) -> Path:
    """Return each unit that is shipped."""
    return repository / "systemd" / str(request.param)


@pytest.fixture
def system_units(repository: Path, tmp_path: Path) -> Path:
    """Return the system units as installed, with a program that exists here as the daemon."""
    units = tmp_path / "units"
    shutil.copytree(repository / "systemd", units)
    template = units / "resume-daemon@.service"
    executable = EXECUTABLES[template.name]
    template.write_text(template.read_text().replace(executable, sys.executable))
    return units


def values(text: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", text, flags=re.MULTILINE)


def value(unit: Path, key: str) -> str:
    (only,) = values(unit.read_text(), key)
    return only


def seconds(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(s|min)", text).groups()  # type: ignore[union-attr]
    return int(number) * (60 if unit == "min" else 1)


def analyze(*arguments: str, runtime: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments],
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime), "LC_ALL": "C.UTF-8"},
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )


@needs_analyze
@pytest.mark.parametrize("instance", ["", "example"])
def test_the_template_and_the_example_instance_have_no_mistake(
    system_units: Path, instance: str
) -> None:
    template = system_units / "resume-daemon@.service"
    unit = template.with_name(f"resume-daemon@{instance}.service")
    if instance:
        shutil.copy(template, unit)
    done = analyze("verify", "--recursive-errors=no", str(unit), runtime=system_units)
    assert done.returncode == 0, done.stderr


@needs_analyze
def test_a_mistake_in_the_drop_in_would_be_noticed(system_units: Path) -> None:
    unit = system_units / "resume-daemon@example.service"
    shutil.copy(system_units / "resume-daemon@.service", unit)
    drop_in = system_units / "resume-daemon@example.service.d" / "run.conf"
    drop_in.write_text(drop_in.read_text() + "ReadWritePath=/data\n")
    done = analyze("verify", "--recursive-errors=no", str(unit), runtime=system_units)
    assert done.returncode != 0
    assert "ReadWritePath" in done.stderr


@needs_analyze
def test_the_user_unit_has_no_mistake(repository: Path, tmp_path: Path) -> None:
    source = repository / "systemd" / "user" / "resume-daemon.service"
    executable = EXECUTABLES["user/resume-daemon.service"]
    unit = tmp_path / source.name
    unit.write_text(source.read_text().replace(executable, sys.executable))
    done = analyze("--user", "verify", "--recursive-errors=no", str(unit), runtime=tmp_path)
    assert done.returncode == 0, done.stderr


@needs_analyze
def test_the_exposure_of_the_system_unit_is_low(system_units: Path) -> None:
    done = analyze(
        "security",
        "--offline=true",
        f"--threshold={MAX_EXPOSURE_TENTHS}",
        str(system_units / "resume-daemon@.service"),
        runtime=system_units,
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1]


@needs_analyze
def test_the_documentation_tells_the_exposure_that_is_measured(
    repository: Path, system_units: Path
) -> None:
    page = (repository / "docs" / "systemd.md").read_text()
    for name in ["resume-daemon@.service", "user/resume-daemon.service"]:
        unit = str(system_units / name)
        done = analyze("security", "--offline=true", unit, runtime=system_units)
        measured = re.search(r"exposure level for \S+ (\d+\.\d)", done.stdout)
        assert measured, done.stderr
        assert f"| `systemd/{name}` | {measured[1]} |" in page


def test_the_unit_starts_the_command_that_the_program_has(unit: Path, tmp_path: Path) -> None:
    program, *arguments = value(unit, "ExecStart").split()
    assert program.endswith("/bin/resume-daemon")
    configuration = tmp_path / "wrong.yaml"
    configuration.write_text("rnu: /data/run\n")
    assert arguments[:-1] == ["run", "--config"]
    done = subprocess.run(
        [sys.executable, "-m", "resume_daemon", *arguments[:-1], str(configuration)],
        stdin=subprocess.DEVNULL,
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert "rnu is not a setting; did you mean run?" in " ".join(done.stderr.split())
    assert str(done.returncode) == value(unit, "RestartPreventExitStatus")


def test_each_instance_has_a_configuration_and_a_state_directory_of_its_own(
    repository: Path,
) -> None:
    unit = repository / "systemd" / "resume-daemon@.service"
    path = "/etc/resume_daemon/%i.yaml"
    assert value(unit, "ExecStart").endswith(f" run --config {path}")
    assert value(unit, "ConditionPathExists") == path
    assert value(unit, "StateDirectory") == "resume_daemon/%i"


def test_the_unit_tells_systemd_when_it_is_ready_alive_and_reloaded(unit: Path) -> None:
    assert value(unit, "Type") == "notify"
    assert seconds(value(unit, "WatchdogSec")) >= 60
    assert value(unit, "ExecReload") == "/bin/kill -HUP $MAINPID"


def test_restarts_are_bounded(unit: Path) -> None:
    assert value(unit, "Restart") == "on-failure"
    burst = int(value(unit, "StartLimitBurst"))
    # A limit that the pauses alone never reach would be none.
    assert burst * seconds(value(unit, "RestartSec")) < seconds(
        value(unit, "StartLimitIntervalSec")
    )


def test_a_stop_that_hangs_ends_within_a_minute(unit: Path) -> None:
    assert seconds(value(unit, "TimeoutStopSec")) <= 60


def test_the_training_goes_first(unit: Path) -> None:
    assert int(value(unit, "Nice")) > 0
    assert value(unit, "IOSchedulingClass") == "idle"
    assert int(value(unit, "CPUWeight")) < 100
    assert int(value(unit, "IOWeight")) < 100
    assert value(unit, "MemoryHigh")
    assert value(unit, "MemoryMax")


def test_the_daemon_sees_processes_but_cannot_gain_rights(unit: Path) -> None:
    text = unit.read_text()
    assert not values(text, "ProcSubset"), "it would remove every process_* metric"
    assert values(text, "NoNewPrivileges") == ["yes"]


def test_of_the_file_system_only_the_sidecar_is_writable(repository: Path) -> None:
    systemd = repository / "systemd"
    template = systemd / "resume-daemon@.service"
    assert value(template, "ProtectSystem") == "strict"
    assert value(template, "ProtectHome") == "read-only"
    assert not values(template.read_text(), "ReadWritePaths")
    drop_in = systemd / "resume-daemon@example.service.d" / "run.conf"
    assert value(drop_in, "ReadWritePaths").endswith("/.resume_daemon")


def test_no_secret_is_on_a_command_line_or_in_the_environment(unit: Path) -> None:
    text = unit.read_text()
    assert not values(text, "Environment")
    assert not re.search(r"(?i)secret|token|password|https?://", value(unit, "ExecStart"))


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="no systemd-sysusers here")
def test_the_user_that_the_unit_names_is_made(repository: Path) -> None:
    systemd = repository / "systemd"
    user = value(systemd / "resume-daemon@.service", "User")
    file = systemd / "resume-daemon.sysusers"
    subprocess.run(["systemd-sysusers", "--dry-run", str(file)], check=True, capture_output=True)
    assert re.search(rf"^u {user} ", file.read_text(), flags=re.MULTILINE)


@pytest.mark.skipif(
    shutil.which("systemd-tmpfiles") is None or os.geteuid() != 0,
    reason="systemd-tmpfiles is not here, or may not give files to root",
)
def test_the_directories_of_configurations_and_credentials_are_made(
    repository: Path, tmp_path: Path
) -> None:
    file = repository / "systemd" / "resume-daemon.tmpfiles"
    subprocess.run(["systemd-tmpfiles", f"--root={tmp_path}", "--create", str(file)], check=True)
    assert (tmp_path / "etc/resume_daemon").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "etc/resume_daemon/credentials").stat().st_mode & 0o777 == 0o700


def test_the_documentation_installs_every_file_that_is_shipped(repository: Path) -> None:
    page = (repository / "docs" / "systemd.md").read_text()
    systemd = repository / "systemd"
    for file in systemd.rglob("*"):
        if file.is_file():
            assert file.relative_to(repository).as_posix() in page
