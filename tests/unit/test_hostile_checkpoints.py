"""Checkpoints with a file that somebody made to hurt, through the real command.

Each costs less than 512 MiB of memory in all and 20 s of processor time, and gets a verdict.
"""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import subprocess
import sys
import zipfile
from functools import partial
from typing import TYPE_CHECKING

import pytest

from resume_daemon.formats.content import Format
from tests.checkpoints import write_checkpoint
from tests.layouts.stable_baselines3 import serialized, write_ppo
from tests.ocdbt_files import leaf_body, store_files, zarr_2
from tests.torch_files import zip_archive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MOST_KIB = 512 * 1024
MIB = 1024 * 1024

# The peak of the process itself: what getrusage tells begins with that of the parent.
MEASURED = """
import atexit, sys
def peak():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(line.split()[1], file=sys.stderr)
atexit.register(peak)
"""
VERIFY = MEASURED + "from resume_daemon.cli import main\nmain()"
READ = (
    MEASURED
    + """
from pathlib import Path
from resume_daemon.errors import ResumeDaemonError
from resume_daemon.formats.content import Format
from resume_daemon.formats.registry import read
try:
    read(Path(sys.argv[1]), Format(sys.argv[2]))
except ResumeDaemonError as error:
    print(type(error).__name__, error.reason)
"""
)

DICTS = b"\x80\x02](" + b"}" * 1_900_000 + b"e."
"""A pickle of 2 MB whose dicts take 120 MiB, and by the estimate all that one file may take."""

OBJECTS = b"{'descr':'|O','fortran_order':False,'shape':(1,)}\n"


def bounded(program: str, *arguments: str | Path) -> str:
    """Run a program, hold it against the bounds, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=partial(resource.setrlimit, resource.RLIMIT_CPU, (20, 20)),
    )
    assert done.returncode in {0, 1}, done.stderr
    assert "Traceback" not in done.stderr
    assert int(done.stderr.split()[-1]) < MOST_KIB
    return done.stdout


def told(checkpoint: Path) -> list[str]:
    """Return code and severity of every finding that ``verify`` prints."""
    (found,) = json.loads(bounded(VERIFY, "verify", "--json", checkpoint))["checkpoints"]
    return [f"{each['code']} {each['severity']}" for each in found["findings"]]


def safetensors(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def many_tensors(count: int) -> bytes:
    entries = (
        b'"layer.%d.weight":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}' % (n, n, n + 1)
        for n in range(count)
    )
    return safetensors(b"{" + b",".join(entries) + b"}", b"\1" * count)


def overlapping_tensors() -> bytes:
    """100,000 tensors in the same 8 MiB: 800 GB, if each of them were looked at."""
    entry = b'{"dtype":"U8","shape":[8388608],"data_offsets":[0,8388608]}'
    header = b"{" + b",".join(b'"%d":' % number + entry for number in range(100_000)) + b"}"
    return safetensors(header, b"\1" * 8 * MIB)


def doubled_list() -> bytes:
    """A list of two lists of two lists ...: a billion elements in 200 bytes."""
    levels = (b"]q%c(h%ch%ce" % (level + 1, level, level) for level in range(30))
    return b"".join([b"\x80\x02]q\0", *levels, b"."])


def compressed_pickle(size: int) -> bytes:
    """An archive of torch whose pickle is ``size`` MiB of empty dicts, compressed to nothing."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("archive/data.pkl", "w") as member:
            member.write(b"\x80\x02](")
            for _ in range(size):
                member.write(b"}" * MIB)
        archive.writestr("archive/version", "3")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("model.safetensors", lambda: struct.pack("<Q", 2**62) + bytes(8), "RD201"),
        ("model.safetensors", overlapping_tensors, "RD203"),
        ("trainer_state.json", lambda: b'{"a":' * 200_000, "RD120"),
        ("trainer_state.json", lambda: b"[" * 200_000 + b"]" * 200_000, "RD120"),
        ("trainer_state.json", lambda: b"[" + b"[]," * 2_430_000 + b"1]", "RD114 warning"),
        ("trainer_state.json", lambda: b"[" + b"1.5," * 4_300_000 + b"1]", "RD120"),
        ("trainer_state.json", lambda: b'{"a":"' + b"x" * (129 * MIB) + b'"}', "RD114 warning"),
        ("optimizer.pt", doubled_list, "RD301"),
        ("optimizer.pt", lambda: b"\x80\x02](" + b"K\x01" * 15_000_000 + b"e.", "RD301"),
        ("optimizer.pt", lambda: b"\x80\x02](" + b"}" * 20_000_000 + b"e.", "RD301"),
        ("optimizer.pt", lambda: compressed_pickle(256), "RD301"),
        ("optimizer.pt", lambda: compressed_pickle(60), "RD301"),
    ],
    ids=[
        "header of 2**62 bytes",
        "tensors in the same bytes",
        "objects nested 200,000 deep",
        "lists nested 200,000 deep",
        "more values than memory is used for",
        "as many values as memory is used for",
        "more text than memory is used for",
        "list of a billion by doubling",
        "list of 15 million",
        "20 million dicts",
        "zip bomb",
        "zip bomb within the bound of a pickle",
    ],
)
def test_a_hostile_file_is_told_within_bounds(
    tmp_path: Path, name: str, content: Callable[[], bytes], expected: str
) -> None:
    checkpoint = write_checkpoint(tmp_path / "run", 10)
    (checkpoint / name).write_bytes(content())
    findings = told(checkpoint)
    assert expected in (findings if " " in expected else [each[:5] for each in findings])


def test_what_is_too_large_to_be_judged_is_not_accused(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "run", 10)
    (checkpoint / "model.safetensors").write_bytes(many_tensors(210_000))
    assert told(checkpoint) == ["RD114 warning"]


def of_objects(pickle: bytes) -> bytes:
    """Return a numpy array of objects."""
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(OBJECTS)) + OBJECTS + pickle


def archive_of(ending: str, content: bytes) -> bytes:
    return zip_archive([(f"{number}{ending}", content) for number in range(8)])


def long_text(before: bytes) -> bytes:
    """A pickle that ends in a byte string of 250 MB, which nobody needs in memory."""
    return before[:-2] + b"B" + struct.pack("<I", 250_000_000) + bytes(250_000_000) + b"e."


def pickles_in_json(count: int) -> bytes:
    document = {str(number): serialized(DICTS) for number in range(count)}
    return zip_archive([("data", json.dumps(document).encode())])


def large_documents(count: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(count):
            archive.writestr(f"{number}.json", b"[" + b"[]," * 1_000_000 + b"1]")
    return stream.getvalue()


def texts(count: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(count):
            archive.writestr(str(number), b"x" * 65_000)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("encoding", "content", "expected"),
    [
        (
            Format.NPZ,
            lambda: archive_of(".npy", of_objects(DICTS)),
            "BeyondBoundsError",
        ),
        (Format.NPY, lambda: of_objects(long_text(DICTS)), ""),
        (Format.ZIP, lambda: archive_of(".pth", DICTS), "BeyondBoundsError"),
        (Format.ZIP, lambda: zip_archive([("a.pth", long_text(DICTS))]), ""),
        (Format.ZIP, lambda: pickles_in_json(8), "BeyondBoundsError"),
        (Format.ZIP, lambda: large_documents(12), "BeyondBoundsError"),
        (Format.ZIP, lambda: texts(12_000), ""),
        (Format.DCP_METADATA, lambda: long_text(DICTS), "FormatError"),
    ],
    ids=[
        "arrays of objects",
        "one array of objects and a long text",
        "pickles of torch in one zip",
        "one of them with a long text",
        "pickles inside of JSON",
        "JSON members that inflate",
        "short texts that inflate",
        "metadata with a long text",
    ],
)
def test_the_parts_of_one_file_have_one_bound_together(
    tmp_path: Path, encoding: Format, content: Callable[[], bytes], expected: str
) -> None:
    (tmp_path / "file").write_bytes(content())
    assert bounded(READ, tmp_path / "file", encoding).startswith(expected)


@pytest.mark.parametrize(
    ("leaf", "expected"),
    [
        (lambda: leaf_body({f"a/{n:06d}": b"" for n in range(410_000)}, {}), "BeyondBoundsError"),
        (lambda: leaf_body({"/" * 100_000: b""}, {}), "BeyondBoundsError"),
        (lambda: leaf_body({"a/.zarray": b"[" + b"1," * 2_300_000 + b"1]"}, {}), ""),
        (lambda: leaf_body({"a/.zarray": zarr_2((2, 3), compressed=False, order=[])}, {}), ""),
    ],
    ids=["entries", "a key of slashes", "a description of 2 million values", "an odd description"],
)
def test_a_hostile_store_of_arrays_is_read_within_bounds(
    tmp_path: Path, leaf: Callable[[], bytes], expected: str
) -> None:
    for name, content in store_files(leaf(), compressed=True).items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    assert bounded(READ, tmp_path / "manifest.ocdbt", Format.ARRAY_STORE).startswith(expected)


def test_links_that_lead_in_a_circle_are_told_and_not_followed(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "run", 10)
    (checkpoint / "optimizer.pt").unlink()
    (checkpoint / "optimizer.pt").symlink_to("optimizer.pt")
    (checkpoint / "deeper").symlink_to(checkpoint, target_is_directory=True)
    findings = told(checkpoint)
    assert any(each.startswith("RD11") and each.endswith("error") for each in findings)


def test_what_an_index_names_outside_of_the_checkpoint_is_never_opened(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "run", 10)
    # Whoever opens it waits for a writer that does not come.
    os.mkfifo(tmp_path / "outside.safetensors")
    index = {"metadata": {}, "weight_map": {"a": "../../outside.safetensors"}}
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    assert any(each.endswith("error") for each in told(checkpoint))


def test_an_archive_whose_names_lead_out_of_it_is_refused(tmp_path: Path) -> None:
    path = write_ppo(tmp_path / "run", 10)
    archive = next(path.glob("*.zip")) if path.is_dir() else path
    archive.write_bytes(zip_archive([("../../.bashrc", b"x"), ("data", b"{}")]))
    assert not (tmp_path.parent / ".bashrc").exists()
    assert any(each.endswith("error") for each in told(path))
