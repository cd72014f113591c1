"""Where the log and the state live."""

from __future__ import annotations

from pathlib import Path

from stsd.places import Places, places
from stsd.settings import Settings


def test_the_jobfile_has_the_first_word() -> None:
    settings = Settings(log_dir=Path("/a"), state_dir=Path("/b"))
    environ = {"LOGS_DIRECTORY": "/c", "STATE_DIRECTORY": "/d", "XDG_STATE_HOME": "/e"}
    assert places(settings, environ) == Places(Path("/a"), Path("/b"))


def test_systemd_has_the_second() -> None:
    environ = {"LOGS_DIRECTORY": "/c:/other", "STATE_DIRECTORY": "/d", "XDG_STATE_HOME": "/e"}
    assert places(Settings(), environ) == Places(Path("/c"), Path("/d"))


def test_xdg_has_the_third() -> None:
    assert places(Settings(), {"XDG_STATE_HOME": "/e"}) == Places(
        Path("/e/stsd/log"), Path("/e/stsd")
    )


def test_without_any_of_them_it_is_below_the_home_folder() -> None:
    home = Path.home() / ".local" / "state" / "stsd"
    assert places(Settings(), {"XDG_STATE_HOME": ""}) == Places(home / "log", home)
