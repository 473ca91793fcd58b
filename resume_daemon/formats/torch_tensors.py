"""Tensors in a torch pickle: what rebuilds them, taken as a reference to their storage.

The calls and their arguments are those of torch 2.13 ``torch/_utils.py`` and ``torch/_tensor.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from resume_daemon.errors import FormatError
from resume_daemon.formats.dtypes import BITS, TORCH_DTYPES, TORCH_STORAGES
from resume_daemon.formats.inert_pickle import Call, GlobalReference, PersistentReference
from resume_daemon.formats.pickle_budget import TENSOR
from resume_daemon.formats.plain_calls import NOT_PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from resume_daemon.formats.inert_pickle import PickleContent
    from resume_daemon.formats.pickle_keys import Keys
    from resume_daemon.formats.plain_calls import Rebuilder
    from resume_daemon.formats.tensors import TensorSpan

MAX_NAME_LENGTH: Final = 1024
MAX_NAMES_LENGTH: Final = 32 * 1024 * 1024
"""Characters of all names: an optimizer of 20,000 parameters has 1,500,000."""

MAX_TENSORS: Final = 200_000
"""Places that hold a tensor: an optimizer has three for each parameter."""

MAX_DIMENSIONS: Final = 64
"""The most that numpy has, and twice of what most operations of torch take."""

_MAX_KEY_LENGTH: Final = 200

_OPERATION: Final = "read the torch file"
_LARGEST: Final = 2**63


@dataclass(slots=True, eq=False)
class TensorReference:
    """A tensor, or a parameter, of a torch file.

    Attributes:
        storage_key: Name of its storage's record below ``data/``.
        storage_bytes: Bytes that the storage has according to the pickle.
        dtype: Element type, by its safetensors name.
        offset_elements: Elements of the storage before the first one.
        shape: Elements per dimension.
        stride: Elements between neighbours, per dimension.
        span: Where its bytes lie, set once the whole file is read; None where they are not one
            uncompressed stretch (a tensor with gaps).
    """

    storage_key: str
    storage_bytes: int
    dtype: str
    offset_elements: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    span: TensorSpan | None = field(default=None)

    @property
    def elements(self) -> int:
        """Number of elements."""
        count = 1
        for length in self.shape:
            count *= length
        return count

    @property
    def extent(self) -> int:
        """Elements of the storage from the first element to the last, both included."""
        if 0 in self.shape:
            return 0
        steps = zip(self.shape, self.stride, strict=True)
        return 1 + sum((length - 1) * step for length, step in steps)

    @property
    def by_rows(self) -> bool:
        """Whether its elements lie without gaps, the last dimension's next to each other."""
        if 0 in self.shape:
            return True
        expected = 1
        for length, step in zip(reversed(self.shape), reversed(self.stride), strict=True):
            if length > 1 and step != expected:
                return False
            expected *= length
        return self.offset_elements == 0


def named_tensors(content: PickleContent, path: Path) -> Iterator[tuple[str, TensorReference]]:
    """Yield every tensor with its path; what is shared or contains itself is entered once.

    Raises:
        FormatError: There are more than ``MAX_TENSORS``, or their paths are longer than names are.
    """
    # Most places hold no tensor, so that a name is made only where there is one.
    places: list[tuple[Iterator[tuple[Any, Any, int]], str | None]] = []
    entered: set[int] = set()
    names: dict[str, int] = {}
    count = letters = 0
    inside = iter([(None, content.value, 0)])
    while True:
        for key, node, position in inside:
            if type(node) is TensorReference:
                count += 1
                if count > MAX_TENSORS:
                    raise FormatError(_OPERATION, path, f"it has more than {MAX_TENSORS} tensors")
                parts = [part for _, part in places if part is not None]
                name = _joined([*parts, _part(key, position)] if places else [], path)
                letters += len(name) + len(places)
                if letters > MAX_NAMES_LENGTH:
                    reason = "the paths to the tensors in it are too long for names"
                    raise FormatError(_OPERATION, path, reason)
                names[name] = times = names.get(name, 0) + 1
                yield (name if times == 1 else f"{name}#{times}"), node
            elif type(node) in _ENTERED and node:
                if id(node) in content.shared:
                    if id(node) in entered:
                        continue
                    entered.add(id(node))
                places.append((inside, _part(key, position) if places else None))
                inside = _inside(node)
                break
        else:
            if not places:
                return
            inside, _ = places.pop()


_ENTERED: Final = frozenset({dict, list, tuple, Call})
_NO_PART: Final = object()


def _inside(node: Any) -> Iterator[tuple[Any, Any, int]]:
    """Yield what a node holds, with the key or the position that leads there."""
    if type(node) is dict:
        yield from ((key, child, place) for place, (key, child) in enumerate(node.items()))
    elif type(node) is Call:
        for part in (node.arguments, node.keywords, node.state, node.items):
            yield _NO_PART, part, 0
        yield from ((key, child, place) for place, (key, child) in enumerate(node.entries))
    else:
        yield from ((place, child, place) for place, child in enumerate(node))


def _part(key: Any, position: int) -> str | None:
    if key is _NO_PART:
        return None
    if isinstance(key, str):
        return key
    small = isinstance(key, int) and abs(key) < _LARGEST
    return str(key) if small or key is None else f"<{position}>"


def _joined(parts: list[str | None], path: Path) -> str:
    texts = [part for part in parts if part is not None]
    if sum(map(len, texts)) > MAX_NAME_LENGTH:
        raise FormatError(_OPERATION, path, "the path to a tensor in it is too long for a name")
    return ".".join(texts) or "tensor"


def _tensor(arguments: tuple[Any, ...], keys: Keys) -> Any:
    """``_rebuild_tensor(storage, offset, size, stride, ...)``, and its later versions."""
    match arguments:
        case (
            PersistentReference(
                # Until torch 0.4 the last one described a view of another storage.
                ("storage", GlobalReference(_, kind), str() as key, _, int() as count)
                | ("storage", GlobalReference(_, kind), str() as key, _, int() as count, None)
            ),
            int() as offset,
            tuple() as shape,
            tuple() as stride,
            *more,
        ):
            pass
        case _:
            return NOT_PLAIN
    dtype = stored = TORCH_STORAGES.get(kind)
    match more:
        case (_, _, GlobalReference("torch", name), *_) if name in TORCH_DTYPES:
            dtype = TORCH_DTYPES[name]
    if dtype is None or stored is None:
        return NOT_PLAIN
    keys.budget.charge(TENSOR, len(shape))
    if len(key) > _MAX_KEY_LENGTH or len(shape) > MAX_DIMENSIONS:
        raise ValueError("a tensor has a storage or a number of dimensions that no tensor has")
    if len(shape) != len(stride) or not all(
        type(number) is int and 0 <= number < _LARGEST
        for number in (offset, count, *shape, *stride)
    ):
        raise ValueError("a tensor has a shape, stride or offset that no tensor has")
    return TensorReference(key, count * BITS[stored] // 8, dtype, offset, shape, stride)


def _first(arguments: tuple[Any, ...], _: Keys) -> Any:
    """``_rebuild_parameter(tensor, requires_grad, hooks)``: the parameter is its tensor."""
    return arguments[0] if arguments else NOT_PLAIN


def _from_type(arguments: tuple[Any, ...], keys: Keys) -> Any:
    """``_rebuild_from_type_v2(function, type, arguments, state)``: a subclass is its tensor.

    A DTensor is the rank's piece of it, which its slots hold (torch 2.13
    ``distributed/tensor/_api.py``); its mesh and placements are left out.
    """
    match arguments:
        case (
            GlobalReference("torch._utils", "_rebuild_wrapper_subclass"),
            GlobalReference(_, "DTensor"),
            tuple(),
            (_, {"_local_tensor": TensorReference() as piece})
            | {"_local_tensor": TensorReference() as piece},
        ):
            return piece
        case (GlobalReference(module, name), GlobalReference(), tuple() as inner, _):
            rebuilder = TENSOR_REBUILDERS.get((module, name))
            return NOT_PLAIN if rebuilder is None else rebuilder(inner, keys)
    return NOT_PLAIN


TENSOR_REBUILDERS: Final[Mapping[tuple[str, str], Rebuilder]] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor,
    ("torch._utils", "_rebuild_qtensor"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
    ("torch._tensor", "_rebuild_from_type_v2"): _from_type,
}
"""What replaces the result of each call, for ``inert_pickle.load``."""
