"""The last lines of what an attempt has printed, fit to be shown to anybody, anywhere.

What a job prints is data: nothing of it is obeyed, be it by a terminal, a chat or a mail reader.
Reads no more than the end of the file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from stsd.letter import TAIL_BYTES, TAIL_LINES
from stsd.units import escaped

_LONGEST_LINE = 500
# ECMA-48: control sequences, control strings up to their end (ST, or BEL as xterm has it), and
# escapes of two characters, also those with intermediate ones such as a choice of characters.
_SEQUENCES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[PX\]^_].*?(?:\x1b\\|\x07|$)"
    r"|\x1b[ -/]*[0-~]"
)


def tail_of(path: Path) -> tuple[str, ...]:
    """The last `TAIL_LINES` lines, or as many of them as are in the last `TAIL_BYTES` bytes; none
    where there is no such file any more. Raises OSError for a file that cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return ()
    with open(fd, "rb") as file:
        begin = max(0, os.fstat(fd).st_size - TAIL_BYTES)
        file.seek(begin)
        return shown(file.read(TAIL_BYTES), cut_off=begin > 0)


def shown(data: bytes, *, cut_off: bool = False) -> tuple[str, ...]:
    """The lines of the bytes as they are shown: without what moves, colours or clears a terminal,
    with other control characters as escapes and with a mark for what is no UTF-8. If the first line
    is `cut_off`, it is left out, unless it is the only one."""
    lines = data.rstrip(b"\r\n").split(b"\n")
    if cut_off and len(lines) > 1:
        del lines[0]
    return tuple(_line(each) for each in lines[-TAIL_LINES:]) if any(lines) else ()


def _line(data: bytes) -> str:
    """One line as it would stand at last on a terminal, where each \\r begins it anew."""
    text = _SEQUENCES.sub("", data.decode(errors="replace"))
    text = text.rstrip("\r").rpartition("\r")[2]
    text = escaped(text.expandtabs(8)).rstrip()
    return text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 1]}…"
