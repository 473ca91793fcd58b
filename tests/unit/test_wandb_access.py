from __future__ import annotations

import os
from pathlib import Path

import pytest

from resume_daemon.errors import UsageError
from resume_daemon.trackers.wandb_access import (
    NEW_DEFAULT,
    OLD_DEFAULT,
    default_base_url,
    find_access,
)

KEY = "k" * 40


def netrc(home: Path, *lines: str) -> None:
    (home / ".netrc").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("version", "url"),
    [
        ("0.22.3", OLD_DEFAULT),
        ("0.30.0", OLD_DEFAULT),
        ("0.31.0", NEW_DEFAULT),
        ("1.0", NEW_DEFAULT),
        ("odd", NEW_DEFAULT),
    ],
)
def test_the_default_server_is_that_of_the_wandb_version(version: str, url: str) -> None:
    assert default_base_url(version) == url
    access = find_access({"WANDB_API_KEY": KEY}, Path("/nowhere"), version)
    assert access is not None
    assert access.base_url == url


def test_the_environment_comes_before_the_settings_file(tmp_path: Path) -> None:
    settings = tmp_path / ".config" / "wandb" / "settings"
    settings.parent.mkdir(parents=True)
    settings.write_text("[default]\nbase_url = https://own.example/ \nentity = e%\n")
    access = find_access({"WANDB_API_KEY": KEY}, tmp_path)
    assert access is not None
    assert access.base_url == "https://own.example"
    environ = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": "http://127.0.0.1:8080/"}
    access = find_access(environ, tmp_path)
    assert access is not None
    assert access.base_url == "http://127.0.0.1:8080"


def test_the_settings_file_is_also_found_where_the_environment_puts_it(tmp_path: Path) -> None:
    (tmp_path / "settings").write_text("[default]\nbase_url = https://own.example\n")
    environ = {"WANDB_API_KEY": KEY, "WANDB_CONFIG_DIR": str(tmp_path)}
    access = find_access(environ, Path("/nowhere"))
    assert access is not None
    assert access.base_url == "https://own.example"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"no section", b"[default]\nentity = e\n"])
def test_a_settings_file_without_an_address_leaves_the_default(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "settings").write_bytes(content)
    environ = {"WANDB_API_KEY": KEY, "WANDB_CONFIG_DIR": str(tmp_path)}
    access = find_access(environ, Path("/nowhere"), "0.31.0")
    assert access is not None
    assert access.base_url == NEW_DEFAULT


@pytest.mark.parametrize("url", ["own.example", "ftp://own.example", "http://", "http://h:port"])
def test_an_address_that_is_no_web_address_is_wrong_usage(url: str) -> None:
    with pytest.raises(UsageError, match="WANDB_BASE_URL"):
        find_access({"WANDB_BASE_URL": url, "WANDB_API_KEY": KEY}, Path("/nowhere"))


@pytest.mark.parametrize("host", ["api.wandb.ai", "api.forge.coreweave.com"])
@pytest.mark.parametrize("version", ["0.30.0", "0.31.0"])
def test_a_key_in_netrc_counts_under_either_name_of_the_service(
    tmp_path: Path, host: str, version: str
) -> None:
    netrc(tmp_path, f"machine {host}", "  login user", f"  password {KEY}")
    access = find_access({}, tmp_path, version)
    assert access is not None
    assert access.key == KEY


def test_a_key_for_the_service_is_never_sent_to_another_server(tmp_path: Path) -> None:
    netrc(tmp_path, "machine api.wandb.ai", "  login user", f"  password {KEY}")
    assert find_access({"WANDB_BASE_URL": "https://own.example"}, tmp_path) is None


def test_the_key_of_the_environment_comes_before_netrc(tmp_path: Path) -> None:
    netrc(tmp_path, "machine own.example", "  login user", "  password other")
    environ = {"WANDB_BASE_URL": "https://own.example"}
    access = find_access(environ, tmp_path)
    assert access is not None
    assert access.key == "other"
    access = find_access({**environ, "WANDB_API_KEY": f" {KEY}\n"}, tmp_path)
    assert access is not None
    assert access.key == KEY


def test_without_a_key_nobody_is_asked_for_one(tmp_path: Path) -> None:
    assert find_access({}, tmp_path) is None
    netrc(tmp_path, f"api.wandb.ai is where {KEY} goes")
    assert find_access({}, tmp_path) is None
    os.mkfifo(tmp_path / "pipe")
    assert find_access({"NETRC": str(tmp_path / "pipe")}, tmp_path) is None


def test_the_key_is_not_in_what_is_printed() -> None:
    access = find_access({"WANDB_API_KEY": KEY}, Path("/nowhere"))
    assert access is not None
    assert KEY not in repr(access)
