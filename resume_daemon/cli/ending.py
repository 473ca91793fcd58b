"""How every command ends: 0 fine, 1 a check failed, 2 wrong usage; wrong input has no traceback."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from resume_daemon.cli.output import say_error
from resume_daemon.errors import ResumeDaemonError, UsageError

FAILED = 1
WRONG_USAGE = 2
"""Trying again cannot mend it: a service manager that restarts the daemon leaves this one alone."""
INTERRUPTED = 130
"""128 and the number of SIGINT, as shells have it."""
PIPE_CLOSED = 141
"""128 and the number of SIGPIPE: what was cut off by `| head` has not said that all is fine."""


class Commands(TyperGroup):
    """The commands, and what becomes of everything that one of them raises."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command, and turn what it raises into a sentence and an exit status."""
        try:
            try:
                return super().invoke(ctx)
            finally:
                # Here, and not when the interpreter ends: nobody could handle a closed pipe there.
                if sys.stdout is not None:
                    sys.stdout.flush()
        except ResumeDaemonError as error:
            _fail(error)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            _discard_output()
            raise typer.Exit(PIPE_CLOSED) from None
        except OSError as error:
            if error.filename is None:
                _discard_output()  # It may be what is full.
            _fail(_sentence(error))


def _sentence(error: OSError) -> ResumeDaemonError:
    """Return what to say of an error that no command foresaw at this place."""
    reason = error.strerror or str(error)
    if error.filename is None:
        hint = "Where the output goes may be full or broken."
        return ResumeDaemonError("finish", None, reason, hint=hint)
    hint = "Give this user permission, or run it as the training user."
    denied = isinstance(error, PermissionError)
    return ResumeDaemonError(
        "use", os.fsdecode(error.filename), reason, hint=hint if denied else ""
    )


def _fail(error: ResumeDaemonError) -> NoReturn:
    say_error(error)
    raise typer.Exit(WRONG_USAGE if isinstance(error, UsageError) else FAILED) from None


def _discard_output() -> None:
    """Let nothing more be written, or Python would complain again when it ends."""
    if sys.stdout is sys.__stdout__:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
