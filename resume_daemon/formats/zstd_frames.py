"""Zstandard, within bounds: how much a frame may take is asked before, not after.

The package is that of Python 3.14's standard library (PEP 784), or the same for older ones.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import Any

MAGIC: Final = b"\x28\xb5\x2f\xfd"
_WINDOW_LOG: Final = 27
"""Of 128 MiB: what the library's own decompressor takes by itself (RFC 8878, 3.1.1)."""


class Decompressor:
    """Takes one frame piece by piece, and gives at most ``piece`` bytes at a time."""

    def __init__(self) -> None:
        self._zstd = zstd = _library()
        self._inner = zstd.ZstdDecompressor(
            options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        )

    @property
    def ended(self) -> bool:
        """The frame has ended, and nothing followed it."""
        return bool(self._inner.eof) and not self._inner.unused_data

    @property
    def hungry(self) -> bool:
        """It gives nothing more without more input."""
        return bool(self._inner.eof or self._inner.needs_input)

    def feed(self, content: bytes, piece: int) -> bytes:
        """Return the next bytes, of what was fed before and now.

        Raises:
            ValueError: It is no frame, or a damaged one, or one that needs too much memory.
        """
        if self._inner.eof:
            if content:
                raise ValueError("something follows the end of its compression")
            return b""
        try:
            return bytes(self._inner.decompress(content, piece))
        except self._zstd.ZstdError as error:
            raise ValueError(f"its compression is damaged ({error})") from None


def decompress(content: bytes, limit: int) -> bytes:
    """Return the content of one frame, of at most ``limit`` bytes.

    Raises:
        ValueError: It is no whole frame, damaged, or larger.
    """
    inner = Decompressor()
    found = inner.feed(content, limit + 1)
    if len(found) > limit:
        raise ValueError(f"it inflates to more than {limit} bytes, which are not read")
    if not inner.ended:
        raise ValueError("its compression does not end where it should")
    return found


def _library() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415 - only where something is compressed so
    else:
        from backports import zstd  # noqa: PLC0415 - as above
    return zstd
