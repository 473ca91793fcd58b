"""The demo's screen: what happens now, and below it what the daemon has recorded of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from resume_daemon.report.console import checkpoint_table, condition_lines

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import RenderableType

    from resume_daemon.ledger.queries import RunState

_WIDTH: Final = 120
"""Columns where there is no terminal that has a width."""


class Screen:
    """A live table at a terminal; elsewhere only the lines that say what happens."""

    def __init__(self) -> None:
        console = Console(highlight=False)
        self._console = console if console.is_terminal else Console(highlight=False, width=_WIDTH)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._now = ""
        self._shown: tuple[str, int, int] | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def close(self) -> None:
        """Take the live table away; what is printed from now on stays."""
        self._live.stop()

    def say(self, text: str) -> None:
        """Say what happens from now on."""
        self._now = text
        if not self._console.is_terminal:
            self.print(Text(f"* {text}"))

    def show(self, state: RunState, alerts: int) -> None:
        """Show what the ledger says, and how many alerts have arrived."""
        now = (self._now, state.seq, alerts)
        if not self._live.is_started or now == self._shown:
            return
        self._shown = now
        self._live.update(
            Group(
                Text(f"now: {self._now}", style="bold"),
                checkpoint_table(state),
                *condition_lines(state),
                Text(f"{alerts} alerts have arrived at the webhook"),
            ),
            refresh=True,
        )

    def print(self, *lines: RenderableType) -> None:
        """Print what stays."""
        for line in lines:
            self._console.print(line, soft_wrap=isinstance(line, Text))
