"""The metrics of one daemon where they are to be read: in a file, and at an endpoint.

Puts together what the daemon says of itself, what the machine says and what the herald counts.
Whatever goes wrong with either place is told once, and tried again.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from stsd import __version__, exposition, measures
from stsd.desk import Desk
from stsd.endpoint import Endpoint
from stsd.metrics import Gauges
from stsd.notices import Metrics
from stsd.settings import Jobfile

FILE_S = 15.0
"""How old the file gets."""
FIRST_AGAIN_S = 1.0
LAST_AGAIN_S = 60.0
"""After how long the endpoint is tried again, at first and at most."""

LOOP_DELAY_S = 60.0
"""The longest delay of the timer loop is told for so long."""

Say = Callable[..., None]
"""Takes a level, the name of an event and its fields, for the log."""


class Bulletin:
    """`selector` gets what is to be handed to `hear`, with this object as its data; `daemon` is the
    daemon's pid. Instants are readings of the wall clock, `mono` of the monotonic one."""

    def __init__(
        self, selector: selectors.BaseSelector, log_dir: Path, daemon: int, say: Say
    ) -> None:
        self._selector = selector
        self._log_dir = log_dir
        self._daemon = daemon
        self._say = say
        self._metrics = Metrics()
        self._jobs = 0
        self._of_daemon: dict[str, Any] = {}
        self._loop_delays = measures.Peak(LOOP_DELAY_S)
        self._endpoint: Endpoint | None = None
        self._wanted = False
        self._file_at = 0.0
        self._again_at = 0.0
        self._again_s = FIRST_AGAIN_S
        self._problem = ""

    def reload(self, jobfile: Jobfile, mono: float) -> None:
        """This jobfile is in force."""
        self._jobs = len(jobfile.jobs)
        self._metrics = jobfile.settings.metrics or Metrics()
        if self._endpoint is not None and self._endpoint.listen != self._metrics.listen:
            self.close()
        self._file_at = self._again_at = mono
        self._again_s = FIRST_AGAIN_S

    def told(self, of_daemon: Mapping[str, Any], mono: float) -> None:
        """What the daemon has said of itself, in the words of `stsd.metrics.Gauges`."""
        self._of_daemon.update(of_daemon)
        delay_s = self._of_daemon.pop("loop_delay_s", None)
        if delay_s is not None:
            self._loop_delays.add(delay_s, mono)

    def hear(self, mono: float) -> None:
        """The endpoint has something to tell."""
        if self._endpoint is None:
            return
        heard = self._endpoint.hear()
        for address in heard.listening:
            self._again_s = FIRST_AGAIN_S
            self._say("info", "metrics_served", at=f"http://{address}/metrics")
        self._wanted = self._wanted or heard.wanted
        if heard.ended is not None:
            self.close()
            self._put_off(heard.ended, mono)

    def due(self) -> float | None:
        """When `tend` has something to do, on the monotonic clock."""
        instants = [self._file_at] if self._metrics.file is not None else []
        if self._metrics.listen is not None and (self._endpoint is None or self._wanted):
            instants.append(self._again_at if self._endpoint is None else 0.0)
        return min(instants, default=None)

    def tend(self, desk: Desk, now: float, mono: float) -> None:
        """Write the file when it is old, and serve the endpoint."""
        if self._metrics.listen is not None and self._endpoint is None and mono >= self._again_at:
            self._open(self._metrics.listen, mono)
        if self._wanted and self._endpoint is not None:
            self._wanted = False
            self._endpoint.publish(self._pieces(desk, now, mono))
        if self._metrics.file is not None and mono >= self._file_at:
            self._file_at = mono + FILE_S
            self._write(Path(self._metrics.file), self._pieces(desk, now, mono))

    def close(self) -> None:
        """End the endpoint, if there is one."""
        if self._endpoint is not None:
            self._endpoint.close()
            self._endpoint = None
            self._wanted = False

    def _open(self, listen: tuple[str, int], mono: float) -> None:
        try:
            self._endpoint = Endpoint(self._selector, self, listen)
        except OSError as error:
            self._put_off(str(error), mono)

    def _put_off(self, problem: str, mono: float) -> None:
        self._again_at = mono + self._again_s
        if self._metrics.listen is not None:
            host, port = self._metrics.listen
            at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            self._say(
                "error", "metrics_not_served", at=at, problem=problem, again_in_s=self._again_s
            )
        self._again_s = min(2 * self._again_s, LAST_AGAIN_S)

    def _write(self, path: Path, pieces: Iterable[bytes]) -> None:
        try:
            exposition.write(path, pieces)
        except OSError as error:
            problem = error.strerror or str(error)
            if problem != self._problem:
                self._say("error", "metrics_not_written", file=str(path), problem=problem)
            self._problem = problem
        else:
            self._problem = ""

    def _pieces(self, desk: Desk, now: float, mono: float) -> Iterator[bytes]:
        """The metrics, made one piece at a time: all at once they may be many megabytes."""
        return exposition.render(desk.tallies, self._gauges(desk, now, mono))

    def _gauges(self, desk: Desk, now: float, mono: float) -> Gauges:
        of_machine: dict[str, Any] = {}
        try:
            disk = measures.disk_of(self._log_dir)
            of_machine = {
                "history_bytes": measures.history_size(self._log_dir),
                "disk_free_bytes": disk.free,
                "disk_size_bytes": disk.size,
            }
        except OSError as error:  # what is not known is not told; an alert can say so
            self._say("warning", "metrics_lack_the_disk", problem=error.strerror or str(error))
        return Gauges(
            at=now,
            version=__version__,
            jobs=self._jobs,
            memory_bytes=measures.memory_of(self._daemon),
            conditions=desk.standing(),
            told=desk.counts["told"],
            failed=desk.counts["failed"],
            lost=desk.counts["lost"],
            waiting=sum(each.waiting for each in desk.standings()),
            loop_delay_s=self._loop_delays.value(mono),
            **of_machine,
            **self._of_daemon,
        )
