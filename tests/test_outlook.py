"""What a valid jobfile will do that its author may not expect."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

from stsd.model import (
    After,
    CatchUp,
    Fold,
    Gap,
    Job,
    Overlap,
    ShellTask,
    When,
)
from stsd.outlook import Outlook
from stsd.settings import Jobfile

NOW = int(datetime(2026, 11, 21, tzinfo=UTC).timestamp())


def warned(*jobs: Job) -> list[tuple[str, str, str]]:
    """Job, key and message of each warning."""
    jobfile = Jobfile(Path("/jobs.toml"), jobs={job.name: job for job in jobs})
    return [(each.job, each.key, each.message) for each in Outlook(NOW).of(jobfile)]


def job(when: When, name: str = "a", overlap: Overlap = Overlap.SKIP, enabled: bool = True) -> Job:
    return Job(name, ShellTask("x"), when, overlap=overlap, timeout=3600.0, enabled=enabled)


def test_a_time_that_the_clock_skips_is_told_with_its_dates_and_both_times() -> None:
    ((name, key, message),) = warned(job(When(cron=("30 2 * * *",), timezone="Europe/Berlin")))
    assert (name, key) == ("a", "cron")
    assert "2027-03-28 02:30" in message
    assert "03:00:00+02:00" in message
    assert "likewise on 2028-03-26" in message


def test_each_job_of_a_shared_schedule_is_told() -> None:
    when = When(at=("02:30",), timezone="Europe/Berlin")
    assert [told[:2] for told in warned(job(when, "a"), job(when, "b"))] == [
        ("a", "at"),
        ("b", "at"),
    ]


def test_the_key_at_fault_is_named_and_each_time_of_day_is_told() -> None:
    cron = ("0 12 * * *", "30 2 * * *", "45 2 * * *")
    when = When(cron=cron, at=("02:50",), timezone="Europe/Berlin")
    told = [(key, message[:19]) for _, key, message in warned(job(when))]
    assert sorted(told) == [
        ("at", "on 2027-03-28 02:50"),
        ("cron", "on 2027-03-28 02:30"),
        ("cron", "on 2027-03-28 02:45"),
    ]
    noon = When(cron=("0 12 * * *",), at=("02:50",), timezone="Europe/Berlin")
    assert [key for _, key, _ in warned(job(noon))] == ["at"]


def test_a_wildcard_job_is_told_of_what_it_drops_and_what_it_doubles() -> None:
    dropped, doubled = warned(job(When(cron=("*/10 2 * * *",), timezone="Europe/Berlin")))
    assert "2027-03-28 02:00 (and 5 more)" in dropped[2]
    assert "does not run" in dropped[2]
    assert "2027-10-31 02:00 (and 5 more)" in doubled[2]
    assert "02:00:00+02:00 and 02:00:00+01:00" in doubled[2]


def test_the_remedy_for_a_wish_is_the_other_wish() -> None:
    wishes = When(cron=("30 2 * * *",), timezone="Europe/Berlin", gap=Gap.SKIP, fold=Fold.BOTH)
    jobfile = Jobfile(Path("/jobs.toml"), jobs={"a": job(wishes)})
    dropped, doubled = Outlook(NOW).of(jobfile)
    assert 'gap = "after"' in dropped.remedy
    assert 'fold = "first"' in doubled.remedy


def test_changes_after_the_end_are_not_told() -> None:
    when = When(cron=("30 2 * * *",), timezone="Europe/Berlin", end=date(2026, 12, 31))
    assert warned(job(when)) == []


def test_a_day_that_has_passed_beside_others_to_come_is_told() -> None:
    when = When(at=("2020-01-01 12:00", "12:00"))
    assert warned(job(when)) == [("a", "at", "2020-01-01 has passed")]


def test_what_no_change_touches_is_not_told() -> None:
    assert warned(job(When(cron=("30 12 * * *",), timezone="Europe/Berlin"))) == []


def test_a_queue_that_grows_is_told() -> None:
    when = When(every=600)
    ((_, key, message),) = warned(job(when, overlap=Overlap.QUEUE))
    assert key == "timeout"
    assert "due after 10m, each may take 1h" in message
    assert warned(job(when)) == []
    assert warned(job(When(every=7200), overlap=Overlap.QUEUE)) == []


def test_a_window_shorter_than_a_restart_is_told() -> None:
    narrow = Job("a", ShellTask("x"), When(every=60), catch_up_window=5.0)
    ((_, key, message),) = warned(narrow)
    assert key == "catch_up_window"
    assert "5s is less than a restart may take" in message
    assert warned(replace(narrow, catch_up_window=60.0)) == []
    assert warned(replace(narrow, catch_up=CatchUp.NONE)) == []


def test_a_schedule_whose_times_have_passed_is_told() -> None:
    over = When(cron=("@daily",), end=date(2020, 1, 1))
    once = When(at=("2020-01-01 12:00",))
    assert [told[:2] for told in warned(job(over), job(once, "b"))] == [("a", "end"), ("b", "at")]


def test_a_job_that_is_not_enabled_is_not_told() -> None:
    assert warned(job(When(at=("2020-01-01 12:00",)), enabled=False)) == []


def told_of(key: str, job: Job) -> list[str]:
    return [message for _, at, message in warned(job) if at == key]


def test_an_age_that_the_schedule_itself_exceeds_is_told() -> None:
    def said(when: When, age: float) -> list[str]:
        return told_of("max_age", replace(job(when), max_age=age))

    daily = When(cron=("0 4 * * *",))
    assert said(daily, 3600.0) == [
        "it is due only after 1d at times: 1h pass without a success",
    ]
    assert said(daily, 86400.0) != []
    assert said(daily, 90000.0) == []
    assert said(When(at=("mon-fri 04:00",)), 90000.0) == [
        "it is due only after 3d at times: 1d1h pass without a success",
    ]
    often = When(cron=("*/5 9-17 * * mon-fri",))
    assert said(often, 80000.0) != []
    assert said(often, 300000.0) == []
    assert said(When(every=1), 60.0) == []
    assert said(When(at=("2027-01-31 12:00",)), 60.0) == []
    assert said(replace(daily, after=(After("b"),)), 3600.0) == []


def test_a_deadline_at_the_very_time_of_the_job_is_told() -> None:
    def said(when: When) -> list[str]:
        return told_of("deadline", replace(job(when), deadline=6 * 3600))

    berlin = When(cron=("0 6 * * *",), timezone="Europe/Berlin")
    assert said(berlin) == ["it is due at 06:00, and so never succeeds by then"]
    assert said(replace(berlin, timezone="UTC")) != []
    assert said(replace(berlin, cron=("0 5,6 * * *",))) == []
    assert said(When(cron=("0 23 * * *",))) == []
    assert said(When(every=3600)) == []
