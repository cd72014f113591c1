"""What the real daemon does before a start: waits, asks, reads env files and fetches secrets."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from stsd.units import rfc3339
from tests.faults.support import injected, needs_strace
from tests.support import Stsd, wait_for
from tests.support_children import launcher_of

pytestmark = pytest.mark.slow

SECRET = "hunter2-4f1c"


def written(stsd: Stsd, name: str, text: str, mode: int = 0o600) -> Path:
    path = stsd.folder / name
    path.write_text(text)
    path.chmod(mode)
    return path


def processes_with(words: str) -> list[int]:
    """The processes but this one in whose command lines these words are."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if words.encode() in line and int(path.parent.name) != os.getpid():
            found.append(int(path.parent.name))
    return found


def everything_written(stsd: Stsd) -> str:
    """All that stsd has written: history, log and state, without what jobs have printed."""
    files = [
        path
        for folder in (stsd.folder / "log" / "history", stsd.folder / "state")
        for path in folder.rglob("*")
        if path.is_file()
    ]
    return "".join(path.read_text(errors="replace") for path in [*files, stsd.log])


# -- wait_for


def test_a_run_waits_until_a_server_listens(stsd: Stsd) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        stsd.write(
            f'[jobs.a]\ncommand = "true"\non_start = true\n'
            f'wait_for = {{ network = "localhost:{port}", timeout = "30s" }}\n'
            '[jobs.b]\ncommand = "true"\nevery = "1s"\n'
        )
        stsd.start()
        stsd.wait_for_record("finished", "b", 2)
        assert stsd.records("started", "a") == []
        server.listen()
        assert stsd.wait_for_record("finished", "a")["outcome"] == "succeeded"


def test_a_run_whose_wait_is_over_is_skipped_and_says_what_was_missing(stsd: Stsd) -> None:
    missing = stsd.folder / "ready"
    stsd.write(
        f'[jobs.a]\ncommand = "true"\non_start = true\n'
        f'wait_for = {{ path = "{missing}", timeout = "1s" }}\n'
    )
    stsd.start()
    skipped = stsd.wait_for_record("skipped", "a")
    assert skipped["reason"] == "condition"
    assert skipped["detail"] == f"waited in vain: no file {missing}"
    assert stsd.records("started", "a") == []


def test_a_host_that_does_not_answer_holds_up_no_other_job(stsd: Stsd) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        crowd = [socket.socket() for _ in range(3)]
        for client in crowd:
            client.setblocking(False)
            client.connect_ex(deaf.getsockname())
        stsd.write(
            f'[jobs.a]\ncommand = "true"\non_start = true\n'
            f'wait_for = {{ network = "127.0.0.1:{deaf.getsockname()[1]}", timeout = "3s" }}\n'
            '[jobs.b]\ncommand = "true"\nevery = "1s"\n'
        )
        stsd.start()
        skipped = stsd.wait_for_record("skipped", "a")
        assert skipped["detail"] == "waited in vain: there was no answer"
        assert all(record["late_s"] < 1 for record in stsd.records("started", "b"))
        assert len(stsd.records("started", "b")) >= 2
        for client in crowd:
            client.close()


# -- condition


def test_a_run_whose_condition_does_not_hold_is_skipped_with_its_exit_code(stsd: Stsd) -> None:
    stsd.write(
        '[jobs.no]\ncommand = "true"\non_start = true\ncondition = "exit 3"\n'
        '[jobs.yes]\ncommand = "true"\non_start = true\ncondition = ["test", "a", "=", "a"]\n'
        '[jobs.broken]\ncommand = "true"\non_start = true\ncondition = ["/nonexistent/check"]\n'
    )
    stsd.start()
    skipped = stsd.wait_for_record("skipped", "no")
    assert (skipped["reason"], skipped["detail"]) == ("condition", "the condition exited 3")
    assert stsd.wait_for_record("finished", "yes")["outcome"] == "succeeded"
    broken = stsd.wait_for_record("finished", "broken")
    assert broken["outcome"] == "spawn_failed"
    assert broken["error"].startswith("condition: cannot start /nonexistent/check")
    assert stsd.records("started", "no") == []


def test_a_condition_that_hangs_holds_up_no_other_job_and_ends_with_the_daemon(
    stsd: Stsd,
) -> None:
    stsd.write(
        '[jobs.a]\ncommand = "true"\non_start = true\ncondition = "sleep 96.25; true"\n'
        '[jobs.b]\ncommand = "true"\nevery = "1s"\n'
    )
    stsd.start()
    wait_for(lambda: processes_with("sleep 96.25"), "the condition to run")
    stsd.wait_for_record("finished", "b", 3)
    assert all(record["late_s"] < 1 for record in stsd.records("started", "b"))
    assert stsd.stop() == 0
    assert processes_with("sleep 96.25") == []


@pytest.mark.parametrize("limits", ["", "limits = { open_files = 64 }"])
def test_a_condition_whose_daemon_was_killed_is_ended_by_the_next(stsd: Stsd, limits: str) -> None:
    stsd.write(
        f'[jobs.a]\ncommand = "true"\non_start = true\ncondition = "sleep 96.75; true"\n{limits}\n'
    )
    stsd.start()
    traces = stsd.folder / "state" / "errands"
    wait_for(lambda: traces.exists() and list(traces.iterdir()), "the condition to be noted")
    orphans = wait_for(lambda: processes_with("sleep 96.75")[1:], "the condition to run")
    assert stsd.process is not None
    stsd.process.kill()
    stsd.process.wait()
    assert set(orphans) <= set(processes_with("sleep 96.75"))
    stsd.log.unlink()
    stsd.start()
    told = stsd.wait_for_event("killed_leftovers")
    assert (told["level"], told["job"], told["errand"]) == ("warning", "a", "condition or secret")
    wait_for(lambda: not set(orphans) & set(processes_with("sleep 96.75")), "their end")
    assert stsd.stop() == 0
    wait_for(lambda: not processes_with("sleep 96.75"), "the end of all")
    assert list(traces.iterdir()) == []


@needs_strace
def test_a_condition_that_is_being_started_when_the_daemon_stops_is_ended(stsd: Stsd) -> None:
    others = (
        '[jobs.b]\ncommand = "true"\nnice = 1\non_start = true\n'
        '[jobs.c]\ncommand = "true"\nevery = "1s"\n'
    )
    asking = '[jobs.a]\ncommand = "true"\nevery = "1s"\nnice = 1\ncondition = "sleep 96.5; true"\n'
    stsd.write(others)
    stsd.start()
    stsd.wait_for_record("finished", "b")
    # It is there when the daemon is about to be gone, and has not been heard of.
    slow_start = injected(launcher_of(stsd.pid), "clone:delay_enter=700000")
    slow_end = injected(stsd.pid, "exit_group:delay_enter=1500000")
    with slow_start, slow_end:
        stsd.write(others + asking)
        stsd.signal(signal.SIGHUP)
        stsd.wait_for_event("reloaded")
        stsd.wait_for_record("finished", "c", len(stsd.records("finished", "c")) + 1)
        assert stsd.stop() == 0
    assert processes_with("sleep 96.5") == []


def test_a_restart_in_place_asks_the_condition_anew_and_runs_once(stsd: Stsd) -> None:
    go = stsd.folder / "go"
    stsd.write(
        f'[jobs.a]\ncommand = "true"\nevery = "1h"\nanchor = {rfc3339(int(time.time()) + 4)}\n'
        f'condition = "until test -e {go}; do sleep 0.125; done"\n'
    )
    stsd.start()
    first = wait_for(lambda: processes_with(f"until test -e {go}"), "the condition to run")
    stsd.signal(signal.SIGUSR2)
    stsd.wait_for_event("started_daemon", 2)

    def asked_anew() -> bool:
        now = processes_with(f"until test -e {go}")
        return bool(now) and not set(now) & set(first)

    wait_for(asked_anew, "the condition to be asked anew")
    go.touch()
    assert stsd.wait_for_record("finished", "a")["outcome"] == "succeeded"
    assert stsd.stop() == 0
    assert len(stsd.records("started", "a")) == 1


# -- env files and secrets


def test_env_files_and_secrets_reach_the_job_and_nothing_else(stsd: Stsd) -> None:
    stsd.folder.chmod(0o755)
    written(stsd, "app.env", "COLOUR='light blue'\nOWN=file\n", 0o644)
    written(stsd, "token", SECRET + "\n")
    written(stsd, "credential", SECRET + "-c\n", 0o400)
    read_by_a_command = written(stsd, "vault", SECRET + "-v\n")
    report, go = stsd.folder / "report", stsd.folder / "go"
    stsd.write(
        f"[jobs.a]\non_start = true\n"
        f'command = """echo "$COLOUR $OWN $FROM_FILE $FROM_CREDENTIAL $FROM_COMMAND" > {report}\n'
        f'echo "the token is $FROM_FILE."; until test -e {go}; do sleep 0.05; done"""\n'
        'env = { OWN = "job" }\nenv_file = "app.env"\n'
        "[jobs.a.secrets]\n"
        'FROM_FILE = { file = "token" }\n'
        'FROM_CREDENTIAL = { credential = "credential" }\n'
        f'FROM_COMMAND = {{ command = ["cat", "{read_by_a_command}"] }}\n'
    )
    os.environ["CREDENTIALS_DIRECTORY"] = str(stsd.folder)
    try:
        stsd.start()
    finally:
        del os.environ["CREDENTIALS_DIRECTORY"]
    wait_for(report.exists, "the job to run")
    assert processes_with(SECRET) == []
    go.touch()
    finished = stsd.wait_for_record("finished", "a")
    assert finished["outcome"] == "succeeded", finished
    expected = f"light blue job {SECRET} {SECRET}-c {SECRET}-v\n"
    assert report.read_text() == expected
    assert stsd.output_of(finished) == "the token is ***.\n"
    assert stsd.stop() == 0
    assert SECRET not in everything_written(stsd)


def test_a_secret_that_others_can_read_keeps_the_job_from_starting_until_it_is_mended(
    stsd: Stsd,
) -> None:
    token = written(stsd, "token", SECRET, 0o644)
    stsd.write(
        '[jobs.a]\ncommand = "true"\non_start = true\nsecrets = { TOKEN = { file = "token" } }\n'
        'retry = { max = 20, delay = "0.3s" }\n'
    )
    stsd.start()
    failed = stsd.wait_for_record("finished", "a")
    assert failed["outcome"] == "spawn_failed"
    assert failed["error"] == (
        f"secrets.TOKEN: {token} is readable by others (mode 0644; would be right: chmod 600)"
    )
    token.chmod(0o600)

    def succeeded() -> bool:
        return stsd.records("finished", "a")[-1]["outcome"] == "succeeded"

    wait_for(succeeded, "a retry to succeed")
    assert stsd.stop() == 0
    assert SECRET not in everything_written(stsd)


def test_a_changed_env_file_is_in_force_without_a_reload(stsd: Stsd) -> None:
    stsd.folder.chmod(0o755)
    written(stsd, "app.env", "WORD=first\n")
    stsd.write('[jobs.a]\ncommand = "echo $WORD"\nevery = "1s"\nenv_file = ["app.env"]\n')
    stsd.start()
    assert stsd.output_of(stsd.wait_for_record("finished", "a")) == "first\n"
    written(stsd, "app.env", "WORD=second\n")

    def second() -> bool:
        return stsd.output_of(stsd.records("finished", "a")[-1]) == "second\n"

    wait_for(second, "the new word")


@pytest.mark.skipif(os.geteuid() != 0, reason="changes users")
def test_a_secret_of_the_jobs_user_is_fetched_and_used_by_that_user(stsd: Stsd) -> None:
    token = written(stsd, "token", SECRET)
    os.chown(token, 65534, -1)
    stsd.write(
        '[jobs.a]\ncommand = "echo $(id -u) $WHO ${#TOKEN}"\non_start = true\ncwd = "/"\n'
        'user = "nobody"\ncondition = "test $(id -un) = nobody"\nlimits = { open_files = 64 }\n'
        'secrets = { TOKEN = { file = "token" }, WHO = { command = "id -un" } }\n'
    )
    stsd.start()
    finished = stsd.wait_for_record("finished", "a")
    assert finished["outcome"] == "succeeded", finished
    assert stsd.output_of(finished) == f"65534 *** {len(SECRET)}\n"


def test_a_secrets_command_that_fails_is_told_in_the_record_and_not_what_it_printed(
    stsd: Stsd,
) -> None:
    stsd.write(
        '[jobs.a]\ncommand = "true"\non_start = true\n'
        f"[jobs.a.secrets]\nTOKEN = {{ command = \"echo {SECRET[:4]}''{SECRET[4:]};"
        ' echo no vault >&2; exit 1" }\n'
    )
    stsd.start()
    finished = stsd.wait_for_record("finished", "a")
    assert finished["error"] == "secrets.TOKEN: its command exited 1: no vault"
    assert stsd.stop() == 0
    assert SECRET not in everything_written(stsd)
