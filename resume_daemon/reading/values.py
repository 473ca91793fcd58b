"""What the values of a tensor look like, from its bytes, chunk by chunk.

The sign bit of an IEEE number left out, its bits order as its magnitude does, with infinity above
every finite value and NaN above that. So the largest unsigned and the largest signed integer of the
raw bits, two passes that only read, give the largest magnitude and whether anything in the chunk is
not finite; only such a chunk is looked at value by value. (Measured on AVX-512 with numpy 2.4:
36 GB/s for both passes, against 6 GB/s for BLAKE3.)

Checkpoints are little-endian in every format that is read here, and so must be the host.
"""

from __future__ import annotations

from bisect import bisect_left
from math import isfinite, sqrt
from typing import TYPE_CHECKING

import numpy as np

from resume_daemon.reading.checksum import Checksum
from resume_daemon.reading.float_layouts import FLOATS, magnitudes_of, sum_of_squares
from resume_daemon.reading.results import TensorStatistics
from resume_daemon.reading.zero_runs import ZeroRuns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resume_daemon.formats.tensors import TensorSpan
    from resume_daemon.reading.float_layouts import Bits, FloatLayout

SAMPLE_PERIOD = 262_144
SAMPLE_LENGTH = 1_024
"""The root mean square is taken over the values whose index i in the tensor has
``i % SAMPLE_PERIOD < SAMPLE_LENGTH``: all of a tensor of up to 1,024 values, 1 in 256 of a large
one, the same ones however the file is read."""

PROBES = 16
"""Values of each tensor that are kept, to be compared with the same ones of another checkpoint."""

_GOLDEN = 0.6180339887498949
"""Moves the probes off the columns in which an even spacing would put all of them."""


class TensorPart:
    """Statistics of the part of a tensor that has been fed, in order and without gap.

    A part may begin and end within an element: the bytes of such an element are kept, and put
    together when the following part is absorbed.
    """

    def __init__(self, span: TensorSpan) -> None:
        self.begin = span.begin
        self.end = span.end
        self._span = span
        self._layout = FLOATS.get(span.dtype)
        self._position: int | None = None
        self._head = b""
        self._tail = b""
        self._largest = -1
        self._nan = 0
        self._infinite = 0
        self._squares = 0.0
        self._sampled = 0
        self._zero_runs = ZeroRuns()
        self._checksum = Checksum(span.begin)
        self._probes: dict[int, float] = {}
        self._wanted = probe_indices(span.size // self._layout.size) if self._layout else ()

    def feed(self, raw: NDArray[np.uint8], offset: int) -> None:
        """Take the bytes that lie at ``offset`` of the file, after those taken before."""
        self._zero_runs.feed(raw, offset)
        self._checksum.feed(raw, offset)
        self._take(raw, offset)

    def _take(self, raw: NDArray[np.uint8], offset: int) -> None:
        """Take the values, and keep the bytes of an element that is cut."""
        first, self._position = self._position is None, offset + len(raw)
        if (layout := self._layout) is None:
            return
        size = layout.size
        if first and (over := (offset - self.begin) % size):
            self._head, raw = raw[: size - over].tobytes(), raw[size - over :]
        elif self._tail:
            missing = size - len(self._tail)
            self._tail, raw = self._tail + raw[:missing].tobytes(), raw[missing:]
            if len(self._tail) < size:
                return
            element = np.frombuffer(self._tail, np.uint8)
            self._scan(element, self._position - len(raw) - size, layout)
        whole = len(raw) - len(raw) % size
        self._tail = raw[whole:].tobytes()
        if whole:
            self._scan(raw[:whole], self._position - len(raw), layout)

    def absorb(self, following: TensorPart) -> None:
        """Join the part that begins where this one ends."""
        if self._position is not None and following._head:
            self._take(np.frombuffer(following._head, np.uint8), self._position)
        self._position, self._tail = following._position, following._tail
        self._zero_runs.absorb(following._zero_runs)
        self._checksum.absorb(following._checksum)
        self._probes |= following._probes
        self._largest = max(self._largest, following._largest)
        self._nan += following._nan
        self._infinite += following._infinite
        self._squares += following._squares
        self._sampled += following._sampled

    def statistics(self) -> TensorStatistics:
        """Return what was found, when the whole tensor has been fed."""
        span, layout = self._span, self._layout
        largest = rms = None
        if layout is not None and self._largest >= 0:
            bits = np.array([self._largest], layout.unsigned)
            largest = float(magnitudes_of(bits, span.dtype)[0])
        if self._sampled and isfinite(self._squares):
            # Sums of another order of additions differ in the last bits; seven digits do not.
            rms = float(f"{sqrt(self._squares / self._sampled):.7g}")
        return TensorStatistics(
            name=span.name,
            dtype=span.dtype,
            shape=span.shape,
            largest=largest,
            nan=self._nan,
            infinite=self._infinite,
            rms=rms,
            zeros_from=span.end - self._zero_runs.tail,
            zero_runs=self._zero_runs.found(),
            checksum=self._checksum.value(),
            probes=tuple(value for _, value in sorted(self._probes.items())),
        )

    def _scan(self, raw: NDArray[np.uint8], offset: int, layout: FloatLayout) -> None:
        """Take whole elements that begin at ``offset`` of the file."""
        bits = raw.view(layout.unsigned)
        if not bits.flags.aligned:
            # A copy is three times as fast as the buffered loops of numpy for unaligned data.
            bits = bits.copy()
        largest = max(int(bits.max()) & layout.mask, int(bits.view(f"<i{layout.size}").max()))
        all_finite = largest <= layout.largest
        if not all_finite:
            magnitudes = layout.magnitudes(bits)
            infinite = 0
            if layout.infinity is not None:
                infinite = int(np.count_nonzero(magnitudes == layout.infinity))
            finite = magnitudes[magnitudes <= layout.largest]
            self._infinite += infinite
            self._nan += len(bits) - len(finite) - infinite
            largest = int(finite.max()) if len(finite) else -1
        self._largest = max(self._largest, largest)
        index = (offset - self.begin) // layout.size
        self._sample(bits, index, layout, all_finite=all_finite)
        self._probe(bits, index, layout)

    def _probe(self, bits: Bits, index: int, layout: FloatLayout) -> None:
        """Keep the probes among the values that begin at ``index`` of the tensor."""
        wanted = self._wanted[
            bisect_left(self._wanted, index) : bisect_left(self._wanted, index + len(bits))
        ]
        for each in wanted:
            at = bits[each - index : each - index + 1]
            chosen = layout.magnitudes(at)
            magnitude = 0.0
            if int(chosen[0]) <= layout.largest:
                magnitude = float(magnitudes_of(chosen, self._span.dtype)[0])
            self._probes[each] = -magnitude if int(at[0]) > layout.mask else magnitude

    def _sample(self, bits: Bits, index: int, layout: FloatLayout, *, all_finite: bool) -> None:
        """Add the sampled values among those that begin at ``index`` of the tensor."""
        chosen = layout.magnitudes(_sampled(bits, index))
        if not all_finite:
            chosen = chosen[chosen <= layout.largest]
        if len(chosen):
            values = magnitudes_of(chosen, self._span.dtype)
            with np.errstate(over="ignore"):
                self._squares += sum_of_squares(values)
            self._sampled += len(chosen)


def _sampled(bits: Bits, index: int) -> Bits:
    """Return those of the sample among the values that begin at ``index`` of the tensor."""
    ahead = -index % SAMPLE_PERIOD
    # Nothing where a block begins: it is one of the following then.
    head = bits[: max(SAMPLE_LENGTH - index % SAMPLE_PERIOD, 0)] if ahead else bits[:0]
    whole = max(len(bits) - ahead, 0) // SAMPLE_PERIOD
    last = ahead + whole * SAMPLE_PERIOD
    blocks = bits[ahead:last].reshape(whole, SAMPLE_PERIOD)[:, :SAMPLE_LENGTH]
    return np.concatenate((head, blocks.ravel(), bits[last : last + SAMPLE_LENGTH]))


def probe_indices(length: int) -> tuple[int, ...]:
    """Return the places of the values that are kept of a tensor, in order."""
    if length <= PROBES:
        return tuple(range(length))
    places = (number + number * _GOLDEN % 1 for number in range(PROBES))
    return tuple(int(place * length) // PROBES for place in places)
