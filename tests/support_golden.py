"""Pictures of what a command shows, as text in `tests/golden/`.

With STSD_WRITE_GOLDEN=1 in the environment they are written anew, to be looked at in the diff.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from stsd.cli.terminal import Line, Terminal, text_of

_FOLDER = Path(__file__).parent / "golden"


def assert_golden(name: str, text: str) -> None:
    """The text is what the file of this name holds."""
    path = _FOLDER / f"{name}.txt"
    if os.environ.get("STSD_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def shown(lines: Iterable[Line], terminal: Terminal) -> str:
    """The lines as they are written."""
    return "".join(f"{text_of(line, terminal)}\n" for line in lines)
