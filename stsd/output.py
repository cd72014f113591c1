"""Where the output of attempts is kept: `LOG_DIR/output/JOB/RUN.ATTEMPT.log`.

Only names; the files are made by the scribe, when there is something to be kept.
"""

from __future__ import annotations


def output_name(job: str, run_id: str, attempt: int) -> str:
    """The name of an attempt's output, relative to the log folder."""
    return f"output/{job}/{run_id}.{attempt}.log"
