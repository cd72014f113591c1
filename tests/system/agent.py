"""Inside the virtual machine: runs what machine.py asks for. `agent.py EXCHANGE`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path


def run(command: list[str]) -> dict[str, object]:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError as error:
        return {"code": 127, "stdout": "", "stderr": f"{error}\n"}
    return {"code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


def answer(request: Path) -> None:
    reply = run(json.loads(request.read_text()))
    draft = request.with_suffix(".answer")
    draft.write_text(json.dumps(reply))
    request.unlink()
    draft.rename(request.with_suffix(".reply"))


def serve(exchange: Path) -> None:
    (exchange / "ready").touch()
    while True:
        for request in sorted(exchange.glob("*.request")):
            answer(request)
        time.sleep(0.05)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
