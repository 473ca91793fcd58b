from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from resume_daemon.config.schema import SINKS, section_of, walk
from resume_daemon.config.settings import Settings


def reason(**values: object) -> str:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(values)
    return "; ".join(error["msg"] for error in caught.value.errors())


def sink(**values: object) -> dict[str, object]:
    return {"alerts": {"sinks": [values]}}


def test_no_setting_at_all_is_a_complete_configuration() -> None:
    settings = Settings()
    assert settings.run is None
    assert settings.watch.backend == "auto"
    assert settings.verify.depth == "deep"
    assert settings.alerts.sinks == ()


def test_every_setting_says_what_it_is_in_whole_sentences() -> None:
    sinks = [item for model in SINKS.values() for item in walk(model, "sink.")]
    for path, field in [*walk(), *sinks]:
        section = section_of(field)
        text = section.__doc__ if section else field.description
        assert text, path
        assert text.rstrip().endswith("."), path


def test_every_number_of_seconds_says_so_in_its_name_and_its_description() -> None:
    for path, field in walk():
        if path.endswith("_seconds"):
            assert "seconds" in (field.description or "").lower(), path


def test_settings_do_not_change_under_a_reader() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().watch.settle_seconds = 3


@pytest.mark.parametrize("period", ["rescan", "settle", "abandon", "poll"])
@pytest.mark.parametrize("value", [0, -1, 86_401, float("nan"), float("inf")])
def test_a_period_is_more_than_none_and_at_most_a_day(period: str, value: float) -> None:
    assert reason(watch={f"{period}_seconds": value})


def test_a_save_cannot_be_abandoned_before_it_settles() -> None:
    assert "more than settle_seconds (60)" in reason(
        watch={"settle_seconds": 60, "abandon_seconds": 60}
    )


def test_the_default_of_one_setting_is_checked_against_the_value_of_another() -> None:
    assert "it is 900" in reason(watch={"settle_seconds": 1000})


@given(st.floats(0.001, 86_400), st.floats(0.001, 86_400))
def test_settling_and_abandoning_are_accepted_exactly_in_that_order(
    settle: float, abandon: float
) -> None:
    watch = {"settle_seconds": settle, "abandon_seconds": abandon}
    if settle < abandon:
        assert Settings.model_validate({"watch": watch}).watch.abandon_seconds == abandon
    else:
        assert reason(watch=watch)


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("verify", {"workers": 0}),
        ("verify", {"workers": "2"}),
        ("verify", {"workers": True}),
        ("verify", {"workers": 2.5}),
        ("verify", {"read_mib_per_second": 0}),
        ("verify", {"keep_page_cache": "yes"}),
        ("verify", {"depth": "shallow"}),
        ("curriculum", {"keep_versions": 0}),
        ("curriculum", {"max_lead_steps": -1}),
        ("curriculum", {"files": "state.json"}),
        ("curriculum", {"schemas": ["name"]}),
        ("trackers", {"wandb": {"api": {"poll_seconds": 14}}}),
        ("trackers", {"wandb": {"run_id": ""}}),
        ("log", {"level": "loud"}),
        ("log", {"colour": True}),
    ],
)
def test_a_value_of_the_wrong_kind_or_size_is_refused(
    section: str, values: dict[str, object]
) -> None:
    assert reason(**{section: values})


@pytest.mark.parametrize("path", ["state", "./state", "../state", ""])
def test_the_state_directory_does_not_depend_on_where_the_daemon_was_started(path: str) -> None:
    assert reason(state_dir=path)


@pytest.mark.parametrize("pattern", ["/etc/*.json", "../other/*.json", "a/../../b", "**/*.json"])
def test_a_curriculum_glob_stays_in_the_run_and_walks_no_tree(pattern: str) -> None:
    assert reason(curriculum={"files": [pattern]})


def test_a_configuration_glob_may_leave_the_run_but_walks_no_tree() -> None:
    settings = Settings.model_validate({"snapshot": {"configuration_files": ["/etc/x/*.yaml"]}})
    assert settings.snapshot.configuration_files == ("/etc/x/*.yaml",)
    assert "whole tree" in reason(snapshot={"configuration_files": ["/etc/**"]})


@pytest.mark.parametrize("name", ["my_project.*", "my_project.rewards.Reward"])
def test_a_name_or_a_prefix_of_the_users_own_can_be_allowed(name: str) -> None:
    settings = Settings.model_validate({"verify": {"allow_globals": [name]}})
    assert settings.verify.allow_globals == (name,)


@pytest.mark.parametrize("name", ["*", "os", ".system", "my project.x", "a.*.b", "a.*b", "a."])
def test_what_is_no_dotted_name_cannot_be_allowed(name: str) -> None:
    assert "dotted name" in reason(verify={"allow_globals": [name]})


@pytest.mark.parametrize(
    "url",
    ["ftp://host/x", "host/x", "https://", "file:///etc/passwd", "https://a b/", "http://[::1", ""],
)
def test_a_webhook_is_reached_by_http(url: str) -> None:
    assert "http://" in reason(**sink(type="webhook", name="a", url=url))


def test_a_webhook_url_carries_no_password() -> None:
    text = reason(**sink(type="webhook", name="a", url="https://me:hunter2@host/x"))
    assert "password" in text
    assert "hunter2" not in text


def test_a_database_url_carries_no_password() -> None:
    text = reason(index={"url": "postgresql+psycopg://me:hunter2@host/runs"})
    assert "PGPASSFILE" in text
    assert "hunter2" not in text


@pytest.mark.parametrize("url", ["sqlite:////var/lib/runs.db", "postgresql+psycopg://me@host/runs"])
def test_a_database_url_without_a_password_is_accepted(url: str) -> None:
    assert Settings.model_validate({"index": {"url": url}}).index.url == url


@pytest.mark.parametrize("to", ["s3://me:hunter2@bucket/x", "az://x/y?AccountKey=hunter2"])
def test_a_backup_url_carries_no_password(to: str) -> None:
    text = reason(backup={"to": to})
    assert "password or a key" in text
    assert "hunter2" not in text


def test_backups_need_the_digests_of_a_deep_verification() -> None:
    assert "deep" in reason(verify={"depth": "quick"}, backup={"to": "/backups"})


def test_what_is_no_database_url_is_refused() -> None:
    assert "SQLAlchemy URL" in reason(index={"url": "runs.db"})


@pytest.mark.parametrize("field", ["url_file", "url_env", "url_credential"])
def test_a_slack_url_is_kept_in_any_one_place(field: str) -> None:
    settings = Settings.model_validate(sink(type="slack", name="a", **{field: "X"}))
    assert str(getattr(settings.alerts.sinks[0], field)) == "X"


def test_a_slack_sink_without_a_url_is_refused() -> None:
    assert "needs one of url_credential, url_file, url_env" in reason(
        **sink(type="slack", name="a")
    )


def test_a_sink_has_one_url_and_at_most_one_secret() -> None:
    base = {"type": "webhook", "name": "a"}
    assert Settings.model_validate(sink(**base, url="https://host/")).alerts.sinks
    assert "only one" in reason(**sink(**base, url="https://host/", url_env="X"))
    assert "only one" in reason(
        **sink(**base, url="https://host/", secret_env="X", secret_file="/x")  # noqa: S106 - names of places
    )


@pytest.mark.parametrize("kind", sorted(SINKS))
def test_no_sink_has_a_field_for_a_secret_itself(kind: str) -> None:
    for name in SINKS[kind].model_fields:
        if "secret" in name or (kind == "slack" and "url" in name):
            assert name.endswith(("_file", "_env", "_credential")), name


def test_two_sinks_have_two_names() -> None:
    one = {"type": "slack", "name": "team", "url_env": "A"}
    text = reason(alerts={"sinks": [one, {**one, "url_env": "B"}]})
    assert "more than one sink named team" in text


@pytest.mark.parametrize("field", ["url_env", "url_credential"])
def test_a_secret_written_where_its_name_belongs_is_refused_and_not_repeated(field: str) -> None:
    text = reason(**sink(type="slack", name="a", **{field: "https://hooks.example/T0/hunter2"}))
    assert "not its value" in text
    assert "hunter2" not in text
