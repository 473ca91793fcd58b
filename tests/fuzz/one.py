"""One format under atheris, which ends its process itself: ``make fuzz`` starts one for each.

Usage: ``python -m tests.fuzz.one FORMAT FOLDER [option of libFuzzer ...]``. What must not happen is
noted in ``FOLDER/crashes`` with the input, one for each place in our code, and the run goes on;
libFuzzer itself ends it where an input takes too long or too much memory.
"""

from __future__ import annotations

import hashlib
import resource
import sys
import tempfile
import traceback
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["resume_daemon.formats", "resume_daemon.reading"]):
    from tests.fuzz.guard import MOST_BYTES, MOST_SECONDS, guarded
    from tests.fuzz.seeds import seeds
    from tests.fuzz.targets import TARGETS

from resume_daemon.formats.content import Format

_RAW = Path("/dev/shm")  # noqa: S108 - memory, so that the disk is not what is measured.


def main(arguments: list[str]) -> None:
    """Fuzz one format until libFuzzer ends the process."""
    encoding, folder = Format(arguments[0]), Path(arguments[1])
    corpus, seeded, crashes = (folder / name for name in ("corpus", "seeds", "crashes"))
    for each in (corpus, seeded, crashes):
        each.mkdir(parents=True, exist_ok=True)
    target = TARGETS[encoding]
    work = Path(tempfile.mkdtemp(prefix="fuzz-", dir=_RAW if _RAW.is_dir() else None))
    print(f"work: {work}", flush=True)  # noqa: T201 - read by what started us.
    for seed in seeds(encoding):
        # What is imported when it is needed is imported now.
        target.attempt(work, seed)()
        (seeded / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    known: set[str] = set()

    def attempt(data: bytes) -> None:
        try:
            guarded(target.attempt(work, data))
        except Exception as error:  # noqa: BLE001 - anything at all is what is looked for.
            place = _place(error)
            if place not in known:
                known.add(place)
                name = hashlib.sha256(place.encode()).hexdigest()[:16]
                (crashes / name).write_bytes(data)
                (crashes / f"{name}.txt").write_text("".join(traceback.format_exception(error)))
            print(f"crash: {place}", flush=True)  # noqa: T201 - as above.

    baseline = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"baseline: {baseline}", flush=True)  # noqa: T201 - as above.
    options = [
        f"-timeout={MOST_SECONDS:.0f}",
        f"-rss_limit_mb={baseline + (MOST_BYTES >> 20)}",
        f"-artifact_prefix={crashes}/",
        "-print_final_stats=1",
        "-max_len=4096",
        *arguments[2:],
        str(corpus),
        str(seeded),
    ]
    atheris.Setup([sys.argv[0], *options], attempt)
    atheris.Fuzz()


def _place(error: Exception) -> str:
    """Return what was raised, and where in our code."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "resume_daemon" in frame.filename] or list(frames)
    return f"{type(error).__name__} {Path(ours[-1].filename).name}:{ours[-1].lineno}"


if __name__ == "__main__":
    main(sys.argv[1:])
