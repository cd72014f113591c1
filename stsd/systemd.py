"""Telling systemd how stsd is: one datagram a word, as sd_notify(3) has it.

Without a listener every word is a no-op, so callers never ask who started them. Nothing here
blocks the loop for longer than `PATIENCE_SECONDS`, and nothing here raises into it: words that
cannot be delivered are reported once for each outage. The variables of the protocol are taken
out of the environment, for no child may ever speak in stsd's name.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, MutableMapping

from stsd.settings import Jobfile

PATIENCE_SECONDS = 0.5
LONGEST_STATUS = 512
_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


def longest_stop_s(jobfile: Jobfile) -> float:
    """Seconds that the jobfile lets a stop take; systemd is to be asked for as many, at least."""
    graces = [job.stop_grace for job in jobfile.jobs.values()]
    return jobfile.settings.stop_timeout + max(graces, default=0.0)


def _to_stderr(problem: str) -> None:
    print(f"stsd: {problem}", file=sys.stderr)


class Notifier:
    """The line to the service manager.

    `watchdog_interval` is how many seconds may pass between two `watchdog()` calls at the most
    (half of what systemd allows), None where no watchdog waits for this process.
    """

    def __init__(
        self,
        address: str = "",
        watchdog_interval: float | None = None,
        report: Callable[[str], None] = _to_stderr,
    ) -> None:
        """`address` is a socket's absolute path, or `@name` for an abstract one; empty: nobody
        listens. `report` gets a sentence when words begin to be lost."""
        self.watchdog_interval = watchdog_interval
        self._address = address
        self._report = report
        self._failing = False
        self._fed_at = 0.0

    @classmethod
    def from_environment(
        cls,
        environ: MutableMapping[str, str],
        pid: int,
        report: Callable[[str], None] = _to_stderr,
    ) -> Notifier:
        """Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, and remove them from `environ`.

        The watchdog is ours when WATCHDOG_PID is `pid` or absent. An address of a kind that
        Unix sockets do not have (a virtual machine's `vsock:`) is reported and not used.
        """
        address, usec, watched = (environ.pop(name, "") for name in _VARIABLES)
        if address and address[0] not in "/@":
            report(f"NOTIFY_SOCKET={address!r} is no Unix socket: systemd will not hear of stsd")
            address = ""
        interval = _microseconds(usec) / 2 if watched in ("", str(pid)) else 0.0
        return cls(address, interval if address and interval else None, report)

    def ready(self, status: str = "") -> None:
        """Start-up or a reload is over; jobs are being run."""
        self._send(["READY=1", *_status(status)], PATIENCE_SECONDS)

    def reloading(self, status: str = "") -> None:
        """A reload has begun; `ready()` has to follow whether or not the jobfile was valid."""
        stamp = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        words = ["RELOADING=1", f"MONOTONIC_USEC={stamp}", *_status(status)]
        self._send(words, PATIENCE_SECONDS)

    def stopping(self, within: float = 0.0, status: str = "") -> None:
        """The stop has begun. `within` seconds it may take, whatever the unit's TimeoutStopSec
        says: the jobfile's stop_timeout is not the unit file's business."""
        extension = [f"EXTEND_TIMEOUT_USEC={round(within * 1_000_000)}"] if within > 0 else []
        self._send(["STOPPING=1", *extension, *_status(status)], PATIENCE_SECONDS)

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(_status(text))

    def watchdog(self) -> None:
        """The loop is alive. To be called by the loop that starts jobs and by nothing else."""
        if self.watchdog_interval is not None:
            self._send(["WATCHDOG=1"])

    def tend(self, mono: float) -> None:
        """Feed the watchdog when it is time; `mono` is the monotonic clock. To be called in each
        turn of the loop that starts jobs, and nowhere else."""
        if self.watchdog_interval is not None and mono >= self._fed_at + self.watchdog_interval:
            self.watchdog()
            self._fed_at = mono

    def patience(self, mono: float) -> float | None:
        """In how many seconds `tend` wants to be called again; None: there is no need."""
        if self.watchdog_interval is None:
            return None
        return self._fed_at + self.watchdog_interval - mono

    def _send(self, words: list[str], patience: float = 0.0) -> None:
        """Send one datagram. A new socket each time costs microseconds, and neither a detaching
        parent nor a restarted manager can leave a dead one behind."""
        if not self._address or not words:
            return
        address = self._address
        if address.startswith("@"):
            address = f"\0{address[1:]}"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.settimeout(patience)
                line.sendto("\n".join(words).encode(errors="replace"), address)
        except OSError as error:
            if not self._failing:
                said = words[0].partition("=")[0]
                self._report(
                    f"systemd could not be told {said}: {error.strerror or error}"
                    f" (socket {self._address})"
                )
            self._failing = True
        else:
            self._failing = False


def _status(text: str) -> list[str]:
    """A STATUS word; a line break within it would begin a word of its own."""
    line = " ".join(text.split())
    return [f"STATUS={line[:LONGEST_STATUS]}"] if line else []


def _microseconds(text: str) -> float:
    """Seconds of a positive number of microseconds; 0.0 of anything else."""
    return int(text) / 1_000_000 if text.isascii() and text.isdigit() and len(text) < 20 else 0.0
