"""A daemon that is nothing but its control socket: the real one, with answers made up by a test."""

from __future__ import annotations

import os
import queue
import selectors
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog
import structlog.testing

from stsd.control import Control
from stsd.output import opened_output
from stsd.peers import rights_of
from stsd.protocol import Trouble
from stsd.records import Record
from stsd.replies import Done, Refused, Reply, Request, Waiting
from stsd.settings import Access
from tests.support import DEADLINE_S, wait_for

SINCE = "2026-11-21T02:00:00Z"


def row(job: str, **fields: Any) -> dict[str, Any]:
    """The row of a job that is doing nothing, but for the fields."""
    nothing: dict[str, Any] = {
        "job": job,
        "state": "idle",
        "next": None,
        "last_outcome": None,
        "running": [],
        "last_at": None,
        "recent": [],
        "usual_s": None,
        "paused": None,
        "description": None,
        "tags": [],
        "schedule": "by hand",
        "alerts": [],
    }
    assert fields.keys() <= nothing.keys()
    return nothing | fields


def daemon_fields(jobfile: Path, jobs: int, **fields: Any) -> dict[str, Any]:
    """What a daemon in good health says of itself with its rows."""
    return {
        "pid": 4711,
        "version": "0.1",
        "since": SINCE,
        "jobfile": str(jobfile),
        "jobs": jobs,
        "running": 0,
        "queued": 0,
        "held": False,
        "stopping": False,
        "reload": None,
        "telling": None,
        **fields,
    }


class ControlAlone:
    """In a folder of its own; `asked` are the requests so far, but for those of who it is."""

    def __init__(
        self, folder: Path, answers: Mapping[str, Callable[[Request], Reply]], jobfile: Path
    ) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.log_dir = folder / "log"
        self._answers = answers
        self._jobfile = jobfile
        self._records: queue.SimpleQueue[Record] = queue.SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._over = threading.Event()
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)
        self._control = Control(
            self._selector,
            [folder],
            rights_of(Access(), os.geteuid()),
            self._answer,
            lambda started: opened_output(self.log_dir, started),
            structlog.wrap_logger(structlog.testing.CapturingLogger()),
        )
        path = self._control.open(time.monotonic())
        assert path is not None
        self.path = path
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> ControlAlone:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(DEADLINE_S)
        self._control.close(time.monotonic())
        self._selector.close()

    def publish(self, record: Record) -> None:
        """As a daemon does with a record that it has written."""
        self._records.put(record)

    def wait_until_asked(self, do: str) -> dict[str, Any]:
        """The arguments of the first request of this name."""
        return wait_for(lambda: [wanted for name, wanted in self.asked if name == do], do)[0]

    def _answer(self, request: Request) -> Reply:
        if request.do == "hello":
            return Done(
                {
                    "version": "0.1",
                    "pid": 4711,
                    "jobfile": str(self._jobfile),
                    "jobs": 1,
                    "since": SINCE,
                    "log_dir": str(self.log_dir),
                    "state_dir": str(self.log_dir),
                    "may": "change",
                }
            )
        self.asked.append((request.do, dict(request.arguments)))
        return self._answers[request.do](request)

    def _serve(self) -> None:
        while not self._over.is_set():
            for key, _ in self._selector.select(0.02):
                self._control.hear(key, time.monotonic())
            while not self._records.empty():
                self._control.publish(self._records.get(), time.monotonic())
            self._control.tend(time.monotonic())


def done(**fields: object) -> Callable[[Request], Reply]:
    """Always this answer."""
    return lambda _: Done(fields)


def refused(kind: Trouble, message: str, *problems: str) -> Callable[[Request], Reply]:
    """Always this error."""
    return lambda _: Refused(kind, message, problems)


def waiting(*runs: str) -> Callable[[Request], Reply]:
    """These runs are to be waited for."""
    return lambda _: Waiting(runs)
