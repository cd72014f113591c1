"""What the history costs: writing it, with and without seeing it safe; reading it; keeping it.

python bench/bench_history.py [RECORDS]; $TMPDIR says on which disk.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from stsd.archive import newest_first, oldest_first
from stsd.model import Outcome, TriggerKind
from stsd.output import output_name
from stsd.records import Finished, Intent, Started, encode
from stsd.retention import Limits, keep
from stsd.units import compact

DAY = 86400
DAYS = 10
SYNCED_S = 2.0


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(prefix="stsd-history-") as name:
        folder = Path(name)
        print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}\n")
        durability(folder)
        count = timed("write", wanted, lambda: write(folder / "log", wanted))
        reading(folder, count)
        keeping(folder, count)


# -- writing


def attempts(end: float, wanted: int) -> Iterator[tuple[float, list[bytes]]]:
    """So many records of attempts over the last days, three of each."""
    step = DAYS * DAY * 3 / wanted
    for number in range(wanted // 3 + 1):
        at = end - DAYS * DAY + number * step
        job, due = f"job{number % 100:03}", int(at)
        run = f"{job}@{compact(due)}"
        yield (
            at,
            [
                encode(Intent(run, job, due, TriggerKind.CRON, 1, at)),
                encode(Started(run, job, due, TriggerKind.CRON, 1, at, 0.004, number, number)),
                encode(
                    Finished(
                        run,
                        job,
                        due,
                        TriggerKind.CRON,
                        1,
                        Outcome.SUCCEEDED,
                        at,
                        0,
                        None,
                        at,
                        number % 1000 / 1000,
                        0.01,
                        9_437_184,
                        output_name(job, run, 1),
                        number % 5000,
                    )
                ),
            ],
        )


def write(log_dir: Path, wanted: int) -> int:
    """Fill a folder up to now; how many records there are."""
    (log_dir / "history").mkdir(parents=True)
    days: dict[str, list[bytes]] = {}
    for at, lines in attempts(time.time(), wanted):
        days.setdefault(f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}", []).extend(lines)
    for day, lines in days.items():
        (log_dir / "history" / f"{day}.jsonl").write_bytes(b"".join(lines))
    return sum(map(len, days.values()))


def durability(folder: Path) -> None:
    """Batches of lines appended as a tick does it, and what of that the disk costs."""
    lines = [line for _, group in attempts(time.time(), 3000) for line in group]
    print("lines a tick   written/s   written and synced/s   ratio")
    for batch in (1, 10, 100):
        rates = [appended(folder / "segment", lines, batch, sync) for sync in (False, True)]
        print(f"{batch:12}{rates[0]:12,.0f}{rates[1]:23,.0f}{rates[0] / rates[1]:8.1f}")
    print()


def appended(path: Path, lines: list[bytes], batch: int, sync: bool) -> float:
    """Lines a second."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC)
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < SYNCED_S:
        for _ in range(batch):
            os.write(fd, lines[count % len(lines)])
            count += 1
        if sync:
            os.fdatasync(fd)
    elapsed = time.perf_counter() - begin
    os.close(fd)
    path.unlink()
    return count / elapsed


# -- reading


def reading(folder: Path, count: int) -> None:
    log_dir = folder / "log"
    timed("read oldest first", count, lambda: tally(oldest_first(log_dir, refuse).records))
    timed("read newest first", count, lambda: tally(newest_first(log_dir, refuse)))
    (folder / "jobs.toml").write_text(f'[daemon]\nlog_dir = "{log_dir}"\n')
    commands("", folder)


def commands(label: str, folder: Path) -> None:
    """Whole processes, the best of five."""
    for words in (
        ["--version"],
        ["history", "-n", "20"],
        ["history", "-n", "20", "job007"],
        ["history", "job007", "--failed"],
        ["history", "--summary"],
        ["why", "job007"],
    ):
        config = ["-c", str(folder / "jobs.toml")] if len(words) > 1 else []
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "stsd", *words, *config],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            times.append(time.perf_counter() - begin)
        print(f"{'stsd ' + ' '.join(words) + label:44}{min(times):8.3f} s")


# -- keeping


def keeping(folder: Path, count: int) -> None:
    log_dir = folder / "log"
    before = size(log_dir)
    timed("keep: compress all but two days", count, lambda: kept(log_dir, Limits()))
    print(f"{'size, to what it was':44}{before / size(log_dir):8.1f} times smaller")
    timed(
        "read oldest first, compressed", count, lambda: tally(oldest_first(log_dir, refuse).records)
    )
    timed("read newest first, compressed", count, lambda: tally(newest_first(log_dir, refuse)))
    commands(", compressed", folder)
    gone = count * (DAYS - 3) // DAYS
    timed("keep: remove all but three days", gone, lambda: kept(log_dir, Limits(3.0 * DAY)))


def kept(log_dir: Path, limits: Limits) -> None:
    while keep(log_dir, now=time.time(), limits=limits).more:
        pass


def size(log_dir: Path) -> int:
    return sum(path.stat().st_size for path in (log_dir / "history").iterdir())


def tally(records: Iterator[object]) -> int:
    return sum(1 for _ in records)


def refuse(path: Path, line: bytes) -> None:
    raise SystemExit(f"{path}: {line!r}")


def timed(label: str, count: int, act: Callable[[], int | None]) -> int:
    begin = time.perf_counter()
    done = act()
    elapsed = time.perf_counter() - begin
    if done is not None and done < count:
        raise SystemExit(f"{label}: {done} records of {count}")
    print(f"{label:44}{elapsed:8.3f} s{count / elapsed:14,.0f} records/s")
    return done or count


if __name__ == "__main__":
    main()
