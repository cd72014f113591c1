"""Where the output of attempts is kept: `LOG_DIR/output/JOB/RUN.ATTEMPT.log`.

Names, and a look at what is there; the files are made by the scribe, when there is something to be
kept.
"""

from __future__ import annotations

import os
from pathlib import Path

from stsd.records import Started


def output_name(job: str, run_id: str, attempt: int) -> str:
    """The name of an attempt's output, relative to the log folder."""
    return f"output/{job}/{run_id}.{attempt}.log"


def opened_output(log_dir: Path, started: Started) -> int | None:
    """A descriptor of the output of an attempt, for reading; None as long as there is none, or if
    it cannot be opened."""
    path = log_dir / output_name(started.job, started.run, started.attempt)
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
