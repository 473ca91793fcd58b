"""The sample configuration, the editor schema and the reference page, all from the one model.

``python -m resume_daemon.config.sample --write`` brings the files in the repository up to date;
without ``--write`` it prints the sample.
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resume_daemon.config.reload import NEEDS_RESTART
from resume_daemon.config.schema import SINKS, section_of, walk
from resume_daemon.config.settings import Settings
from resume_daemon.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic.fields import FieldInfo
WIDTH = 96
SOURCE = "resume_daemon/config/settings.py"

_HEAD = f"""\
Every setting of resume-daemon, with its default. All of them may be left out: a file that holds
`run: /data/my-run` alone is complete. Relative paths start at the directory of this file, globs
at the run. A secret never stands here, only where it is kept.

Generated from {SOURCE} by `make docs`."""

_EXAMPLES: dict[str, dict[str, str]] = {
    "slack": {"name": "team", "url_file": "/etc/resume_daemon/slack-url"},
    "webhook": {"name": "pager", "url": "https://alerts.example/hook", "secret_env": "PAGER_KEY"},
}


def sample() -> str:
    """Return a complete configuration file in which every setting has its default."""
    lines = [*(f"# {line}".rstrip() for line in _HEAD.splitlines()), ""]
    for name, field in Settings.model_fields.items():
        lines += [*_setting(name, field, ""), ""]
    return "\n".join(lines).rstrip() + "\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) by which an editor completes and checks a file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Settings.model_json_schema(),
        "title": "resume-daemon",
    }


def reference() -> str:
    """Return the reference page, in Markdown."""
    parts = [
        "# Configuration\n",
        f"<!-- Generated from {SOURCE} by `make docs`. -->\n",
        _INTRODUCTION,
        "## Top level\n",
        *_table([(path, field) for path, field in walk() if "." not in path]),
    ]
    for path, field in walk():
        if section := section_of(field):
            inside = [(f"{path}.{name}", inner) for name, inner in section.model_fields.items()]
            parts += [f"## `{path}`\n", f"{_text(section.__doc__)}\n", *_table(inside)]
    for kind, model in SINKS.items():
        inside = [(f"alerts.sinks[].{name}", field) for name, field in model.model_fields.items()]
        parts += [f"## A sink of type `{kind}`\n", f"{_text(model.__doc__)}\n", *_table(inside)]
    return "\n".join(parts)


def write(root: Path) -> None:
    """Write the generated files below ``root``, the root of the repository."""
    write_atomic(root / "config.example.yaml", sample().encode())
    write_atomic(root / "docs" / "configuration.md", reference().encode())


def main(arguments: Sequence[str]) -> None:
    """Print the sample, or with ``--write`` write every generated file below the working one."""
    if "--write" in arguments:
        write(Path.cwd())
    else:
        sys.stdout.write(sample())


_INTRODUCTION = """\
`resume-daemon run PATH` needs no file: every setting has a default. A file is YAML; a complete one
with all defaults is [`config.example.yaml`](../config.example.yaml); `resume-daemon config init`
writes it. `resume-daemon config check FILE` says whether a file is fine, and
`resume-daemon config schema` prints a JSON schema by which editors complete and check one.

- Unknown keys, values of the wrong kind and impossible combinations are refused, all at once, each
  with its line. A misspelt key is answered with the nearest known one.
- Relative paths start at the directory of the file, and `~` is the home directory. Variables such
  as `$HOME` are not expanded. Globs start at the run.
- A section or list with nothing in it counts as left out.
- The command line goes before the file.
- Secrets have no place in the file. A sink names where its secret is kept: a systemd credential
  (`*_credential`), a file (`*_file`) or an environment variable (`*_env`).
- `kill -HUP`, or `systemctl reload`, reads the file again. Where *reload* says "restart", a changed
  value waits for the next start and the daemon says so; a file that is wrong changes nothing.
"""


def _setting(name: str, field: FieldInfo, indent: str) -> Iterator[str]:
    """Yield the lines of one setting, or of a section with all that is in it."""
    if section := section_of(field):
        yield from _comment(_text(section.__doc__), indent)
        yield f"{indent}{name}:"
        for inner_name, inner in section.model_fields.items():
            yield from _setting(inner_name, inner, indent + "  ")
        return
    yield from _comment(_text(field.description), indent)
    if choices := _choices(field):
        yield f"{indent}# One of: {', '.join(choices)}"
    default = field.get_default(call_default_factory=True)
    yield f"{indent}{name}: {_yaml(default)}"
    if name == "sinks":
        yield from _sink_examples(indent)


def _sink_examples(indent: str) -> Iterator[str]:
    """Yield one commented example of each type of sink."""
    for kind, values in _EXAMPLES.items():
        yield from _comment(_text(SINKS[kind].__doc__), indent)
        first, *rest = [f"type: {kind}", *(f"{key}: {value}" for key, value in values.items())]
        yield f"{indent}#- {first}"
        yield from (f"{indent}#  {line}" for line in rest)


def _table(rows: list[tuple[str, FieldInfo]]) -> Iterator[str]:
    """Yield a Markdown table of settings; sections have tables of their own."""
    yield "| setting | what it is | default | reload |\n| --- | --- | --- | --- |"
    for path, field in rows:
        if section_of(field):
            continue
        text = _text(field.description)
        if choices := _choices(field):
            text += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
        default = "required" if field.is_required() else f"`{_yaml(field.get_default())}`"
        reload = "restart" if path in NEEDS_RESTART else "at once"
        yield f"| `{path}` | {text} | {default} | {reload} |"
    yield ""


def _choices(field: FieldInfo) -> tuple[str, ...]:
    """Return the values that a setting can have, where they are few."""
    values = getattr(field.annotation, "__args__", ())
    return values if len(values) > 1 and all(isinstance(value, str) for value in values) else ()


def _yaml(value: object) -> str:
    """Return a default as YAML spells it; JSON is YAML for what stands here."""
    return value if isinstance(value, str) else json.dumps(value)


def _text(text: str | None) -> str:
    """Return a description on one line."""
    return " ".join((text or "").split())


def _comment(text: str, indent: str) -> list[str]:
    """Return a text as YAML comments, wrapped."""
    prefix = f"{indent}# "
    return textwrap.wrap(text, WIDTH, initial_indent=prefix, subsequent_indent=prefix)


if __name__ == "__main__":
    main(sys.argv[1:])
