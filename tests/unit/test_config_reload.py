from __future__ import annotations

import pytest

from resume_daemon.config.reload import NEEDS_RESTART, compare, value_at
from resume_daemon.config.schema import section_of, walk
from resume_daemon.config.settings import Settings

LEAVES = [path for path, field in walk() if section_of(field) is None]

OTHER_VALUES = {
    "run": "/data/other",
    "state_dir": "/data/state",
    "trackers.wandb.directory": "/data/wandb",
    "watch.backend": "polling",
    "verify.depth": "quick",
    "verify.read_mib_per_second": 100,
    "verify.priority": "normal",
    "verify.allow_globals": ["my_project.*"],
    "curriculum.files": ["state.json"],
    "curriculum.manager_methods": ["save_state|store"],
    "curriculum.schemas": [{"name": "mine", "files": ["mine.json"]}],
    "snapshot.configuration_files": ["*.yaml"],
    "trainer_log.files": ["*.log"],
    "trainer_log.patterns": {"mine": "down"},
    "backup.to": "s3://bucket/prefix",
    "backup.greater_is_better": True,
    "backup.mib_per_second": 50,
    "resume.arguments": ["--from", "{checkpoint}"],
    "alerts.minimum_severity": "error",
    "alerts.sinks": [{"type": "slack", "name": "team", "url_env": "SLACK_URL"}],
    "index.url": "sqlite:////data/index.db",
    "log.level": "debug",
    "log.format": "json",
}


def with_changed(*paths: str) -> Settings:
    # Asking the server needs both names, so they are there from the beginning.
    names = {"entity": "team", "project": "runs"}
    data: dict[str, object] = {"trackers": {"wandb": {"api": dict(names)}}}
    for path in paths:
        current = value_at(Settings(), path)
        value: object = OTHER_VALUES.get(path)
        if value is None:
            if isinstance(current, bool):
                value = not current
            else:
                value = current + 1 if isinstance(current, int | float) else "other"
        inner = data
        *sections, name = path.split(".")
        for section in sections:
            inner = inner.setdefault(section, {})  # type: ignore[assignment]
        inner[name] = value
    return Settings.model_validate(data)


BEFORE = with_changed()


def test_the_same_file_again_changes_nothing() -> None:
    reload = compare(BEFORE, BEFORE)
    assert (reload.applied, reload.needs_restart) == ((), ())
    assert reload.settings == BEFORE


@pytest.mark.parametrize("path", LEAVES)
def test_one_changed_setting_is_named_and_either_holds_now_or_waits(path: str) -> None:
    old, new = BEFORE, with_changed(path)
    reload = compare(old, new)
    if path in NEEDS_RESTART:
        assert (reload.applied, reload.needs_restart) == ((), (path,))
        assert reload.settings == old
    else:
        assert (reload.applied, reload.needs_restart) == ((path,), ())
        assert reload.settings == new


def test_what_can_be_applied_is_applied_beside_what_has_to_wait() -> None:
    new = with_changed("run", "watch.backend", "watch.rescan_seconds", "log.level")
    reload = compare(BEFORE, new)
    assert reload.needs_restart == ("run", "watch.backend")
    assert reload.applied == ("watch.rescan_seconds", "log.level")
    assert reload.settings == with_changed("watch.rescan_seconds", "log.level")


def test_a_setting_taken_out_of_the_file_goes_back_to_its_default() -> None:
    reload = compare(with_changed("log.level"), BEFORE)
    assert reload.applied == ("log.level",)
    assert reload.settings.log.level == "info"


def test_every_setting_that_needs_a_restart_exists() -> None:
    assert {path for path, _ in walk()} >= NEEDS_RESTART


def test_alerts_and_log_never_need_a_restart() -> None:
    assert not [path for path in NEEDS_RESTART if path.startswith(("alerts.", "log."))]
