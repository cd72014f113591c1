"""The jobfile that ships with stsd, and the Python jobs of its examples folder."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tomli

from stsd.keys import DAEMON_KEYS, JOB_KEYS
from tests.support import wait_for

REPOSITORY = Path(__file__).parent.parent
EXAMPLE = REPOSITORY / "jobs.example.toml"
STSD = Path(sys.executable).with_name("stsd")


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Import a module of examples/."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "examples"))
    names: list[str] = []

    def load(name: str) -> ModuleType:
        names.append(name)
        return importlib.import_module(name)

    yield load
    for name in names:
        del sys.modules[name]


def stsd(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([STSD, *words], capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    "key", [*DAEMON_KEYS.values(), *JOB_KEYS.values()], ids=lambda key: key.name
)
def test_the_example_explains_every_key(key: Any) -> None:
    written = re.compile(rf"^(# )?{key.name} = .*(  # |'''$|$)|^\[jobs\.\w+\.{key.name}\]$", re.M)
    assert written.search(EXAMPLE.read_text())


def test_check_finds_nothing_to_say_about_the_example() -> None:
    done = stsd("check", "-c", EXAMPLE)
    assert (done.returncode, done.stderr) == (0, "")
    assert "warning" not in done.stdout.lower()


def test_the_lines_that_are_commented_out_are_valid_too(tmp_path: Path) -> None:
    text = re.sub(r"^# (\w+ = |\[jobs\.)", r"\1", EXAMPLE.read_text(), flags=re.M)
    if os.geteuid() != 0:  # others are warned that they cannot become somebody else
        text = re.sub(r"^(user|group) = .*", "", text, flags=re.M)
    shutil.copytree(REPOSITORY / "examples", tmp_path / "examples")
    text = text.replace("skip_holidays", "# skip_holidays").replace('include = ["jobs.d', "# [")
    text = text.replace('args = [["/"', '# args = [["/"')  # the same argument twice
    text = text.replace("/srv/app/.venv/bin/python", sys.executable)  # is there, so no warning
    jobfile = tmp_path / "jobs.toml"
    jobfile.write_text(text)
    assert len(tomli.loads(text)["jobs"]["disk"]) > len(
        tomli.loads(EXAMPLE.read_text())["jobs"]["disk"]
    )
    done = stsd("check", "-c", jobfile)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_within_ten_seconds_finished_runs_are_in_the_history(tmp_path: Path) -> None:
    """As a first user has it: the checkout, `stsd run`, Ctrl-C."""
    for name in ("examples", "docs"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    jobfile = tmp_path / EXAMPLE.name
    shutil.copy(EXAMPLE, jobfile)
    begun = datetime.now(UTC)
    with subprocess.Popen(
        [STSD, "run", "-c", jobfile], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as daemon:
        try:
            expected = {"disk", "load", "services", "backup", "verify", "flaky"}

            def records_of_all() -> list[dict[str, Any]]:
                done = stsd("history", "-c", jobfile, "-n", "1000", "--json")
                records = [json.loads(line) for line in done.stdout.splitlines()]
                succeeded = {r["job"] for r in records if r.get("outcome") == "succeeded"}
                return records if expected <= succeeded else []

            records = wait_for(records_of_all, "a success of each", 60.0)
        finally:
            daemon.send_signal(signal.SIGINT)
            said, _ = daemon.communicate(timeout=20)
    assert daemon.returncode == 0, said
    assert "Traceback" not in said
    finished = [r for r in records if r["event"] == "finished"]
    ends = sorted(datetime.fromisoformat(r["at"]) for r in finished)
    assert ends[0] - begun < timedelta(seconds=10)
    flaky = [r["outcome"] for r in finished if r["job"] == "flaky"]
    assert sorted(flaky[-3:]) == ["failed", "failed", "succeeded"]
    archives = list((tmp_path / "run" / "backup").glob("docs-*.tar.gz"))
    assert len(archives) == 1
    listing = subprocess.run(["tar", "-tzf", archives[0]], capture_output=True, text=True)
    assert "docs/install.md" in listing.stdout.splitlines()
    assert archives[0].stat().st_mode & 0o777 == 0o600


def test_diskspace_prints_every_path_and_passes_below_the_limit(
    example: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example("diskspace").check([str(tmp_path), "/"], max_percent=100)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [str(tmp_path), "/"]


def test_diskspace_fails_for_a_full_disk_after_it_has_looked_at_all(
    example: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    diskspace = example("diskspace")
    with pytest.raises(diskspace.DiskFullError, match=re.escape(f"{tmp_path} is ")):
        diskspace.check([str(tmp_path), "/"], max_percent=-1)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_diskspace_fails_for_a_path_that_is_not_there(example: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        example("diskspace").check([str(tmp_path / "none")])


def test_load_prints_the_load_and_fails_above_the_limit(
    example: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load = example("load")
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 6.0, 0.0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    load.Watch(max_per_processor=3).run()
    assert capsys.readouterr().out == "load 6.00 on 2 processors\n"
    with pytest.raises(load.OverloadError):
        load.Watch(max_per_processor=2.9).run()


def test_ports_tells_open_from_closed_and_fails_for_a_required_one(
    example: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ports = example("ports")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: nobody else can take it
        up = f"127.0.0.1:{server.getsockname()[1]}"
        down = f"127.0.0.1:{unused.getsockname()[1]}"
        asyncio.run(ports.probe([up, down], required=[up]))
        assert capsys.readouterr().out == f"{up} is open\n{down} does not answer\n"
        with pytest.raises(ports.ServiceDownError, match=down):
            asyncio.run(ports.probe([up], required=[down]))
