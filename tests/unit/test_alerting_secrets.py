from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from resume_daemon import logs
from resume_daemon.alerting.secrets import Secret, load_secret
from resume_daemon.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

VALUE = "whsec_hunter2"


@pytest.fixture(autouse=True)
def redactor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the secrets of a test after it."""
    monkeypatch.setattr(logs, "_redactor", logs.Redactor())


def test_a_secret_shows_as_stars_wherever_it_is_printed() -> None:
    secret = Secret(VALUE)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r}"]
    assert set(shown) == {"***"}
    assert json.dumps({"url": secret}, default=str) == '{"url": "***"}'
    assert secret.reveal() == VALUE


def test_a_credential_of_systemd_comes_first_then_the_file_then_the_variable(
    tmp_path: Path,
) -> None:
    file = tmp_path / "file"
    file.write_text("from the file")
    file.chmod(0o600)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    credential = credentials / "slack-url"
    credential.write_text("from systemd")
    environment = {"CREDENTIALS_DIRECTORY": str(credentials), "SLACK_URL": "from the variable"}

    def load(*, file: Path | None = file) -> str:
        secret = load_secret(
            credential="slack-url", file=file, variable="SLACK_URL", environment=environment
        )
        assert secret is not None
        return secret.reveal()

    assert load() == "from systemd"
    credential.unlink()
    assert load() == "from the file"
    assert load(file=None) == "from the variable"


def test_no_place_named_is_no_secret_and_no_error() -> None:
    assert load_secret(environment={"CREDENTIALS_DIRECTORY": "/nowhere"}) is None


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_one_newline_at_the_end_is_dropped(tmp_path: Path, ending: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(f"{VALUE}{ending}".encode())
    secret = load_secret(file=file, environment={})
    assert secret is not None
    assert secret.reveal() == VALUE


def test_a_link_is_followed_as_kubernetes_mounts_secrets(tmp_path: Path) -> None:
    (tmp_path / "..data").write_text(VALUE)
    link = tmp_path / "secret"
    link.symlink_to("..data")
    secret = load_secret(file=link, environment={})
    assert secret is not None
    assert secret.reveal() == VALUE


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\n", "it is empty"),
        (b"hunter2\nhunter3\n", "more than one line"),
        (b" hunter2", "blanks around it"),
        (b"hunter2\xff", "not UTF-8"),
    ],
)
def test_an_unusable_file_is_named_and_its_content_is_not(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    file = tmp_path / "slack.url"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=reason) as caught:
        load_secret(file=file, environment={})
    assert str(file) in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "missing"
    with pytest.raises(UsageError, match="it is not there") as caught:
        load_secret(file=file, environment={})
    assert str(file) in str(caught.value)


def test_a_variable_that_is_named_and_not_set_is_an_error() -> None:
    with pytest.raises(UsageError, match="SLACK_URL: it is not set"):
        load_secret(variable="SLACK_URL", environment={})


@pytest.mark.parametrize("environment", [{}, {"CREDENTIALS_DIRECTORY": "/nowhere"}])
def test_a_credential_that_systemd_did_not_pass_is_an_error_that_says_what_to_do(
    environment: dict[str, str],
) -> None:
    with pytest.raises(UsageError, match="LoadCredential=slack-url:") as caught:
        load_secret(credential="slack-url", environment=environment)
    assert "'slack-url'" in str(caught.value)


def test_a_secret_that_was_loaded_is_kept_out_of_every_log_line() -> None:
    load_secret(variable="SLACK_URL", environment={"SLACK_URL": VALUE})
    assert VALUE not in logs._redactor.redact(f"cannot reach {VALUE}")


@pytest.mark.parametrize("name", ["", "..", "../../etc/shadow"])
def test_a_name_cannot_lead_out_of_the_credentials_directory(name: str) -> None:
    with pytest.raises(UsageError, match="no name of a credential"):
        load_secret(credential=name, environment={"CREDENTIALS_DIRECTORY": "/nowhere"})


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 0), (0o644, 1)])
def test_a_file_that_everybody_can_read_is_warned_about(
    tmp_path: Path, mode: int, warnings: int
) -> None:
    file = tmp_path / "secret"
    file.write_text(VALUE)
    file.chmod(mode)
    with capture_logs() as said:
        load_secret(file=file, environment={})
    assert len(said) == warnings
    assert VALUE not in str(said)
