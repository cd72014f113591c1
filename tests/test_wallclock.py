"""Zones and their clocks."""

from __future__ import annotations

import shutil
import zoneinfo
from datetime import datetime
from pathlib import Path

import pytest

from stsd import wallclock
from stsd.errors import ScheduleError
from stsd.model import When
from stsd.triggers import schedule_for
from stsd.wallclock import check_zone, clock, local, reread, zone


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Argentina/Ushuaia", "Etc/GMT+5"])
def test_a_zone_of_the_database_is_known(name: str) -> None:
    check_zone(name)
    assert zone(name).key == name


@pytest.mark.parametrize(
    "name",
    [
        *("America", "zone.tab", "tzdata.zi", "../../etc/passwd", "/etc/localtime", "posixrules"),
        *("localtime", "", " ", ".", "..", "Europe/", "/Europe/Berlin", "Europe//Berlin"),
        *(
            "Europe/Berlin\n",
            "Europe/Berlin\x00",
            "right/Europe/Berlin",
            "posix/UTC",
            "leapseconds",
        ),
        *("Europe/../UTC", "Zürich", "x" * 10_000, "EST5EDT4,M3.2.0", "+02:00", "iso3166.tab"),
    ],
)
def test_anything_else_is_no_zone(name: str) -> None:
    with pytest.raises(ScheduleError) as refusal:
        check_zone(name)
    assert refusal.value.key == "timezone"
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("europe/berlin", "Europe/Berlin"),
        ("Europe/Berln", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("utc", "UTC"),
        ("America/New York", "America/New_York"),
        ("Zurich", "Europe/Zurich"),
    ],
)
def test_a_misspelt_zone_is_answered_with_the_one_meant(name: str, meant: str) -> None:
    with pytest.raises(ScheduleError, match=f"did you mean {meant}"):
        check_zone(name)


def test_local_gives_an_aware_datetime() -> None:
    assert local(1_780_000_000, "Asia/Kathmandu").isoformat() == "2026-05-29T02:11:40+05:45"


@pytest.mark.parametrize(
    "name",
    ["Europe/Berlin", "America/Noronha", "Africa/Casablanca", "Pacific/Apia", "Asia/Gaza", "UTC"],
)
def test_the_stretches_cover_time_without_gap_and_with_the_right_offset(name: str) -> None:
    subject = clock(name)
    moment, end = 0, 4_102_444_800
    offset = None
    while moment < end:
        stretch = subject.stretch(moment)
        assert stretch.begin <= moment < stretch.end
        assert stretch.offset == subject.offset(moment) == subject.offset(stretch.end - 1)
        assert offset in (None, stretch.offset) or (
            stretch.begin == moment and stretch.before == offset
        )
        moment, offset = stretch.end, stretch.offset


def test_a_change_just_before_a_cut_is_known_after_it() -> None:
    subject = clock("Europe/Berlin")
    for number in range(40, 130):  # wherever the cuts fall, a change within two days shows
        cut = number << 25
        early, late = subject.stretch(cut - 1), subject.stretch(cut)
        assert late.before in (early.offset, late.offset, early.before)
        if early.end == cut and cut - early.begin < 86400 and early.shift:
            assert late.begin == early.begin


def test_rereading_the_same_data_gives_an_equal_clock() -> None:
    before = clock("Europe/Berlin")
    schedule = schedule_for(When(cron=("0 3 * * *",), timezone="Europe/Berlin"), "job")
    reread()
    assert clock("Europe/Berlin") == before
    assert schedule_for(When(cron=("0 3 * * *",), timezone="Europe/Berlin"), "job") == schedule


def test_new_zone_data_is_seen_after_rereading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(source: str) -> None:
        target = tmp_path / "Europe" / "Berlin"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(wallclock._data(source))

    put("Asia/Tokyo")
    when = When(cron=("0 12 * * *",), timezone="Europe/Berlin")
    noon_utc = int(datetime.fromisoformat("2026-01-01T12:00:00+00:00").timestamp())
    old = schedule_for(when, "job")
    due = old.next_after(noon_utc)
    assert due is not None
    assert due.at == noon_utc + 23 * 3600
    monkeypatch.setattr(zoneinfo, "TZPATH", (str(tmp_path), *zoneinfo.TZPATH))
    try:
        reread()
        new = schedule_for(when, "job")
        moved = new.next_after(noon_utc)
        assert moved is not None
        assert moved.at == noon_utc + 15 * 3600
        assert new != old
    finally:
        shutil.rmtree(tmp_path / "Europe")
        monkeypatch.undo()
        reread()
    assert schedule_for(when, "job") == old
