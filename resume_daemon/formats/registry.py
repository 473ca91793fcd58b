"""Which reader a format has; each turns a path into one ``Content``."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from resume_daemon.errors import FormatError
from resume_daemon.files import read_bounded
from resume_daemon.formats import safetensors
from resume_daemon.formats.array_data import read_array, read_arrays
from resume_daemon.formats.byte_ranges import blank_reason
from resume_daemon.formats.content import Content, Format, Problem, ProblemKind
from resume_daemon.formats.dcp_metadata import read_dcp_metadata
from resume_daemon.formats.json_document import read_json
from resume_daemon.formats.numpy_file import read_npy, read_npz
from resume_daemon.formats.parquet_file import read_parquet
from resume_daemon.formats.tensors import RecordSpan, TensorSpan
from resume_daemon.formats.torch_file import read_torch_file
from resume_daemon.formats.yaml_document import read_yaml
from resume_daemon.formats.zip_archive import read_zip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path


_MOST_PROBLEMS: Final = 8
TEXT_LIMIT: Final = 64 * 1024
"""Bytes of a text that is read whole."""


def read(path: Path, encoding: Format) -> Content:
    """Return what a file holds; its values are not looked at.

    Raises:
        FormatError: It is not what the format promises, or beyond a bound.
        ChangedError: It became shorter meanwhile.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    reader = READERS.get(encoding)
    return Content() if reader is None else reader(path)


def _text(path: Path) -> Content:
    content = read_bounded(path, TEXT_LIMIT)
    if reason := blank_reason(content):
        raise FormatError("read the text of", path, reason)
    try:
        return Content(value=content.decode().strip())
    except UnicodeDecodeError:
        raise FormatError("read the text of", path, "it is not UTF-8") from None


def _json(path: Path) -> Content:
    return Content(value=read_json(path))


_PROBLEMS: Final = {
    safetensors.HeaderProblemKind.SIZE: ProblemKind.SIZE,
    safetensors.HeaderProblemKind.GAP: ProblemKind.PLACE,
    safetensors.HeaderProblemKind.OVERLAP: ProblemKind.PLACE,
    safetensors.HeaderProblemKind.SHAPE: ProblemKind.SHAPE,
    safetensors.HeaderProblemKind.DTYPE: ProblemKind.SHAPE,
}


def _safetensors(path: Path) -> Content:
    header = safetensors.read_header(path)
    return Content(
        value=header.metadata,
        shapes={span.name: span.shape for span in header.tensors},
        # A file cut short keeps the spans that still lie in it.
        spans=tuple(_disjoint(span for span in header.tensors if span.end <= header.file_size)),
        problems=tuple(
            Problem(_PROBLEMS[each.kind], each.message)
            for each in islice(safetensors.problems(header), _MOST_PROBLEMS)
        ),
    )


def _disjoint(spans: Iterable[TensorSpan]) -> Iterator[TensorSpan]:
    """Yield those that begin after the ones before: a byte is looked at for one tensor at most.

    A header of a megabyte could otherwise have ten thousand tensors in the same gigabyte. That
    they overlap is told as a problem.
    """
    free = 0
    for span in spans:
        if span.begin >= free:
            yield span
            free = span.end


def _torch(path: Path) -> Content:
    found = read_torch_file(path)
    records = found.archive.records if found.archive is not None else ()
    return Content(
        value=found.value,
        shapes={name: tensor.shape for name, tensor in found.tensors.items()},
        spans=found.storages,
        records=tuple(
            RecordSpan(each.name, each.begin, each.begin + each.size, each.crc)
            for each in records
            if not each.compressed
        ),
        scalars={
            name: tensor.span
            for name, tensor in found.tensors.items()
            if tensor.shape in {(), (1,)} and tensor.span is not None
        },
        references=found.references,
    )


READERS: Final[Mapping[Format, Callable[[Path], Content]]] = {
    Format.ARRAY: read_array,
    Format.ARRAY_STORE: read_arrays,
    Format.DCP_METADATA: read_dcp_metadata,
    Format.JSON: _json,
    Format.NPY: read_npy,
    Format.NPZ: read_npz,
    Format.PARQUET: read_parquet,
    Format.SAFETENSORS: _safetensors,
    Format.TEXT: _text,
    Format.TORCH: _torch,
    Format.YAML: read_yaml,
    Format.ZIP: read_zip,
}
