"""A picture that is drawn again each second, until `q` or Ctrl-C.

curses does what is hard about it: only what has changed is written, and the terminal is put back
as it was after a Ctrl-Z, a resize or an end by a signal.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stsd.cli.table import shorter
from stsd.cli.terminal import Line, Terminal, terminal_of
from stsd.errors import UsageError

if TYPE_CHECKING:
    import curses

REDRAW_S = 1.0
_LEAVE = (ord("q"), ord("Q"))


@dataclass(frozen=True, slots=True)
class Picture:
    """Lines that stay at the top, lines that can be scrolled, and lines that stay at the bottom."""

    head: Sequence[Line]
    body: Sequence[Line]
    foot: Sequence[Line] = ()


def watch(draw: Callable[[Terminal], Picture]) -> None:
    """Show what `draw` makes for a terminal of this width, anew each second.

    Raises UsageError where there is no terminal that can do this.
    """
    try:
        import curses
    except ImportError as error:
        raise UsageError("--watch takes a Python with the module curses") from error
    if not terminal_of(sys.stdout).live or not sys.stdin.isatty():
        raise UsageError("--watch takes a terminal (without it: stsd status)")
    try:
        curses.wrapper(_Watch(draw).run)
    except KeyboardInterrupt:
        pass  # one of the two ways to leave
    except curses.error as error:
        raise UsageError(f"--watch: this terminal cannot do it ({error})") from error


class _Watch:
    def __init__(self, draw: Callable[[Terminal], Picture]) -> None:
        self._draw = draw
        self._top = 0
        self._attributes: dict[str, int] = {}

    def run(self, screen: curses.window) -> None:
        """The loop; `screen` is the whole terminal."""
        self._attributes = _attributes(screen)
        while True:
            drawn_at = time.monotonic()
            picture = self._draw(_terminal(screen))
            self._show(screen, picture)
            while (left := drawn_at + REDRAW_S - time.monotonic()) > 0:
                screen.timeout(max(1, int(left * 1000)))
                key = screen.getch()
                if key in _LEAVE:
                    return
                if key != -1:
                    self._scroll(key, screen.getmaxyx()[0] // 2)
                    self._show(screen, picture)

    def _show(self, screen: curses.window, picture: Picture) -> None:
        rows = screen.getmaxyx()[0]
        room = max(1, rows - len(picture.head) - len(picture.foot))
        self._top = max(0, min(self._top, len(picture.body) - room))
        body = picture.body[self._top : self._top + room]
        screen.erase()
        edge = _terminal(screen)
        for number, line in enumerate([*picture.head, *body, *picture.foot][:rows]):
            screen.move(number, 0)
            for span in shorter(line, edge):
                screen.addstr(span.text, self._attributes.get(span.shade, 0))
        screen.refresh()

    def _scroll(self, key: int, page: int) -> None:
        import curses

        steps = {
            curses.KEY_UP: -1,
            curses.KEY_DOWN: 1,
            ord("k"): -1,
            ord("j"): 1,
            curses.KEY_PPAGE: -page,
            curses.KEY_NPAGE: page,
            ord(" "): page,
            curses.KEY_HOME: -sys.maxsize,
            curses.KEY_END: sys.maxsize,
        }
        self._top = max(0, self._top + steps.get(key, 0))


def _terminal(screen: curses.window) -> Terminal:
    """The screen as those see it who draw for it: without its last column, since a sign in its
    last corner would make it scroll."""
    columns = max(1, screen.getmaxyx()[1] - 1)
    return replace(terminal_of(sys.stdout), columns=columns)


def _attributes(screen: curses.window) -> dict[str, int]:
    """What curses calls the shades, as far as this terminal has them."""
    import curses

    with suppress(curses.error):  # not every terminal can hide its cursor
        curses.curs_set(0)
    screen.keypad(True)
    attributes = {"bold": curses.A_BOLD, "dim": curses.A_DIM}
    if not terminal_of(sys.stdout).colour or not curses.has_colors():
        return attributes
    curses.use_default_colors()
    colours = (curses.COLOR_RED, curses.COLOR_GREEN, curses.COLOR_YELLOW, curses.COLOR_CYAN)
    for pair, (shade, colour) in enumerate(
        zip(("red", "green", "yellow", "cyan"), colours, strict=True), 1
    ):
        curses.init_pair(pair, colour, -1)
        attributes[shade] = curses.color_pair(pair)
    return attributes
