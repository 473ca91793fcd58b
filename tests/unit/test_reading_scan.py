from __future__ import annotations

import errno
import math
import os
import threading
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from resume_daemon.errors import (
    CancelledError,
    ChangedError,
    FormatError,
    ResumeDaemonError,
    VanishedError,
)
from resume_daemon.formats.tensors import RecordSpan, TensorSpan
from resume_daemon.reading.scan import (
    FileScan,
    ReadOptions,
    RecordCheck,
    ScanTask,
    TensorStatistics,
    scan_file,
    scan_files,
)
from resume_daemon.reading.values import probe_indices

if TYPE_CHECKING:
    from collections.abc import Callable

EMPTY = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
SIZES = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8, "F8_E5M2": 1, "I64": 8, "BOOL": 1}


def never() -> bool:
    return False


def at_call(number: int, act: Callable[[], Any]) -> Callable[[], bool]:
    """Return a ``cancelled`` that never cancels, and acts before one of the reads."""
    calls = 0

    def cancelled() -> bool:
        nonlocal calls
        calls += 1
        if calls == number:
            act()
        return False

    return cancelled


def values_of(data: bytes, dtype: str) -> np.ndarray[Any, Any] | None:
    """Decode the plain way."""
    match dtype:
        case "BF16":
            halves = np.frombuffer(data, "<u2")
            return np.stack([np.zeros_like(halves), halves], 1).view("<f4")[:, 0].astype("<f8")
        case "F8_E5M2":
            octets = np.frombuffer(data, "<u1")
            return np.stack([np.zeros_like(octets), octets], 1).view("<f2")[:, 0].astype("<f8")
        case "F16" | "F32" | "F64":
            return np.frombuffer(data, f"<f{SIZES[dtype]}").astype("<f8")
        case _:
            return None


def expected_statistics(content: bytes, span: TensorSpan) -> TensorStatistics:
    data = content[span.begin : span.end]
    zeros_from = span.begin + len(data.rstrip(b"\0"))
    checksum = expected_checksum(data, span.begin)
    with np.errstate(all="ignore"):
        values = values_of(data, span.dtype)
        if values is None:
            return TensorStatistics(
                span.name, span.dtype, span.shape, None, 0, 0, None, zeros_from, (), checksum, ()
            )
        finite = np.abs(values[np.isfinite(values)])
        # Every value of so small a tensor is in the sample.
        rms = math.sqrt(np.square(finite).mean()) if len(finite) else None
    return TensorStatistics(
        name=span.name,
        dtype=span.dtype,
        shape=span.shape,
        largest=float(finite.max()) if len(finite) else None,
        nan=int(np.isnan(values).sum()),
        infinite=int(np.isinf(values).sum()),
        rms=None if rms is None or math.isinf(rms) else rms,
        zeros_from=zeros_from,
        zero_runs=(),
        checksum=checksum,
        probes=tuple(
            float(values[at]) if np.isfinite(values[at]) else math.copysign(0.0, values[at])
            for at in sorted(set(probe_indices(len(values))))
        ),
    )


def expected_checksum(data: bytes, begin: int) -> str:
    """Return what is summed of a tensor so small that it lies in the first block of the file."""
    total = sum(byte << 8 * ((begin + at) % 8) for at, byte in enumerate(data))
    return f"{total * 0xE220A8397B1DCDAF % 2**64:016x}"


SPECIAL = [b"\0" * 8, b"\x80\x7f" * 4, b"\0\xfc" * 4, b"\xff" * 8, b"\0\0\x80\x7f" * 2]


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, tuple[TensorSpan, ...]]:
    """Draw a file of tensors at any offset, with gaps, special values and runs of zeros."""
    content, spans = b"", []
    for number in range(draw(st.integers(0, 5))):
        content += draw(st.binary(max_size=9))
        dtype = draw(st.sampled_from(sorted(SIZES)))
        pieces = draw(st.lists(st.binary(max_size=40) | st.sampled_from(SPECIAL), max_size=6))
        data = b"".join(pieces) + b"\0" * draw(st.sampled_from([0, 0, 3, 50]))
        count = len(data) // SIZES[dtype]
        data = data[: count * SIZES[dtype]]
        begin = len(content)
        spans.append(TensorSpan(f"t{number}", dtype, (count,), begin, begin + len(data)))
        content += data
    return content + draw(st.binary(max_size=9)), tuple(spans)


@settings(max_examples=100, deadline=None)
@given(
    drawn=files(),
    range_bytes=st.integers(8, 200),
    read_bytes=st.integers(8, 200),
    workers=st.integers(1, 3),
)
def test_a_scan_says_what_the_plain_way_says(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: tuple[bytes, tuple[TensorSpan, ...]],
    range_bytes: int,
    read_bytes: int,
    workers: int,
) -> None:
    content, spans = drawn
    path = tmp_path_factory.getbasetemp() / "drawn.bin"
    path.write_bytes(content)
    records = tuple(RecordSpan(s.name, s.begin, s.end, 7) for s in spans)
    options = ReadOptions(workers, read_bytes, range_bytes)
    found = scan_file(path, spans=spans, records=records, options=options, cancelled=never)

    begins = range(0, max(len(content), 1), range_bytes)
    pieces = [content[begin : begin + range_bytes] for begin in begins]
    assert [r.digest for r in found.ranges] == [blake3(piece).hexdigest() for piece in pieces]
    assert [(r.begin, r.end) for r in found.ranges] == [
        (begin, begin + len(piece)) for begin, piece in zip(begins, pieces, strict=True)
    ]
    assert found.records == tuple(
        RecordCheck(r.name, 7, zlib.crc32(content[r.begin : r.end])) for r in records
    )
    status = path.stat()
    assert (found.size, found.mtime_ns, found.inode, found.bytes_read) == (
        len(content),
        status.st_mtime_ns,
        status.st_ino,
        len(content),
    )
    assert len(found.tensors) == len(spans)
    for tensor, span in zip(found.tensors, spans, strict=True):
        expected = expected_statistics(content, span)
        assert (tensor.rms is None) == (expected.rms is None)
        assert (tensor.rms or 0) == pytest.approx(expected.rms or 0, rel=1e-6, abs=1e-160)
        for name in ("name", "dtype", "shape", "largest", "nan", "infinite", "zeros_from"):
            assert getattr(tensor, name) == getattr(expected, name)


def test_a_large_tensor_is_the_same_however_it_is_read(tmp_path: Path) -> None:
    values = np.random.default_rng(5).standard_normal(600_000, dtype=np.float32)
    path = tmp_path / "large.bin"
    path.write_bytes(b"odd" + values.tobytes())
    span = TensorSpan("w", "F32", (600_000,), 3, 3 + 2_400_000)
    scans = [
        scan_file(path, spans=[span], options=options, cancelled=never).tensors[0]
        for options in (
            ReadOptions(),
            ReadOptions(1, 4099, 1 << 30),
            ReadOptions(3, 10_001, 70_001),
        )
    ]
    assert scans[0] == scans[1] == scans[2]
    index = np.arange(600_000)
    sample = values[index % 262_144 < 1024].astype(np.float64)
    assert scans[0].rms == pytest.approx(math.sqrt(np.square(sample).mean()), rel=1e-6)


def test_overlapping_spans_each_see_all_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "shared.bin"
    path.write_bytes(np.array([1, -8, 3, 4], "<f4").tobytes())
    spans = [TensorSpan("all", "F32", (4,), 0, 16), TensorSpan("end", "F32", (2,), 8, 16)]
    found = scan_file(path, spans=spans, options=ReadOptions(read_bytes=8), cancelled=never)
    assert [tensor.largest for tensor in found.tensors] == [8.0, 4.0]


def test_an_empty_file_has_one_empty_range(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    found = scan_file(tmp_path / "empty", cancelled=never)
    assert [(r.begin, r.end, r.digest) for r in found.ranges] == [(0, 0, EMPTY)]


def test_a_file_of_exactly_one_range_has_no_empty_second(tmp_path: Path) -> None:
    (tmp_path / "exact").write_bytes(b"x" * 64)
    found = scan_file(tmp_path / "exact", options=ReadOptions(range_bytes=64), cancelled=never)
    assert [(r.begin, r.end) for r in found.ranges] == [(0, 64)]


@pytest.mark.parametrize("numbers", [(0, 8, 8), (1, 7, 8), (1, 8, 0)])
def test_options_that_could_not_end_are_refused(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        ReadOptions(*numbers)


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        ReadOptions(bytes_per_second=0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(os.urandom(100_000))
    return path


SMALL = ReadOptions(workers=1, read_bytes=4096, range_bytes=32_768)


def test_a_file_cut_short_while_it_is_read_has_changed(file: Path) -> None:
    cut = at_call(10, lambda: os.truncate(file, 50_000))
    with pytest.raises(ChangedError, match="cut short"):
        scan_file(file, options=SMALL, cancelled=cut)


def test_a_file_written_behind_the_reader_has_changed(file: Path) -> None:
    def write() -> None:
        with file.open("r+b") as stream:
            stream.write(b"new")
        os.utime(file, ns=(1, 1))

    with pytest.raises(ChangedError, match="written to"):
        scan_file(file, options=SMALL, cancelled=at_call(20, write))


def test_a_file_removed_while_it_is_read_has_vanished(file: Path) -> None:
    with pytest.raises(VanishedError, match="removed"):
        scan_file(file, options=SMALL, cancelled=at_call(20, file.unlink))


def test_a_file_that_is_not_there_has_vanished(tmp_path: Path) -> None:
    with pytest.raises(VanishedError):
        scan_file(tmp_path / "gone", cancelled=never)


def test_a_file_shorter_than_its_header_promised_has_changed(file: Path) -> None:
    span = TensorSpan("t", "F32", (1,), 99_999, 100_003)
    with pytest.raises(ChangedError, match="has 100000 bytes, and had 100003"):
        scan_file(file, spans=[span], cancelled=never)


def test_a_link_is_not_followed(file: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(file)
    with pytest.raises(FormatError, match="symbolic link"):
        scan_file(tmp_path / "link", cancelled=never)


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.EIO, ResumeDaemonError, "disk failed at offset 8192"),
        (errno.ESTALE, VanishedError, "not there any more"),
    ],
)
def test_a_failing_read_says_what_failed_and_where(
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[ResumeDaemonError],
    words: str,
) -> None:
    # No ordinary filesystem fails on demand.
    real = os.preadv

    def failing(fd: int, buffers: Any, offset: int) -> int:
        if offset == 8192:
            raise OSError(number, os.strerror(number))
        return real(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", failing)
    options = ReadOptions(workers=1, read_bytes=4096, keep_page_cache=False)
    with pytest.raises(kind, match=words):
        scan_file(file, options=options, cancelled=never)


def test_reads_that_return_less_than_asked_are_continued(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, at, *_: real(fd, [buffers[0][:1000]], at))
    found = scan_file(file, options=ReadOptions(keep_page_cache=False), cancelled=never)
    assert found.ranges[0].digest == blake3(file.read_bytes()).hexdigest()


def test_a_cancelled_scan_reads_nothing_more(file: Path) -> None:
    asked = 0

    def third_time() -> bool:
        nonlocal asked
        asked += 1
        return asked >= 3

    with pytest.raises(CancelledError):
        scan_file(file, options=SMALL, cancelled=third_time)
    assert asked <= 4 + 3  # Once for each of the four ranges, and for the three reads.


def test_a_scan_that_its_rate_would_stretch_to_days_can_be_cancelled(file: Path) -> None:
    event = threading.Event()
    canceller = threading.Timer(0.01, event.set)
    canceller.start()
    with pytest.raises(CancelledError):
        scan_file(file, options=ReadOptions(bytes_per_second=1), cancelled=event)
    canceller.join()


def test_a_file_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    tasks = []
    for number in range(40):
        path = tmp_path / f"{number}.bin"
        if number % 4:
            path.write_bytes(bytes([number]) * number * 50)
        tasks.append(ScanTask(path, key=str(number)))
    results = dict(scan_files(tasks, SMALL, never))
    assert list(results.keys() & set(tasks)) != []
    assert len(results) == 40
    for task, result in results.items():
        number = int(task.key)
        if number % 4:
            assert isinstance(result, FileScan)
            assert result.ranges[0].digest == blake3(task.path.read_bytes()).hexdigest()
        else:
            assert isinstance(result, VanishedError)


def test_no_descriptor_is_left_open(tmp_path: Path, file: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    tasks = [ScanTask(file), ScanTask(tmp_path / "gone"), ScanTask(file, (), (), "again")]
    list(scan_files(tasks, SMALL, never))
    list(scan_files(tasks, SMALL, lambda: True))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_closing_the_iterator_stops_the_workers(tmp_path: Path, file: Path) -> None:
    (tmp_path / "empty").touch()
    tasks = [ScanTask(tmp_path / "empty"), *(ScanTask(file, key=str(n)) for n in range(50))]
    results = scan_files(tasks, ReadOptions(bytes_per_second=1), never)
    assert isinstance(next(results)[1], FileScan)
    results.close()  # it is a generator


def test_a_mistake_of_the_caller_is_raised_and_not_swallowed(file: Path) -> None:
    def broken() -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(scan_files([ScanTask(file)], SMALL, broken))
