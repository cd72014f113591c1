"""Runs a Python entry point in a child: `PYTHON entry.py TARGET`, with a JSON object on standard
input that says what TARGET, which is there for the eye only, is to be given.

Stands alone and imports nothing of stsd, because the interpreter may be one in which stsd is not
installed; Python 3.8 is enough for it. Exits 0 when the entry point returns, whatever it returns;
an exception leaves its traceback on standard error and exit status 1. Where the standard input is
a file (in memory), the exception's last line is also written behind the JSON object.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import stat
import sys
import traceback
from types import TracebackType
from typing import Any

_TOLD_AT_MOST = 1000


class Case:
    """The file that a child's JSON object came in, kept to take the last words of the child."""

    def __init__(self) -> None:
        """Read descriptor 0, and put /dev/null in its place."""
        self._fd = os.dup(0)
        with open(self._fd, "rb", closefd=False) as file:
            self.spec: dict[str, Any] = json.load(file)
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            os.close(self._fd)
            self._fd = -1
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)

    def tell(self, kind: type[BaseException], error: BaseException) -> None:
        """Write down what an exception says, in one line."""
        if self._fd >= 0:
            lines = traceback.format_exception_only(kind, error)
            # Of a SyntaxError the place comes first, indented.
            line = next((line for line in lines if not line.startswith(" ")), lines[-1])
            text = " ".join(line.split())[:_TOLD_AT_MOST]
            os.write(self._fd, text.encode("utf-8", "backslashreplace"))

    def excepthook(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """In place of sys.excepthook: tell, too."""
        sys.__excepthook__(kind, error, trace)
        self.tell(kind, error)


def resolve(target: str) -> Any:
    """Return the object that `package.module:name` or `package.module:name.attribute` names."""
    module_name, _, path = target.partition(":")
    found = importlib.import_module(module_name)
    for name in path.split("."):
        found = getattr(found, name)
    return found


def call(entry: Any, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Call a function, run a coroutine function, or make a class's object and call its run()."""
    made = entry(*args, **kwargs)
    result = made.run() if inspect.isclass(entry) else made
    if inspect.iscoroutine(result):
        import asyncio

        asyncio.run(result)


def run(case: Case) -> None:
    """Do what a case asks for."""
    spec = case.spec
    sys.argv = [spec["target"]]
    sys.excepthook = case.excepthook
    try:
        entry = resolve(spec["target"])
    except (ImportError, AttributeError) as error:
        traceback.print_exc()
        places = ", ".join(sys.path)
        print(f"stsd: cannot find {spec['target']} in {places}", file=sys.stderr)
        case.tell(type(error), error)
        sys.exit(1)
    call(entry, spec["args"], spec["kwargs"])


def main() -> None:
    """Run what standard input says."""
    case = Case()
    # The first entry is the folder of this file, which holds stsd's own modules.
    sys.path[0:1] = [*case.spec["path"], os.getcwd()]
    run(case)


if __name__ == "__main__":
    main()
