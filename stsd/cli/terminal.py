"""What a stream can show, and how text is put on it: colours, width, a word on what takes long.

One place decides whether a person looks on. It knows nothing of what is shown; whoever does puts
words beside every glyph and colour, since neither reaches everybody.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NamedTuple, TextIO

_CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}
_USUAL_COLUMNS = 80
_QUIET_S = 0.5
_REDRAW_S = 1.0


@dataclass(frozen=True, slots=True)
class Terminal:
    """What a stream can show. `live`: a person looks on, and what is shown may be redrawn;
    `glyphs`: signs that are no ASCII, in place of words; `columns` is None where nothing is
    cut."""

    live: bool = False
    colour: bool = False
    glyphs: bool = False
    columns: int | None = None


class Span(NamedTuple):
    """A piece of a line; `shade` is a colour or a weight, or empty. There are thousands in a
    table, and a tuple is made in half the time of a dataclass."""

    text: str
    shade: str = ""


Line = tuple[Span, ...]


def terminal_of(stream: TextIO, environ: Mapping[str, str] = os.environ) -> Terminal:
    """What can be shown on this stream.

    $NO_COLOR (https://no-color.org) asks for no colours, and so for words in place of glyphs;
    $FORCE_COLOR for colours off a terminal, too; $COLUMNS is a width for any stream. TERM=dumb is
    a terminal that takes nothing but text.
    """
    live = stream.isatty() and environ.get("TERM") != "dumb"
    plain = bool(environ.get("NO_COLOR"))
    forced = environ.get("FORCE_COLOR", "") not in ("", "0")
    encoding = (stream.encoding or "").lower().replace("-", "")
    return Terminal(
        live=live,
        colour=(live or forced) and not plain,
        glyphs=live and not plain and encoding == "utf8",
        columns=_columns(stream, environ),
    )


def _columns(stream: TextIO, environ: Mapping[str, str]) -> int | None:
    asked = environ.get("COLUMNS", "")
    if asked.isascii() and asked.isdigit() and int(asked):
        return int(asked)
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_COLUMNS
    except OSError:
        return _USUAL_COLUMNS


def painted(text: str, shade: str, terminal: Terminal) -> str:
    """The text in a colour or weight, where the terminal has them."""
    return f"\x1b[{_CODES[shade]}m{text}\x1b[0m" if shade and terminal.colour else text


def text_of(line: Line, terminal: Terminal) -> str:
    """A line as it is written to the terminal, without a newline."""
    if not terminal.colour:
        return "".join([text for text, _ in line])
    return "".join([painted(text, shade, terminal) for text, shade in line])


def write(lines: Iterable[Line], stream: TextIO) -> None:
    """The lines on a stream, with its colours."""
    terminal = terminal_of(stream)
    stream.writelines(f"{text_of(line, terminal)}\n" for line in lines)


def tell(text: str, shade: str = "") -> None:
    """A line for a person: on standard error, so that standard output is what was asked for."""
    print(painted(text, shade, terminal_of(sys.stderr)), file=sys.stderr, flush=True)


# -- width


def width_of(text: str) -> int:
    """How many columns a text takes: East Asian wide signs are two (Unicode Annex 11), combining
    ones none."""
    if text.isascii():
        return len(text)
    return sum(map(_width_of_sign, text))


def _width_of_sign(sign: str) -> int:
    if unicodedata.combining(sign):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def cut(text: str, columns: int, terminal: Terminal) -> str:
    """The text in at most so many columns, with a mark where something is left out."""
    if width_of(text) <= columns:
        return text
    mark = "…" if terminal.glyphs else "~"
    room, kept = columns - 1, 0
    for index, sign in enumerate(text):
        kept += _width_of_sign(sign)
        if kept > room:
            return f"{text[:index]}{mark}"[:columns]
    return text


def wrapped(text: str, columns: int | None, taken: int = 0) -> list[str]:
    """The text in lines of so many columns, broken between words; of the first line so many are
    taken already."""
    if columns is None or taken + width_of(text) <= columns:
        return [text]
    lines, room = [""], columns - taken
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if width_of(longer) <= room or not (lines[-1] or taken):
            lines[-1] = longer
        else:
            lines.append(word)
            room, taken = columns, 0
    return lines


# -- what takes long


@contextmanager
def working(what: str) -> Iterator[None]:
    """While the block runs for more than half a second, says on a terminal what is being done,
    and takes that back at the end. By a timer's signal, so that a wait for an answer is told of
    like a long loop; it must not be used within itself."""
    terminal = terminal_of(sys.stderr)
    if not terminal.live:
        yield
        return
    began, said, out = time.monotonic(), False, sys.stderr.fileno()

    def say(number: int, frame: FrameType | None) -> None:
        nonlocal said
        said = True
        room = (terminal.columns or _USUAL_COLUMNS) - 1
        text = cut(f"{what} ... {time.monotonic() - began:.0f}s", room, terminal)
        os.write(out, f"\r{painted(text, 'dim', terminal)}\x1b[K".encode())

    before = signal.signal(signal.SIGALRM, say)
    signal.setitimer(signal.ITIMER_REAL, _QUIET_S, _REDRAW_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
        if said:
            os.write(out, b"\r\x1b[K")
