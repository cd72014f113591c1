"""Runs a Python entry point in a child: `PYTHON entry.py SPEC`, SPEC being a JSON object.

Stands alone and imports nothing of stsd, because the interpreter may be one in which stsd is not
installed; Python 3.8 is enough for it. Exits 0 when the entry point returns, whatever it returns;
an exception leaves its traceback on standard error and exit status 1.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import traceback
from typing import Any


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


def main() -> None:
    """Run what the one argument says."""
    spec = json.loads(sys.argv[1])
    # The first entry is the folder of this file, which holds stsd's own modules.
    sys.path[0:1] = [*spec["path"], os.getcwd()]
    sys.argv = [spec["target"]]
    try:
        entry = resolve(spec["target"])
    except (ImportError, AttributeError):
        traceback.print_exc()
        places = ", ".join(sys.path)
        print(f"stsd: cannot find {spec['target']} in {places}", file=sys.stderr)
        sys.exit(1)
    call(entry, spec["args"], spec["kwargs"])


if __name__ == "__main__":
    main()
