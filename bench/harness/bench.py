"""What the measures share: the peers that are here, folders for their work, and how long it may
take."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.cage import Cage, FailedError
from harness.peers.base import Peer
from harness.work import Case, Job, Once
from harness.workshop import Workshop


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured. `sizes` are numbers of jobs that are due at once, `held` of jobs that
    are only held."""

    rounds: int = 2
    sizes: tuple[int, ...] = (1, 100, 1000)
    held: tuple[int, ...] = (1, 1000, 10_000, 100_000)
    many: int = 10_000
    idle_s: int = 60
    drift_s: int = 600
    entries: int = 30
    reloads: int = 5
    runs: int = 100_000


QUICK = Extent(1, (1, 200), (1, 200), 1000, 5, 10, 5, 2, 2000)


@dataclass(slots=True)
class Bench:
    """One run of the harness. `peers` are installed, by the names they are shown by; `place` gets
    the folders of their work."""

    workshop: Workshop
    place: Path
    peers: Mapping[str, Peer]
    extent: Extent
    failed: dict[str, str] = field(default_factory=dict)
    _cases: int = 0

    def say(self, text: str) -> None:
        """What is being done, for who waits."""
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def case(self, jobs: Sequence[Job], place: Path | None = None) -> Iterator[Case]:
        """In a folder that is gone afterwards."""
        self._cases += 1
        folder = (place or self.place) / str(self._cases)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield Case(folder, self.workshop.program("job"), tuple(jobs))
        finally:
            shutil.rmtree(folder)

    @contextlib.contextmanager
    def running(self, peer: Peer, case: Case) -> Iterator[Cage]:
        """The scheduler, from its start to its end."""
        cage = peer.start(case)
        try:
            yield cage
        finally:
            cage.stop()

    def turn(self, number: int) -> list[tuple[str, Peer]]:
        """The peers in this round's order: forwards and backwards in turns, so that none is always
        the first after another."""
        peers = list(self.peers.items())
        return peers if number % 2 == 0 else peers[::-1]

    @contextlib.contextmanager
    def tolerant(self, failed: dict[str, str], name: str) -> Iterator[None]:
        """A peer that fails is told of, and does not keep the others from being measured."""
        try:
            yield
        except FailedError as error:
            self.say(f"  {name}: {error}")
            failed[name] = str(error)


def held(count: int) -> list[Job]:
    """Jobs that are due in half a day and later, on 600 different minutes."""
    base = (int(time.time()) // 60 + 720) * 60
    return [Job(f"held-{n}", "held", Once(base + n % 600 * 60)) for n in range(count)]


def poll(look: Callable[[], bool], patience_s: float, pause_s: float = 0.2) -> bool:
    """Whether it came true in that time."""
    until = time.monotonic() + patience_s
    while not look():
        if time.monotonic() > until:
            return False
        time.sleep(pause_s)
    return True
