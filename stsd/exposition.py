"""The metrics as Prometheus reads them: its text format, version 0.0.4 ("Exposition formats" in
Prometheus' documentation).

Written a piece at a time, so that ten thousand jobs take neither long nor much memory. The file is
replaced as a whole or not at all, and so is never read half written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from stsd.metrics import OF_STSD, PER_JOB, Gauges, Labels, Metric, Source
from stsd.tallies import Tallies

_PIECE = 1 << 16
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def render(tallies: Tallies, gauges: Gauges) -> Iterator[bytes]:
    """All metrics, in pieces of some 64 KiB."""
    lines: list[str] = []
    length = 0
    for line in _lines(tallies, gauges):
        lines.append(line)
        length += len(line)
        if length >= _PIECE:
            yield "".join(lines).encode()
            lines.clear()
            length = 0
    yield "".join(lines).encode()


def write(path: Path, pieces: Iterable[bytes]) -> None:
    """Put this into a file that everybody may read, as the textfile collector of node_exporter
    wants it: first under another name, which it does not read. Raises OSError."""
    new = path.with_name(f"{path.name}.new")
    with suppress(FileNotFoundError):  # another's, perhaps, and a link to what is not to be written
        new.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with open(os.open(new, flags, 0o644), "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.writelines(pieces)
        new.replace(path)
    except OSError:
        with suppress(FileNotFoundError):
            new.unlink()
        raise


def _lines(tallies: Tallies, gauges: Gauges) -> Iterator[str]:
    for of_stsd in OF_STSD:
        yield from _metric(of_stsd, [("", gauges)])
    jobs = [(_written((("job_name", job),)), tally) for job, tally in tallies.items()]
    for per_job in PER_JOB:
        yield from _metric(per_job, jobs)


def _metric(metric: Metric[Source], sources: Iterable[tuple[str, Source]]) -> Iterator[str]:
    """One metric of all its sources, each with a label of its own."""
    yield f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n"
    for own, source in sources:
        for suffix, labels, value in metric.samples(source):
            written = f"{own},{_written(labels)}" if own and labels else own or _written(labels)
            braces = f"{{{written}}}" if written else ""
            yield f"{metric.name}{suffix}{braces} {value}\n"


def _written(labels: Labels) -> str:
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels)
