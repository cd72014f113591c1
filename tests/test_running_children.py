"""Users, limits and warm Python through the installed command, as a user of it meets them."""

from __future__ import annotations

import json
import os
import pwd
import signal
from pathlib import Path

import pytest

from tests.support import Stsd, wait_for
from tests.support_children import folder_for_all, launcher_of, python_for_all

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes users")

WARM = """
import os
with open("imports", "a") as file: file.write(f"{os.getpid()}\\n")
def run(word): print(word, os.environ["STSD_ATTEMPT"])
def fails(): raise LookupError("no rates today")
"""


@needs_root
def test_a_job_of_another_user_with_limits_has_both_and_its_record(stsd: Stsd) -> None:
    stsd.write(
        """
        [jobs.a]
        command = "id -u; id -g; id -G; umask; ulimit -n; nice; echo $HOME $USER; pwd"
        user = "nobody"
        nice = 5
        umask = "027"
        cwd = "/"
        limits = { open_files = 123, cpu_time = "5s" }
        on_start = true
        """
    )
    stsd.start()
    record = stsd.wait_for_record("finished", "a")
    nobody = pwd.getpwnam("nobody")
    assert stsd.output_of(record).splitlines() == [
        str(nobody.pw_uid),
        str(nobody.pw_gid),
        " ".join(map(str, os.getgrouplist("nobody", nobody.pw_gid))),
        "0027",
        "123",
        "5",
        f"{nobody.pw_dir} nobody",
        "/",
    ]
    assert stsd.records("started", "a")[0]["pid"] > 0


@pytest.mark.slow
@needs_root
def test_a_program_that_the_user_may_not_execute_fails_the_run_and_nothing_else(
    stsd: Stsd,
) -> None:
    program = stsd.folder / "mine"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    stsd.write(
        f'[jobs.a]\ncommand = ["{program}"]\nuser = "nobody"\ncwd = "/"\non_start = true\n'
        '[jobs.b]\ncommand = "true"\nevery = "1s"\n'
    )
    stsd.start()
    record = stsd.wait_for_record("finished", "a")
    assert record["outcome"] == "spawn_failed"
    assert record["error"] == f"cannot start {program} as user nobody: Permission denied"
    assert stsd.wait_for_record("finished", "b", 2)["outcome"] == "succeeded"


@pytest.mark.slow
def test_a_warm_job_imports_once_and_anew_after_a_reload(stsd: Stsd) -> None:
    (stsd.folder / "shop.py").write_text(WARM)
    stsd.write('[jobs.a]\npython = "shop:run"\nargs = ["hello"]\nwarm = true\nevery = "1s"\n')
    stsd.start()
    record = stsd.wait_for_record("finished", "a", 3)
    assert stsd.output_of(record) == "hello 1\n"
    imports = stsd.folder / "imports"
    assert len(imports.read_text().split()) == 1
    stsd.signal(signal.SIGHUP)
    wait_for(lambda: len(imports.read_text().split()) == 2, "another import")
    assert stsd.wait_for_record("finished", "a", 5)["outcome"] == "succeeded"
    assert stsd.events("started_cold") == []
    assert stsd.stop() == 0
    last = int(imports.read_text().split()[-1])
    wait_for(lambda: not is_warm_process(last), "the warm process to end")


def is_warm_process(pid: int) -> bool:
    """Whether it still runs: of one that only waits to be reaped the command line is empty."""
    try:
        return b"warm.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("warm", ["true", "false"])
def test_an_exception_is_in_the_record(stsd: Stsd, warm: str) -> None:
    (stsd.folder / "shop.py").write_text(WARM)
    stsd.write(f'[jobs.a]\npython = "shop:fails"\nwarm = {warm}\non_start = true\n')
    stsd.start()
    record = stsd.wait_for_record("finished", "a")
    assert (record["outcome"], record["exit_code"]) == ("failed", 1)
    assert record["error"] == "LookupError: no rates today"
    assert "Traceback" in stsd.output_of(record)


@pytest.mark.slow
def test_a_job_that_cannot_be_warm_runs_cold_and_the_log_says_why(stsd: Stsd) -> None:
    (stsd.folder / "shop.py").write_text("raise RuntimeError('not today')\n")
    stsd.write('[jobs.a]\npython = "shop:run"\nwarm = true\nevery = "1s"\n')
    stsd.start()
    record = stsd.wait_for_record("finished", "a", 2)
    assert "RuntimeError: not today" in stsd.output_of(record)
    (told,) = stsd.events("started_cold")
    assert told["reason"] == "it cannot be imported: RuntimeError: not today"


@pytest.mark.slow
def test_a_launcher_that_is_killed_costs_no_run(stsd: Stsd) -> None:
    stsd.write('[jobs.a]\ncommand = "true"\nnice = 1\nevery = "1s"\n')
    stsd.start()
    stsd.wait_for_record("finished", "a")
    killed = launcher_of(stsd.pid)
    os.kill(killed, signal.SIGKILL)
    count = len(stsd.records("finished", "a"))
    assert stsd.wait_for_record("finished", "a", count + 3)["outcome"] == "succeeded"
    assert {r["outcome"] for r in stsd.records("finished", "a")} == {"succeeded"}
    assert launcher_of(stsd.pid) != killed


@pytest.mark.slow
def test_a_launched_run_survives_a_restart_in_place_with_its_exit_code(stsd: Stsd) -> None:
    go = stsd.folder / "go"
    stsd.write(
        f'[jobs.a]\ncommand = "until test -e {go}; do sleep 0.05; done; exit 3"\n'
        "nice = 1\non_start = true\n"
    )
    stsd.start()
    stsd.wait_for_record("started", "a")
    stsd.signal(signal.SIGUSR2)
    stsd.wait_for_event("started_daemon", 2)
    go.touch()
    record = stsd.wait_for_record("finished", "a")
    assert (record["outcome"], record["exit_code"]) == ("failed", 3)


@needs_root
def test_a_warm_job_of_another_user_is_imported_as_that_user(stsd: Stsd) -> None:
    python = python_for_all()
    with folder_for_all() as folder:
        (folder / "shop.py").write_text(
            "import json, os; AT_IMPORT = os.getresuid()\n"
            "def run(): print(json.dumps([AT_IMPORT, os.getresuid(), os.environ['USER']]))\n"
        )
        stsd.write(
            f'[jobs.a]\npython = "shop:run"\ninterpreter = "{python}"\nuser = "nobody"\n'
            f'warm = true\ncwd = "{folder}"\non_start = true\n'
        )
        stsd.start()
        record = stsd.wait_for_record("finished", "a")
    uid = pwd.getpwnam("nobody").pw_uid
    assert json.loads(stsd.output_of(record)) == [[uid] * 3, [uid] * 3, "nobody"]
    assert stsd.events("started_cold") == []
