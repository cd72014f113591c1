"""Where the output of attempts is kept: `LOG_DIR/output/JOB/RUN.ATTEMPT.log`.

Makes the files; a child writes into its own directly, so that nothing it prints passes through,
or is held up by, the daemon.
"""

from __future__ import annotations

import os
from pathlib import Path


def output_name(job: str, run_id: str, attempt: int) -> str:
    """The name of an attempt's output, relative to the log folder."""
    return f"output/{job}/{run_id}.{attempt}.log"


def open_output(log_dir: Path, job: str, name: str) -> int:
    """Make the file of an attempt and return a descriptor that appends to it. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    path = log_dir / name
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        (log_dir / "output" / job).mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, flags, 0o600)
