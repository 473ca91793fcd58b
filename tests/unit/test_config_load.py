from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resume_daemon.config.load import MAX_BYTES, load_settings
from resume_daemon.config.problems import ConfigurationError, Problem
from resume_daemon.config.settings import Settings
from resume_daemon.errors import UsageError


def write(directory: Path, text: str | bytes) -> Path:
    path = directory / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems(directory: Path, text: str | bytes) -> tuple[Problem, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(write(directory, text))
    return caught.value.problems


def only(directory: Path, text: str | bytes) -> Problem:
    (problem,) = problems(directory, text)
    return problem


def test_no_file_means_defaults() -> None:
    assert load_settings(None) == Settings()


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "null\n", "watch:\nalerts:\n  sinks:\n"]
)
def test_a_file_that_sets_nothing_means_defaults(tmp_path: Path, text: str) -> None:
    assert load_settings(write(tmp_path, text)) == Settings()


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbfname: a\n")
    assert load_settings(path).name == "a"


def test_every_problem_is_reported_at_once_with_its_path_and_line(tmp_path: Path) -> None:
    text = "watch:\n  settle_seconds: -1\n  rescan_second: 3\nnam: x\nlog:\n  level: loud\n"
    found = [(p.line, p.path) for p in problems(tmp_path, text)]
    assert found == [
        (2, "watch.settle_seconds"),
        (3, "watch.rescan_second"),
        (4, "nam"),
        (6, "log.level"),
    ]


def test_the_error_is_a_usage_error_that_names_the_file_and_each_line(tmp_path: Path) -> None:
    path = write(tmp_path, "watch:\n  settle_seconds: -1\nnam: x\n")
    with pytest.raises(UsageError) as caught:
        load_settings(path)
    text = str(caught.value)
    assert str(path) in text
    assert "line 2: watch.settle_seconds must be more than 0; it is -1" in text
    assert "line 3: nam is not a setting; did you mean name?" in text


def test_an_unknown_key_is_answered_with_its_place_elsewhere(tmp_path: Path) -> None:
    assert only(tmp_path, "settle_seconds: 3\n").message.endswith(
        "did you mean watch.settle_seconds?"
    )


def test_an_unknown_key_like_no_other_is_answered_with_all_known_ones(tmp_path: Path) -> None:
    message = only(tmp_path, "log: {zzz: 1}\n").message
    assert "known here: level, format" in message


def test_a_key_given_twice_is_an_error_that_names_both_lines(tmp_path: Path) -> None:
    problem = only(tmp_path, "log:\n  level: info\n  level: debug\n")
    assert (problem.path, problem.line) == ("log.level", 3)
    assert "first on line 2" in problem.message


def test_what_is_wrong_inside_a_list_is_found_by_its_index(tmp_path: Path) -> None:
    text = (
        "alerts:\n  sinks:\n  - {type: slack, name: a, url_env: X}\n  - type: slack\n    name: b\n"
    )
    problem = only(tmp_path, text)
    assert (problem.path, problem.line) == ("alerts.sinks[1]", 4)


def test_a_missing_key_is_placed_at_what_lacks_it(tmp_path: Path) -> None:
    problem = only(tmp_path, "alerts:\n  sinks:\n  - {type: slack, url_env: X}\n")
    assert (problem.path, problem.line) == ("alerts.sinks[0].name", 3)
    assert problem.message == "is missing"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{name: a}", "needs a type"),
        ("{type: mail, name: a}", "'slack', 'webhook'"),
        ("a", "section"),
    ],
)
def test_a_sink_of_no_known_type_is_refused(tmp_path: Path, entry: str, expected: str) -> None:
    assert expected in only(tmp_path, f"alerts: {{sinks: [{entry}]}}\n").message


@pytest.mark.parametrize("key", ["url", "webhook_url", "token"])
def test_a_secret_in_the_file_is_answered_with_where_to_keep_it(tmp_path: Path, key: str) -> None:
    path = write(
        tmp_path,
        f"alerts:\n  sinks:\n  - {{type: slack, name: a, url_env: X, {key}: 'https://h/hunter2'}}\n",
    )
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    assert "url_file" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_wrong_value_that_may_be_a_secret_is_not_repeated(tmp_path: Path) -> None:
    text = "alerts: {sinks: [hunter2], minimum_severity: hunter2}\nindex: {url: [hunter2]}\n"
    path = write(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    assert len(caught.value.problems) == 3
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1]\n", "keys and values"),
        ("just text\n", "keys and values"),
        ("a: b: c\n", "not YAML"),
        ("a: [\n", "not YAML"),
        ("watch:\n\tsettle_seconds: 1\n", "a tab"),
        ("name: a\n---\nname: b\n", "second document"),
        ("name: !!python/object:os.system x\n", "tag"),
        ("name: !own x\n", "tag"),
        ("name: 2025-01-01\n", "quotes"),
        ("name: 2025-99-99\n", "quotes"),
        ("name: !!int x\n", "no int"),
        ("name: !!bool x\n", "no bool"),
        (f"name: {'9' * 5000}\n", "no int"),
        ("? [a]\n: 1\n", "key"),
        ("<<: {name: a}\n", "not a setting"),
        ("name: a\0b\n", "U+0000"),
        (b"name: \xff\xfe\n", "UTF-8"),
        ("[" * 5000, "levels deep"),
        ("verify: {allow_globals: &a [*a]}\n", "levels deep"),
        ("name: 3\n", "quotes"),
        ("run: ~no-such-user-here/x\n", "home directory"),
        ("watch: 3\n", "section"),
        ("log: {level: !own x}\n", "tag"),
        (f"curriculum: {{schemas: {'[' * 20}{']' * 20}}}\n", "levels deep"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_sentence(
    tmp_path: Path, text: str | bytes, expected: str
) -> None:
    problem = only(tmp_path, text)
    assert expected in problem.message
    assert "\n" not in problem.message


def test_aliases_cannot_claim_more_than_a_bound(tmp_path: Path) -> None:
    levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 12)]
    text = "\n".join(["l0: &l0 [x, x]", *levels])
    assert "aliases" in only(tmp_path, text).message


def test_an_alias_within_the_bounds_works(tmp_path: Path) -> None:
    text = "watch: {settle_seconds: &two 2.5, poll_seconds: *two}\n"
    assert load_settings(write(tmp_path, text)).watch.poll_seconds == 2.5


def test_a_key_that_yaml_takes_for_a_boolean_is_shown_as_it_was_written(tmp_path: Path) -> None:
    assert only(tmp_path, "on: 1\n").path == "on"


def test_a_line_is_counted_past_a_character_that_is_not_allowed(tmp_path: Path) -> None:
    assert only(tmp_path, "name: a\n\nrun: \0\n").line == 3


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        load_settings(tmp_path / "none.yaml")


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not a regular file"):
        load_settings(tmp_path)


def test_a_file_of_absurd_size_is_not_read(tmp_path: Path) -> None:
    assert "bytes" in only(tmp_path, "#" * (MAX_BYTES + 1)).message


def test_a_link_to_a_file_is_followed_and_paths_start_beside_the_link(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    link = tmp_path / "linked.yaml"
    link.symlink_to(write(real, "run: out\n"))
    assert load_settings(link).run == tmp_path / "out"


def test_relative_paths_start_at_the_file_whatever_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
run: out
trackers: {wandb: {directory: logs/wandb}}
alerts: {sinks: [{type: slack, name: a, url_file: secrets/slack}]}
"""
    write(tmp_path, text)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    loaded = load_settings(Path("../config.yaml"))
    assert loaded.run is not None
    assert loaded.run.resolve() == tmp_path / "out"
    assert loaded.trackers.wandb.directory is not None
    assert loaded.trackers.wandb.directory.resolve() == tmp_path / "logs" / "wandb"
    (sink,) = loaded.alerts.sinks
    assert sink.url_file is not None
    assert sink.url_file.resolve() == tmp_path / "secrets" / "slack"


def test_the_home_directory_is_expanded_and_variables_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    text = "run: ~/out\nstate_dir: ~/state\ntrackers: {wandb: {directory: $HOME/wandb}}\n"
    loaded = load_settings(write(tmp_path, text))
    assert loaded.run == Path("/home/somebody/out")
    assert loaded.state_dir == Path("/home/somebody/state")
    assert loaded.trackers.wandb.directory == tmp_path / "$HOME" / "wandb"


def test_overrides_win_over_the_file_and_over_what_is_wrong_there(tmp_path: Path) -> None:
    path = write(tmp_path, "run: elsewhere\nlog: {level: loud, format: json}\nname: 2025-01-01\n")
    loaded = load_settings(path, {"run": Path("/data/run"), "log.level": "debug", "name": "a"})
    assert (loaded.run, loaded.name) == (Path("/data/run"), "a")
    assert (loaded.log.level, loaded.log.format) == ("debug", "json")


def test_an_override_of_a_section_that_the_file_leaves_empty_works(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path, "log:\n"), {"log.level": "debug"}).log.level == "debug"


def test_a_relative_path_among_the_overrides_starts_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert load_settings(path, {"run": Path("out")}).run == elsewhere / "out"


def test_an_override_that_is_wrong_has_no_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(write(tmp_path, "log:\n  level: info\n"), {"log.level": "loud"})
    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == ("log.level", None)


def test_a_curriculum_schema_that_cannot_be_used_is_found_by_its_line(tmp_path: Path) -> None:
    text = (
        "curriculum:\n  schemas:\n  - {name: a, files: [a.json]}\n  - {name: b, fils: [b.json]}\n"
    )
    problem = only(tmp_path, text)
    assert (problem.path, problem.line) == ("curriculum.schemas[1]", 4)
    assert "fils" in problem.message


def test_an_override_into_something_that_is_no_section_reports_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(write(tmp_path, "log: 3\n"), {"log.level": "debug"})
    assert caught.value.problems[0].path == "log"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(), st.binary(), st.from_regex(r"[a-z:\[\]{}&*!?#\- \n'\"|>%@`,]{0,60}")))
def test_any_text_gives_settings_or_a_configuration_error(
    tmp_path: Path, text: str | bytes
) -> None:
    content = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
    with suppress(ConfigurationError):
        assert isinstance(load_settings(write(tmp_path, content)), Settings)
