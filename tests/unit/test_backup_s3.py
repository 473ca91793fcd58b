"""Backups in a bucket, by the command, against a real S3 server."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from resume_daemon.backup.address import folder_of, parse_address
from resume_daemon.backup.destinations import open_destination
from resume_daemon.backup.inventory import remove_backup, take_inventory
from resume_daemon.cli import app
from tests.checkpoints import write_checkpoint
from tests.s3_server import BUCKET, Request, S3Server, s3_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

URL = f"s3://{BUCKET}/runs"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as state:
        yield state


@pytest.fixture
def bucket(server: S3Server) -> S3Server:
    """Return the server with nothing in its bucket, and nothing counted."""
    client = server.client
    for key in server.objects():
        client.delete_object(Bucket=BUCKET, Key=key)
    for upload in server.uploads():
        client.abort_multipart_upload(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])
    server.forget()
    return server


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    write_checkpoint(run, 5)
    return run


def competing(run: Path) -> tuple[str, Path]:
    """Return an option: the server here has the same processors, and a backup gives way to it."""
    config = run.parent / "competing.yaml"
    config.write_text("verify: {priority: normal}\n", encoding="utf-8")
    return "--config", config


def start(server: S3Server, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "resume_daemon", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=server.environ,
    )


def call(server: S3Server, *arguments: object) -> tuple[int, dict[str, Any], str]:
    """Run a command that prints JSON; return its status, its document and its errors."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"], env=server.environ)
    return done.exit_code, json.loads(done.stdout or "{}"), done.stderr


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def add_large_file(checkpoint: Path, size: int) -> Path:
    """Add a file that goes in parts, beside what the trainer wrote."""
    path = checkpoint / "replay_buffer.bin"
    path.write_bytes(np.random.default_rng(1).bytes(size))
    return path


def test_a_checkpoint_goes_to_a_bucket_and_comes_back_as_it_was(
    bucket: S3Server, run: Path
) -> None:
    before = contents(run / "checkpoint-5")
    mtime = (run / "checkpoint-5").stat().st_mtime_ns
    status, document, err = call(bucket, "backup", run, "--to", URL, *competing(run))
    assert (status, err) == (0, "")
    (backup,) = document["backups"]
    assert backup["state"] == "new"
    assert backup["sent"] == backup["size"] == sum(map(len, before.values()))
    (run / "checkpoint-5").rename(run / "lost")
    status, document, err = call(bucket, "restore", run, "checkpoint-5", "--from", URL)
    assert (status, err, document["verdict"]) == (0, "", "sound")
    assert contents(run / "checkpoint-5") == before
    assert (run / "checkpoint-5").stat().st_mtime_ns == mtime
    assert not (run / ".restoring").exists()


def test_a_backup_that_was_killed_sends_only_the_files_that_are_not_there(
    bucket: S3Server, run: Path
) -> None:
    def fifth_object(request: Request, seen: list[Request]) -> bool:
        return request.sends and sum(each.sends for each in seen) == 4

    bucket.held_at = fifth_object
    process = start(bucket, "backup", run, "--to", URL, *competing(run))
    assert bucket.held.wait(40)
    process.kill()
    process.communicate()
    there = {key.rpartition("/")[2] for key in bucket.objects()}
    assert len(there) == 4
    status, listed, _ = call(bucket, "backup", run, "--to", URL, *competing(run), "--list")
    assert (status, listed["backups"], len(listed["unfinished"])) == (0, [], 1)
    bucket.forget()
    status, document, err = call(bucket, "backup", run, "--to", URL, *competing(run))
    assert (status, err) == (0, "")
    sent = {each.path.rpartition("/")[2] for each in bucket.requests if each.sends}
    assert not sent & there
    sizes = {p.name: p.stat().st_size for p in (run / "checkpoint-5").iterdir()}
    missing = sum(size for name, size in sizes.items() if name not in there)
    assert document["backups"][0]["sent"] == missing
    assert call(bucket, "backup", run, "--to", URL, *competing(run), "--verify")[0] == 0


def test_a_large_file_that_was_cut_off_goes_on_at_the_part_where_it_was(
    bucket: S3Server, run: Path
) -> None:
    large = add_large_file(run / "checkpoint-5", 40 * MIB)

    def third_part(request: Request, seen: list[Request]) -> bool:
        return "partNumber=3" in request.query

    bucket.held_at = third_part
    process = start(bucket, "backup", run, "--to", URL, *competing(run))
    assert bucket.held.wait(40)
    process.kill()
    process.communicate()
    assert len(bucket.uploads()) == 1
    bucket.forget()
    status, _, err = call(bucket, "backup", run, "--to", URL, *competing(run))
    assert (status, err) == (0, "")
    parts = [each for each in bucket.requests if "partNumber" in each.query]
    assert [each.size for each in parts] == [8 * MIB]
    assert bucket.uploads() == []
    (key,) = (key for key in bucket.objects() if key.endswith(large.name))
    stored = bucket.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    assert stored == large.read_bytes()


def test_what_is_removed_leaves_neither_objects_nor_parts_of_them(
    bucket: S3Server, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_large_file(run / "checkpoint-5", 40 * MIB)
    bucket.held_at = lambda request, _: "partNumber=2" in request.query
    process = start(bucket, "backup", run, "--to", URL, *competing(run))
    assert bucket.held.wait(40)
    process.kill()
    process.communicate()
    assert bucket.uploads()
    bucket.forget()
    for name, value in bucket.environ.items():
        monkeypatch.setenv(name, value)
    place = open_destination(parse_address(URL), folder_of(run))
    (identity,) = take_inventory(place).unfinished
    remove_backup(place, identity)
    assert bucket.uploads() == []
    assert bucket.objects() == []


def test_parts_of_another_content_are_sent_again_and_stale_uploads_are_aborted(
    bucket: S3Server, run: Path
) -> None:
    large = add_large_file(run / "checkpoint-5", 20 * MIB)
    status, document, _ = call(bucket, "backup", run, "--to", URL, *competing(run))
    (key,) = (key for key in bucket.objects() if key.endswith(large.name))
    client = bucket.client
    for name in (document["backups"][0]["backup"] + ".backup.json", large.name):
        for each in bucket.objects():
            if each.endswith(name):
                client.delete_object(Bucket=BUCKET, Key=each)
    for _ in range(2):
        upload = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
        client.upload_part(
            Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=bytes(16 * MIB)
        )
    bucket.forget()
    status, document, err = call(bucket, "backup", run, "--to", URL, *competing(run))
    assert (status, err, document["backups"][0]["sent"]) == (0, "", 20 * MIB)
    assert bucket.uploads() == []
    assert call(bucket, "backup", run, "--to", URL, *competing(run), "--verify")[0] == 0


def test_an_object_that_was_changed_is_found_and_is_not_put_back(
    bucket: S3Server, run: Path
) -> None:
    assert call(bucket, "backup", run, "--to", URL, *competing(run))[0] == 0
    client = bucket.client
    (key,) = (key for key in bucket.objects() if key.endswith("/optimizer.pt"))
    content = bytearray(client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    content[len(content) // 2] ^= 1
    client.put_object(Bucket=BUCKET, Key=key, Body=bytes(content))
    status, document, _ = call(bucket, "backup", run, "--to", URL, *competing(run), "--verify")
    assert status == 1
    (finding,) = document["backups"][0]["findings"]
    assert (finding["code"], finding["file"]) == ("RD891", "optimizer.pt")
    (run / "checkpoint-5").rename(run / "lost")
    status, _, err = call(bucket, "restore", run, "checkpoint-5", "--from", URL)
    assert status == 1
    assert "optimizer.pt are not those that were backed up" in err
    assert [each.name for each in run.iterdir()] == ["lost"]


def test_a_bucket_that_is_not_there_is_said_in_one_line_and_not_made(
    bucket: S3Server, run: Path
) -> None:
    status, _, err = call(bucket, "backup", run, "--to", "s3://nowhere/runs")
    assert status == 1
    assert err.count("\n") == 1
    assert "s3://nowhere/runs" in err
    assert [each["Name"] for each in bucket.client.list_buckets()["Buckets"]] == [BUCKET]


def test_without_credentials_the_error_says_where_they_come_from(
    bucket: S3Server, run: Path, tmp_path: Path
) -> None:
    hidden = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    environ = {key: value for key, value in bucket.environ.items() if key not in hidden}
    done = subprocess.run(
        [sys.executable, "-m", "resume_daemon", "backup", str(run), "--to", URL],
        env={**environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 1
    assert "AWS_PROFILE" in done.stderr
    assert "Traceback" not in done.stderr
