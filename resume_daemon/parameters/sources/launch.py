"""The command of a launch script that starts the training, and what it is given."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from resume_daemon.errors import FormatError
from resume_daemon.parameters.names import canonical
from resume_daemon.parameters.sources.shell_script import parse_script
from resume_daemon.parameters.sources.shell_words import Word, read_again
from resume_daemon.parameters.sources.text import read_text, value_of
from resume_daemon.parameters.values import Setting, Source, SourceKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from resume_daemon.parameters.sources.shell_script import Command, Script

_PYTHON: Final = re.compile(r"(?:.*/)?python[\d.]*")
_LAUNCHERS: Final = {"torchrun", "accelerate", "deepspeed"}
_LAUNCHER_MODULES: Final = {
    "torch.distributed.run": "torchrun",
    "torch.distributed.launch": "torchrun",
    "accelerate.commands.launch": "accelerate",
    "deepspeed.launcher.runner": "deepspeed",
}
_TRAINERS: Final = {"trl", "swift", "llamafactory-cli", "axolotl", "xtuner"}
"""Programs that are trainers themselves; their first argument says which."""

_RUNNERS: Final = {"uv", "poetry", "pdm", "hatch", "pipenv", "pixi", "rye"}
"""Programs whose ``run train.py`` is Python without its name."""

_OPTION: Final = re.compile(r"--?(?P<name>[A-Za-z][\w.-]*)(?P<value>=.*)?", re.DOTALL)
_OVERRIDE: Final = re.compile(
    r"\+{0,2}(?P<keys>(?:[A-Za-z_]\w*\.)*)(?P<name>[A-Za-z_]\w*)=.*", re.DOTALL
)
_NUMBER: Final = re.compile(r"-\.?\d.*")
_PYTHON_WITH_VALUE: Final = {"-W", "-X"}


@dataclass(frozen=True, slots=True)
class Launch:
    """What a launch script says of a training.

    Attributes:
        settings: What the training is given: the command's arguments, and what is exported.
        launcher: What the launcher itself is given (``nproc_per_node``).
        program: Script or module that is started, as it is written there; or "".
        launcher_name: "torchrun", "accelerate", "deepspeed", or "" for a plain process.
        sourced: Files that the script sources, as they are written there.
        directories: Directories that it changes to.
        notes: What could not be understood.
    """

    settings: tuple[Setting, ...] = ()
    launcher: tuple[Setting, ...] = ()
    program: str = ""
    launcher_name: str = ""
    sourced: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Start:
    """A command that starts Python, or a trainer, taken apart."""

    command: Command
    program: str = ""
    launcher_name: str = ""
    launcher: list[Word] = field(default_factory=list)
    arguments: list[Word] = field(default_factory=list)
    certain: bool = True


def read_launch_script(
    path: Path, label: str, environ: Mapping[str, str], known: Collection[str] = ()
) -> Launch:
    """Return what a launch script says; it is read and never run.

    Of several commands that start Python, the one that is given most of the known parameters is
    taken, and of equals the last. That it starts at all may hang on a condition: what it is given
    then is certain all the same, unless another command starts the same program with another value.

    Args:
        path: The script.
        label: How it is called to a person.
        environ: The environment that it would be started with.
        known: Names of parameters, as ``names.canonical`` gives them.

    Raises:
        FormatError: It is no shell script.
        VanishedError: It is not there.
        ResumeDaemonError: It cannot be read.
    """
    script = parse_script(read_text(path, "read the launch script"), path, environ)
    starts = [start for command in script.commands if (start := _start(command)) is not None]
    for start in starts:
        start.certain = script.error_line is None
    source = Source(SourceKind.COMMAND_LINE, path, label)
    notes = list(script.notes)
    given = [list(_settings(start.arguments, source, start)) for start in starts]
    counts = [len({canonical(each.name) for each in found} & set(known)) for found in given]
    place = max(range(len(starts)), key=lambda each: (counts[each], each), default=None)
    chosen = None if place is None else starts[place]
    settings: list[Setting] = []
    if chosen is not None and place is not None:
        others = [f for s, f in zip(starts, given, strict=True) if s.program == chosen.program]
        settings = [_agreed(each, others) for each in given[place]]
    if script.error_line is not None:
        if chosen is None:
            reason = f"it is no shell script: see its line {script.error_line}"
            raise FormatError("read the launch script", path, reason)
        notes.append(
            f"line {script.error_line} is not understood, so that nothing in the script is certain"
        )
    if chosen is None:
        notes.append("no command in it starts Python or a trainer that is known")
        return Launch(
            sourced=tuple(script.sourced),
            directories=tuple(script.directories),
            notes=tuple(notes),
        )
    notes += [
        f"line {word.line} passes on {word.text}, which is known only when it runs"
        for word in chosen.arguments
        if not word.certain and word.text.strip('"{}$').split("[")[0] in {"@", "*"}
    ]
    exported = Source(SourceKind.ENVIRONMENT, path, label)
    return Launch(
        settings=tuple(_placed([*_exports(chosen, exported), *settings], script)),
        launcher=tuple(_settings(chosen.launcher, source, chosen, scope=chosen.launcher_name)),
        program=chosen.program,
        launcher_name=chosen.launcher_name,
        sourced=tuple(script.sourced),
        directories=tuple(script.directories),
        notes=tuple(notes),
    )


def _start(command: Command) -> _Start | None:
    """Return the command taken apart, or None where it starts neither Python nor a trainer."""
    words = list(command.words)
    for place, word in enumerate(words):
        if word.text == "eval":
            words = read_again(words[place + 1 :])
            break
    for place, word in enumerate(words):
        name = word.text.rpartition("/")[2]
        start = _Start(command)
        if _PYTHON.fullmatch(word.text):
            return _python(start, words[place + 1 :])
        if name in _LAUNCHERS:
            start.launcher_name = name
            rest = words[place + 1 :]
            if name == "accelerate":
                if not rest or rest[0].text != "launch":
                    return None
                rest = rest[1:]
            return _launched(start, rest)
        if name in _RUNNERS and any(each.text == "run" for each in words[place + 1 :][:1]):
            found = _launched(start, words[place + 2 :])
            if found is not None:
                found.launcher = []
                return found
        if name in _TRAINERS:
            rest = words[place + 1 :]
            start.program = " ".join([name, *(w.text for w in rest[:1])])
            start.arguments = rest[1:]
            return start
    return None


def _python(start: _Start, words: Sequence[Word]) -> _Start | None:
    place = 0
    while place < len(words) and words[place].text.startswith("-"):
        text = words[place].text
        if text == "-c":
            return None
        if text == "-m":
            rest = words[place + 1 :]
            if not rest:
                return None
            if launcher := _LAUNCHER_MODULES.get(rest[0].text):
                start.launcher_name = launcher
                return _launched(start, rest[1:])
            start.program, start.arguments = rest[0].text, list(rest[1:])
            return start
        place += 2 if text in _PYTHON_WITH_VALUE else 1
    if place == len(words):
        return None
    start.program, start.arguments = words[place].text, list(words[place + 1 :])
    return start


def _launched(start: _Start, words: Sequence[Word]) -> _Start | None:
    """Part what the launcher is given from the script and what that is given."""
    for place, word in enumerate(words):
        if word.text in {"-m", "--module"} and place + 1 < len(words):
            start.launcher = list(words[:place])
            start.program, start.arguments = words[place + 1].text, list(words[place + 2 :])
            return start
        if word.text.endswith(".py") and not word.text.startswith("-"):
            start.launcher = list(words[:place])
            start.program, start.arguments = word.text, list(words[place + 1 :])
            return start
    return None


def _agreed(setting: Setting, others: list[list[Setting]]) -> Setting:
    """Return a setting, as not certain where the same program is started without it as well."""
    for found in others:
        if not any(each.name == setting.name and each.value == setting.value for each in found):
            return replace(setting, certain=False, span=None)
    return setting


def _placed(settings: list[Setting], script: Script) -> Iterator[Setting]:
    """Yield settings with a place only where nothing but settings would change with it.

    What several settings stand for at once says so: it can be changed for all of them.
    """
    sharing: dict[tuple[int, int], list[str]] = {}
    for each in settings:
        if each.span is not None:
            sharing.setdefault(each.span, []).append(each.name)
    for each in settings:
        if each.span is None:
            yield each
            continue
        names = sharing[each.span]
        variable = _origin(each.span, script)
        if variable is not None and script.uses.get(variable, 0) > len(names):
            yield replace(each, span=None)
        else:
            others = tuple(dict.fromkeys(name for name in names if name != each.name))
            yield replace(each, also=others)


def _origin(span: tuple[int, int], script: Script) -> str | None:
    """Return the variable whose value stands at a place, with or without its quotation marks."""
    return script.origins.get(span) or script.origins.get((span[0] + 1, span[1] - 1))


def _exports(start: _Start, source: Source) -> Iterator[Setting]:
    for name, word in start.command.environment.items():
        yield _setting(name, word, source, start, "environment")


def _settings(
    words: Sequence[Word], source: Source, start: _Start, scope: str | None = None
) -> Iterator[Setting]:
    """Yield what options and overrides (``data.max_prompt_length=1024``) give."""
    scope = start.program if scope is None else scope
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        text = word.text
        option = _OPTION.fullmatch(text)
        if option is not None and option["value"] is not None:
            rest = word.after(option.start("value") + 1)
            yield _setting(option["name"], rest, source, start, scope)
        elif option is not None:
            values = []
            while place < len(words) and not _is_option(words[place].text):
                values.append(words[place])
                place += 1
            yield from _option(word, values, source, start, scope)
        elif override := _OVERRIDE.fullmatch(text):
            keys = override["keys"].rstrip(".")
            rest = word.after(override.end("name") + 1)
            yield _setting(override["name"], rest, source, start, keys or scope)


def _option(
    word: Word, values: list[Word], source: Source, start: _Start, scope: str
) -> Iterator[Setting]:
    name = word.text.lstrip("-")
    certain = start.certain and word.certain
    if not values:
        # HfArgumentParser makes --no_NAME of a truth value that is true by default.
        negated = name.startswith(("no_", "no-"))
        plain = name[3:] if negated else name
        yield Setting(
            _plain(plain), not negated, source, line=word.line, certain=certain, scope=scope
        )
    elif len(values) == 1:
        yield _setting(name, values[0], source, start, scope)
    else:
        yield Setting(
            _plain(name),
            [value_of(each.text) for each in values],
            source,
            line=values[0].line,
            certain=certain and all(each.certain for each in values),
            scope=scope,
        )


def _setting(name: str, word: Word, source: Source, start: _Start, scope: str) -> Setting:
    certain = start.certain and word.certain
    return Setting(
        _plain(name),
        value_of(word.text),
        source,
        line=word.line or start.command.line,
        span=word.span if certain else None,
        certain=certain,
        scope=scope,
    )


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _is_option(text: str) -> bool:
    return text.startswith("-") and _NUMBER.fullmatch(text) is None and text != "-"
