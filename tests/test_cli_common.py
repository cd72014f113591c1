"""What the commands share: whose files they look at when no daemon can be asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from stsd.cli import common
from stsd.settings import Settings

LOGS, STATE = "LOGS_DIRECTORY", "STATE_DIRECTORY"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with stsd's service, all of whose folders are below this one."""
    monkeypatch.setattr(common, "SYSTEM_JOBFILE", tmp_path / "etc" / "jobs.toml")
    monkeypatch.setattr(common, "_SERVICE", {LOGS: tmp_path / "log", STATE: tmp_path / "lib"})
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    for name in (LOGS, STATE):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "lib").mkdir()
    return tmp_path


def test_the_services_jobfile_leads_to_the_folders_that_systemd_made(service: Path) -> None:
    found = common.files_of(Settings(), service / "etc" / "jobs.toml")
    assert (found.log_dir, found.state_dir) == (service / "log", service / "lib")


def test_folders_that_only_root_may_enter_are_the_services_even_so(service: Path) -> None:
    (service / "lib").rmdir()
    (service / "lib").symlink_to("private/stsd")  # as DynamicUser= has it, in a folder of mode 0700
    found = common.files_of(Settings(), service / "etc" / "jobs.toml")
    assert found.state_dir == service / "lib"


def test_another_jobfile_leads_to_the_users_own_folders(service: Path) -> None:
    found = common.files_of(Settings(), service / "jobs.toml")
    assert (found.log_dir, found.state_dir) == (
        service / "home" / "stsd" / "log",
        service / "home" / "stsd",
    )


def test_without_a_service_its_jobfile_is_one_like_any_other(service: Path) -> None:
    (service / "lib").rmdir()
    found = common.files_of(Settings(), service / "etc" / "jobs.toml")
    assert found.state_dir == service / "home" / "stsd"


def test_what_the_jobfile_or_the_environment_says_goes_first(
    service: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LOGS, "/named")
    settings = Settings(state_dir=Path("/written"))
    found = common.files_of(settings, service / "etc" / "jobs.toml")
    assert (found.log_dir, found.state_dir) == (Path("/named"), Path("/written"))
