"""Elements of HTML and SVG as text. Whatever comes from files goes through here and is inert."""

from __future__ import annotations

import re
from html import escape as _escape
from typing import Final

from resume_daemon.report.plain import plain

# What turns the direction of a text around could make a name look like another one, and the last
# two are no characters at all.
_HIDDEN: Final = {
    code: f"\\u{code:04x}"
    for code in (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFFFE, 0xFFFF)
}


_CODE: Final = re.compile(r"`([^`]{1,200})`")


def text(value: object) -> str:
    """Return text that stands in a page as it is, whatever it holds."""
    shown = plain(str(value)).translate(_HIDDEN)
    # A file's name may be any bytes; what UTF-8 cannot say is shown as an escape.
    return _escape(shown.encode("utf-8", "backslashreplace").decode("utf-8"), quote=True)


def prose(value: object) -> str:
    """Return a sentence, in which what stands between backticks is set as code."""
    return _CODE.sub(r"<code>\1</code>", text(value))


def tag(name: str, /, *inner: str, **attributes: object) -> str:
    """Return an element.

    Args:
        name: Its name, of this program's own.
        inner: Markup that stands in it: elements, and texts that went through ``text``.
        attributes: By name; ``_`` at the end is left out and other ones become ``-``. Values are
            escaped; None leaves one out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{given}>{''.join(inner)}</{name}>"


def table(headers: list[str], rows: list[list[str]], caption: str) -> str:
    """Return a table of texts; digits of numbers are of one width."""
    head = tag("tr", *(tag("th", text(each), scope="col") for each in headers))
    body = [tag("tr", *(tag("td", text(cell), class_=_kind(cell)) for cell in row)) for row in rows]
    return tag(
        "div",
        tag("table", tag("caption", text(caption)), tag("thead", head), tag("tbody", *body)),
        class_="wide",
    )


def _kind(cell: str) -> str | None:
    if cell == "-" or cell.removeprefix("-").replace(".", "", 1).isdigit():
        return "number"
    return "short" if len(cell) <= _SHORT else None


_SHORT: Final = 24
"""Characters up to which a cell is not broken into lines."""
