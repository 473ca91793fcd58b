"""Where repairs are kept: ``<sidecar>/repairs/<id>/`` holds the record, every content, the status.

A repair is prepared whole under another name before it gets its own, so that what is found under
an id can always be finished, and always be taken back.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from resume_daemon.errors import ChangedError, FormatError, ResumeDaemonError, VanishedError
from resume_daemon.files import (
    SMALL_FILE_LIMIT,
    flush_directory,
    make_directories,
    read_bounded,
    write_all,
    write_atomic,
)
from resume_daemon.repair.listing_digest import listing_digest
from resume_daemon.repair.record import Kept, Original, Repair, decode
from resume_daemon.repair.steps import Move

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from resume_daemon.backup.destinations import Destination
    from resume_daemon.repair.proposals import Proposal
    from resume_daemon.repair.record import Status
    from resume_daemon.repair.steps import RepairStep

_RECORD: Final = "repair.json"
_STATUS: Final = "status"
_CONTENTS: Final = "contents"
_STATUSES: Final = ("applying", "applied", "undoing", "undone")
_ID: Final = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{4}")

_CHANGED: Final = "it changed since it was looked at"
_AGAIN: Final = "Look at what changed it, and plan again."


class RepairStore:
    """The repairs of one run.

    Args:
        directory: ``<sidecar>/repairs``.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def prepare(
        self,
        proposals: Sequence[Proposal],
        identity: str,
        at: str,
        sidecar: Path,
        elsewhere: Destination | None = None,
    ) -> Repair:
        """Keep all that a repair needs and return its record; nothing is changed yet.

        Args:
            proposals: What is to be done, in order.
            identity: Its id.
            at: The time (UTC, RFC 3339).
            sidecar: Our own directory, whose times do not matter.
            elsewhere: Where what is replaced is kept a second time.

        Raises:
            ChangedError: Something is not what it was when the plan was made.
            FormatError: A backup does not verify.
            ResumeDaemonError: Something cannot be read, or the backups cannot be written.
        """
        contents: dict[str, bytes] = {}
        steps = tuple(
            _kept(each, proposal, contents) for proposal in proposals for each in proposal.steps
        )
        repair = Repair(identity, at, steps, _folders(steps, sidecar))
        new = self._directory / f".{identity}.new"
        try:
            make_directories(self._directory)
            (new / _CONTENTS).mkdir(parents=True)
            for digest, content in contents.items():
                _write(new / _CONTENTS / digest, content)
            _write(new / _RECORD, repair.encode())
            _write(new / _STATUS, b"applying")
            for folder in (new / _CONTENTS, new):
                flush_directory(folder)
            for digest in contents:
                _verified(new / _CONTENTS / digest, digest)
            if elsewhere is not None:
                _send(repair, contents, elsewhere)
            new.rename(self._directory / identity)
            flush_directory(self._directory)
        except ResumeDaemonError:
            shutil.rmtree(new, ignore_errors=True)
            raise
        except OSError as error:
            shutil.rmtree(new, ignore_errors=True)
            raise ResumeDaemonError(
                "back up before the repair in",
                self._directory,
                error.strerror or str(error),
                hint="Nothing was changed. Make room, or give --state-dir a place to write to.",
            ) from error
        return repair

    def content(self, repair: Repair, digest: str) -> bytes:
        """Return a content that was kept, verified.

        Raises:
            FormatError: It is damaged.
            ResumeDaemonError: It cannot be read.
        """
        return _verified(self._directory / repair.id / _CONTENTS / digest, digest)

    def read(self, identity: str) -> Repair:
        """Return a repair by its id.

        Raises:
            VanishedError: There is none.
            FormatError: It is damaged.
        """
        if not _ID.fullmatch(identity):
            raise VanishedError("find the repair", identity, "there is none of that name")
        path = self._directory / identity / _RECORD
        return decode(read_bounded(path), path)

    def status(self, repair: Repair) -> Status:
        """Return how far a repair has come.

        Raises:
            FormatError: Its status is damaged.
        """
        return self._status(repair.id)

    def _status(self, identity: str) -> Status:
        path = self._directory / identity / _STATUS
        word = read_bounded(path, 100).decode(errors="replace")
        for status in _STATUSES:
            if word == status:
                return status
        raise FormatError("read the status of the repair", path, "it is damaged")

    def set_status(self, repair: Repair, status: Status) -> None:
        """Write how far a repair has come.

        Raises:
            OSError: It cannot be written.
        """
        write_atomic(self._directory / repair.id / _STATUS, status.encode())

    def identities(self) -> list[str]:
        """Return the ids of all repairs, the newest first."""
        if not self._directory.is_dir():
            return []
        names = [path.name for path in self._directory.iterdir()]
        return sorted((name for name in names if _ID.fullmatch(name)), reverse=True)

    def interrupted(self) -> list[str]:
        """Return the ids of repairs that were neither finished nor taken back.

        Raises:
            FormatError: A status is damaged.
        """
        return [each for each in self.identities() if self._status(each) in {"applying", "undoing"}]

    def discard(self, repair: Repair) -> None:
        """Forget a repair that was prepared and not begun; what cannot be removed now is later.

        Raises:
            OSError: It cannot be renamed.
        """
        new = self._directory / f".{repair.id}.new"
        (self._directory / repair.id).rename(new)
        shutil.rmtree(new, ignore_errors=True)

    def clear_unprepared(self) -> None:
        """Remove what was interrupted before anything was changed."""
        if self._directory.is_dir():
            for path in self._directory.iterdir():
                if path.name.startswith(".") and path.name.endswith(".new"):
                    shutil.rmtree(path)


def digest_at(path: Path) -> str | None:
    """Return the digest of a file, or None where nothing is.

    Raises:
        ResumeDaemonError: It cannot be read, or is no regular file.
    """
    try:
        return blake3(read_bounded(path, SMALL_FILE_LIMIT)).hexdigest()
    except VanishedError:
        return None


def _kept(step: RepairStep, proposal: Proposal, contents: dict[str, bytes]) -> Kept:
    if isinstance(step, Move):
        if listing_digest(step.source) != step.before:
            raise ChangedError(
                "move", step.source, "it changed since it was looked at", hint=_AGAIN
            )
        if os.path.lexists(step.target):
            raise ChangedError(
                "move",
                step.source,
                f"{step.target} is there already",
                hint="Rename that one first.",
            )
        return Kept(
            action=proposal.action,
            checkpoint=proposal.checkpoint,
            sentence=step.sentence,
            target=str(step.target),
            before=step.before,
            after=step.before,
            source=str(step.source),
        )
    original = None
    if digest_at(step.target) != step.before:
        raise ChangedError("change", step.target, _CHANGED, hint=_AGAIN)
    if step.before is not None:
        contents[step.before] = read_bounded(step.target, SMALL_FILE_LIMIT)
        status = step.target.lstat()
        original = Original(
            status.st_mode & 0o7777,
            status.st_uid,
            status.st_gid,
            status.st_atime_ns,
            status.st_mtime_ns,
        )
    after = blake3(step.content).hexdigest()
    contents[after] = step.content
    return Kept(
        action=proposal.action,
        checkpoint=proposal.checkpoint,
        sentence=step.sentence,
        target=str(step.target),
        before=step.before,
        after=after,
        original=original,
    )


def _send(repair: Repair, contents: Mapping[str, bytes], elsewhere: Destination) -> None:
    """Keep what will be replaced, and the record that says where it was, at a second place."""
    replaced = {step.before for step in repair.steps if not step.is_move and step.before}
    for digest in sorted(replaced):
        elsewhere.write(digest, contents[digest])
        if blake3(elsewhere.read(digest, SMALL_FILE_LIMIT)).hexdigest() != digest:
            where = f"{elsewhere.label}: {digest}"
            raise FormatError("verify the backup", where, "its content has another digest")
    elsewhere.write(f"{repair.id}.json", repair.encode())


def _folders(steps: Sequence[Kept], sidecar: Path) -> dict[str, int]:
    places = [Path(path).parent for each in steps for path in (each.source, each.target) if path]
    return {
        str(folder): folder.stat().st_mtime_ns
        for folder in dict.fromkeys(places)
        if not folder.is_relative_to(sidecar) and folder.is_dir()
    }


def _write(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)


def _verified(path: Path, digest: str) -> bytes:
    content = read_bounded(path, SMALL_FILE_LIMIT)
    if blake3(content).hexdigest() != digest:
        raise FormatError("verify the backup", path, "its content has another digest")
    return content
