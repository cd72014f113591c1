"""Whether a job that runs at other times than under cron is found."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from stsd.conversion import Machine, Source, convert
from stsd.crontab import Dialect, read
from stsd.importtext import document
from stsd.jobfile import load
from stsd.verification import Verdict, verify

HERE = Machine(lambda user: "/", lambda folder: True)
YEAR = 365 * 86400


def verdict(
    crontab: str, folder: Path, *, zone: str = "Europe/Berlin", swap: tuple[str, str] = ("", "")
) -> Verdict:
    """The verification of 2026, of a jobfile in which one text was put in place of another."""
    source = Source("tab", read(crontab.encode(), Dialect.DEBIAN, system=False))
    conversion = convert([source], Dialect.DEBIAN, HERE)
    path = folder / "jobs.toml"
    text = document(conversion, ["tab"])
    assert swap[0] in text
    path.write_text(text.replace(*swap) if swap[0] else text)
    path.chmod(0o600)
    begin = int(datetime(2026, 1, 1, tzinfo=ZoneInfo(zone)).timestamp())
    jobs = load(path, local_zone=zone).jobs
    return verify(conversion.jobs, jobs, zone, begin, begin + YEAR)


def test_a_faithful_conversion_agrees_in_every_occurrence(tmp_path: Path) -> None:
    found = verdict("30 2 * * *\ta\n0 */6 * * 1-5\tb\n@weekly c\n@reboot d\n", tmp_path)
    assert found.holds
    assert found.differences == ()
    assert (found.jobs, found.occurrences) == (4, 365 + 4 * 261 + 52 + 1)


def test_another_time_is_found_with_its_first_dates(tmp_path: Path) -> None:
    found = verdict("30 2 1 * *\ta\n", tmp_path, swap=("30 2 1", "30 3 1"))
    assert not found.holds
    (difference,) = found.differences
    assert difference.job.name == "a"
    assert difference.message.startswith(
        "on 2026-01-01 at 02:30+01:00 cron runs it once, stsd not at all; "
        "on 2026-01-01 at 03:30+01:00 cron runs it not at all, stsd once; "
    )
    assert difference.message.endswith("and 21 more times")


def test_another_zone_is_found(tmp_path: Path) -> None:
    swap = ('cron = "0 9 * * *"', 'cron = "0 9 * * *"\ntimezone = "Asia/Tokyo"')
    assert not verdict("0 9 * * *\ta\n", tmp_path, swap=swap).holds


def test_a_rule_for_days_that_is_not_cron_s_is_found(tmp_path: Path) -> None:
    found = verdict("0 0 1-31/2 * mon\ta\n", tmp_path, swap=("1-31/2", "*/2"))
    assert not found.holds


def test_a_job_that_lost_its_start_with_the_daemon_is_found(tmp_path: Path) -> None:
    found = verdict("@reboot a\n", tmp_path, swap=("on_start = true", "on_start = false"))
    assert [each.message for each in found.differences] == ["it does not run when stsd starts"]
    assert not found.holds


def test_two_skipped_times_are_told_but_are_no_fault(tmp_path: Path) -> None:
    found = verdict("0,30 2 * * *\ta\n", tmp_path)
    assert found.holds
    (difference,) = found.differences
    assert difference.of_clocks
    assert difference.message == "on 2026-03-29 at 03:00+02:00 cron runs it twice, stsd once"


def test_a_fault_elsewhere_is_not_excused_by_a_change_of_the_clocks(tmp_path: Path) -> None:
    found = verdict("0,30 2 * * *\ta\n", tmp_path, swap=("0,30 2", "0,31 2"))
    assert not found.holds


def test_the_splay_that_cronie_has_is_left_out_of_the_comparison(tmp_path: Path) -> None:
    swap = ('cron = "0 9 * * *"', 'cron = "0 9 * * *"\nsplay = "45m"')
    assert verdict("0 9 * * *\ta\n", tmp_path, swap=swap).holds
