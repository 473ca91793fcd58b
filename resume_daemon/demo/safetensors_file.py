"""safetensors, written without the library: a JSON header, then the bytes of every tensor.

Format: safetensors ``tensor.rs``: eight bytes with the header's length (little endian), the header
padded with spaces to a multiple of eight, the data without holes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

_TYPES: Final = {"float32": "F32", "float16": "F16", "int64": "I64", "uint8": "U8"}


def safetensors_file(tensors: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """Return the file that transformers' ``save_pretrained`` would write for these tensors.

    Raises:
        KeyError: An array is neither float32, float16, int64 nor uint8.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = bytearray()
    for name in sorted(tensors):
        array = tensors[name]
        begin = len(data)
        data += array.tobytes()
        header[name] = {
            "dtype": _TYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [begin, len(data)],
        }
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    return len(encoded).to_bytes(8, "little") + encoded + bytes(data)
