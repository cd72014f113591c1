"""What a next occurrence costs, and the building of ten thousand jobs' schedules.

python bench/bench_triggers.py
"""

from __future__ import annotations

import time

from stsd.model import When
from stsd.triggers import schedule_for

START = 1_780_000_000
CASES = {
    "every 5 s": When(every=5),
    "* * * * *": When(cron=("* * * * *",), timezone="Europe/Berlin"),
    "*/5 * * * *": When(cron=("*/5 * * * *",), timezone="Europe/Berlin"),
    "30 2 * * *": When(cron=("30 2 * * *",), timezone="Europe/Berlin"),
    "0 9 * * mon-fri": When(cron=("0 9 * * mon-fri",), timezone="Europe/Berlin"),
    "0 0 13 * fri": When(cron=("0 0 13 * fri",), timezone="Europe/Berlin"),
    "0 0 LW * *": When(cron=("0 0 LW * *",), timezone="Europe/Berlin"),
    "0 0 29 2 mon": When(cron=("0 0 29 2 ?",), timezone="Europe/Berlin"),
    "* * * * * *": When(cron=("* * * * * *",), timezone="Europe/Berlin"),
    "at sunday 10:30": When(at=("sunday 10:30",), timezone="Europe/Berlin"),
}


def main() -> None:
    for name, when in CASES.items():
        schedule, instant = schedule_for(when, "job"), START
        schedule.next_after(instant)
        before = time.perf_counter()
        for number in range(2000):  # always the same years, whose changes are known by then
            due = schedule.next_after(instant)
            instant = START if due is None or number % 20 == 0 else due.at
        print(f"{name:20} {(time.perf_counter() - before) / 2000 * 1e6:8.2f} us")
    whens = [
        When(cron=(f"{n % 60} {n % 7} * * {n % 5}",), timezone="Europe/Berlin")
        for n in range(10_000)
    ]
    before = time.perf_counter()
    schedules = [schedule_for(when, f"job{n}") for n, when in enumerate(whens)]
    took = time.perf_counter() - before
    print(f"10,000 jobs, {len(set(schedules))} schedules: {took:.3f} s")
    before = time.perf_counter()
    for schedule in schedules:
        schedule.next_after(START)
    print(f"their first occurrences: {time.perf_counter() - before:.3f} s")
    before = time.perf_counter()
    for number in range(10_000):
        schedule_for(When(cron=("H H * * *",), timezone="Europe/Berlin"), f"job{number}")
    print(f"10,000 jobs with H: {time.perf_counter() - before:.3f} s")


if __name__ == "__main__":
    main()
