"""The daemon as a user meets it: the installed command, real jobs, real signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support import DEADLINE_S, STSD, Stsd, children_of, clean_environment, wait_for

# Signals 32 and 33 are the C library's own; sigaction(2) refuses to touch them for anybody else.
OF_LIBC = 0b11 << 31


def alive_in_group(pgid: int) -> list[str]:
    """Members of a process group that are no zombies."""
    listed = subprocess.run(["ps", "-e", "-o", "pgid=,stat=,args="], capture_output=True, text=True)
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    return [args for group, state, args in rows if group == str(pgid) and state[0] != "Z"]


# -- running jobs


def test_command_argv_and_python_jobs_run_and_their_output_is_kept(stsd: Stsd) -> None:
    (stsd.folder / "shop.py").write_text(
        "import asyncio\n"
        "def plain(word, *, times): print(word * times)\n"
        "async def later(): await asyncio.sleep(0); print('later')\n"
        "class Job:\n"
        "    def __init__(self, name): self.name = name\n"
        "    def run(self): print('class', self.name)\n"
    )
    stsd.write(
        """
        [jobs.shell]
        command = "echo one | tr o O; echo two >&2"
        on_start = true
        [jobs.argv]
        command = ["printf", "%s|", "a b", "$HOME"]
        on_start = true
        [jobs.function]
        python = "shop:plain"
        args = ["ab"]
        kwargs = { times = 2 }
        on_start = true
        [jobs.coroutine]
        python = "shop:later"
        on_start = true
        [jobs.class]
        python = "shop:Job"
        args = ["x"]
        on_start = true
        """
    )
    stsd.start()
    printed = {}
    for job in ("shell", "argv", "function", "coroutine", "class"):
        record = stsd.wait_for_record("finished", job)
        assert record["outcome"] == "succeeded", stsd.output_of(record)
        printed[job] = stsd.output_of(record)
    assert printed == {
        "shell": "One\ntwo\n" if printed["shell"].startswith("One") else "two\nOne\n",
        "argv": "a b|$HOME|",
        "function": "abab\n",
        "coroutine": "later\n",
        "class": "class x\n",
    }


def test_a_record_holds_all_that_the_contract_names(stsd: Stsd) -> None:
    stsd.write('[jobs.a]\ncommand = "echo hi; exit 3"\non_start = true\n')
    stsd.start()
    finished = stsd.wait_for_record("finished", "a")
    started = stsd.records("started", "a")[0]
    assert " ".join(started) == (
        "event run job scheduled trigger attempt at late_s pid born trace span"
    )
    assert " ".join(finished) == (
        "event run job scheduled trigger attempt outcome exit_code signal started at duration_s"
        " cpu_s max_rss_bytes output output_bytes output_discarded error will_retry_at trace span"
    )
    assert re.fullmatch(r"a@start-\d{8}T\d{6}\.\d{3}Z", started["run"])
    assert finished["output"] == f"output/a/{started['run']}.1.log"
    assert (finished["outcome"], finished["exit_code"]) == ("failed", 3)
    assert finished["output_bytes"] == 3


def test_cpu_time_and_peak_memory_are_recorded(stsd: Stsd) -> None:
    (stsd.folder / "hog.py").write_text(
        "def run():\n    data = bytearray(200_000_000)\n    for _ in range(3): sum(range(10**6))\n"
    )
    stsd.write('[jobs.hog]\npython = "hog:run"\non_start = true\n')
    stsd.start()
    record = stsd.wait_for_record("finished", "hog")
    assert 200_000_000 < record["max_rss_bytes"] < 400_000_000
    assert record["cpu_s"] > 0.02


def test_a_failed_run_is_retried_until_it_succeeds(stsd: Stsd) -> None:
    stsd.write(
        """
        [jobs.flaky]
        command = 'echo try $STSD_ATTEMPT; test $STSD_ATTEMPT = 3'
        on_start = true
        retry = { max = 5, delay = "0.1s" }
        """
    )
    stsd.start()
    stsd.wait_for_record("finished", "flaky", 3)
    finished = stsd.records("finished", "flaky")
    assert [r["outcome"] for r in finished] == ["failed", "failed", "succeeded"]
    assert len({r["run"] for r in finished}) == 1
    assert stsd.output_of(finished[2]) == "try 3\n"


@pytest.mark.slow
def test_a_program_that_does_not_exist_is_recorded_and_others_go_on(stsd: Stsd) -> None:
    stsd.write(
        """
        [jobs.ghost]
        command = ["no-such-program-anywhere"]
        on_start = true
        [jobs.lost]
        command = "true"
        cwd = "nowhere"
        on_start = true
        [jobs.fine]
        command = "true"
        every = "1s"
        """
    )
    stsd.start()
    ghost = stsd.wait_for_record("finished", "ghost")
    assert ghost["outcome"] == "spawn_failed"
    assert "no-such-program-anywhere: No such file or directory" in ghost["error"]
    assert "nowhere" in stsd.wait_for_record("finished", "lost")["error"]
    assert stsd.wait_for_record("finished", "fine", 2)["outcome"] == "succeeded"


def test_an_exception_leaves_its_traceback_in_the_output(stsd: Stsd) -> None:
    (stsd.folder / "bad.py").write_text("def run(): raise ValueError('no rates today')\n")
    stsd.write(
        """
        [jobs.bad]
        python = "bad:run"
        on_start = true
        [jobs.missing]
        python = "nowhere_at_all:run"
        on_start = true
        """
    )
    stsd.start()
    record = stsd.wait_for_record("finished", "bad")
    assert (record["outcome"], record["exit_code"]) == ("failed", 1)
    assert "ValueError: no rates today" in stsd.output_of(record)
    missing = stsd.wait_for_record("finished", "missing")
    assert "cannot find nowhere_at_all:run" in stsd.output_of(missing)


def test_a_child_sees_the_documented_environment_and_nothing_of_the_daemons(
    stsd: Stsd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.setenv("LD_SOMETHING", "1")
    monkeypatch.setenv("SECRET_OF_THE_DAEMON", "1")
    monkeypatch.setenv("LC_TIME", "C")
    stsd.write(
        """
        [jobs.env]
        command = ["env"]
        env = { COLOUR = "blue" }
        on_start = true
        """
    )
    stsd.start()
    record = stsd.wait_for_record("finished", "env")
    env = dict(line.split("=", 1) for line in stsd.output_of(record).splitlines())
    assert env["COLOUR"] == "blue"
    assert env["STSD_JOB"] == "env"
    assert env["STSD_RUN_ID"] == record["run"]
    assert env["STSD_SCHEDULED_AT"] == record["scheduled"]
    assert (env["STSD_ATTEMPT"], env["STSD_TRIGGER"]) == ("1", "on_start")
    allowed = r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|TZ|TMPDIR|COLOUR|LC_.*|STSD_.*"
    allowed += "|TRACEPARENT"
    assert [name for name in env if not re.fullmatch(allowed, name)] == []


def test_a_child_has_clean_signals_and_descriptors_and_a_session_of_its_own(stsd: Stsd) -> None:
    stsd.write(
        '''
        [jobs.look]
        command = """
        grep -E '^Sig(Blk|Ign)' /proc/self/status
        ls -l /proc/self/fd
        ps -o pid=,sid=,pgid= -p $$
        umask"""
        on_start = true
        '''
    )
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGQUIT})
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        stsd.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGINT, ignored)
    text = stsd.output_of(stsd.wait_for_record("finished", "look"))
    masks = [int(mask, 16) for mask in re.findall(r"Sig(?:Blk|Ign):\s*([0-9a-f]+)", text)]
    assert [mask & ~OF_LIBC for mask in masks] == [0, 0]
    fds = re.findall(r" (\d+) -> (\S+)", text)
    assert [fd for fd, _ in fds if int(fd) > 2] == [fds[-1][0]]  # the folder that ls itself reads
    assert dict(fds)["0"] == "/dev/null"
    pid, sid, pgid = re.findall(r"^ *(\d+) +(\d+) +(\d+)$", text, re.M)[0]
    assert pid == sid == pgid
    assert text.splitlines()[-1] == "0022"


def test_how_a_job_ends_is_known_though_who_started_stsd_ignores_sigchld(stsd: Stsd) -> None:
    stsd.write('[jobs.a]\ncommand = "exit 3"\non_start = true\n')
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        stsd.start()
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert stsd.wait_for_record("finished", "a")["exit_code"] == 3


def test_max_running_bounds_the_pool(stsd: Stsd) -> None:
    jobs = "".join(f'[jobs.j{n}]\ncommand = "sleep 0.3"\non_start = true\n' for n in range(6))
    stsd.write(f"max_running = 2\n{jobs}")
    stsd.start()
    for n in range(6):
        stsd.wait_for_record("finished", f"j{n}")
    alive = most = 0
    records = stsd.records("finished") + stsd.records("started")  # in this order in a millisecond
    for record in sorted(records, key=lambda record: record["at"]):
        alive += {"started": 1, "finished": -1}[record["event"]]
        most = max(most, alive)
    assert most == 2


@pytest.mark.slow
def test_a_timeout_signals_the_whole_group_and_gives_all_of_it_the_grace(stsd: Stsd) -> None:
    marker = stsd.folder / "tidy"
    stsd.write(
        f'''
        [jobs.slow]
        command = """
        (trap 'sleep 0.3; echo done > {marker}; exit' TERM; while :; do sleep 0.05; done) &
        wait"""
        on_start = true
        timeout = "0.5s"
        '''
    )
    stsd.start()
    record = stsd.wait_for_record("finished", "slow")
    assert record["outcome"] == "timed_out"
    # The shell ends at once; what it started has its grace all the same.
    assert marker.read_text() == "done\n"


def test_a_job_that_ignores_its_signal_is_killed_after_the_grace(stsd: Stsd) -> None:
    stsd.write(
        """
        [jobs.stubborn]
        command = "trap '' TERM; sleep 100 & sleep 100"
        on_start = true
        timeout = "0.3s"
        stop_grace = "0.4s"
        """
    )
    stsd.start()
    record = stsd.wait_for_record("finished", "stubborn")
    assert (record["outcome"], record["signal"]) == ("timed_out", "SIGKILL")
    group = stsd.records("started", "stubborn")[0]["pid"]
    wait_for(lambda: alive_in_group(group) == [], "the whole group to be gone")


@pytest.mark.slow
def test_a_run_ends_with_its_main_process_whatever_holds_its_output(stsd: Stsd) -> None:
    stsd.write('[jobs.a]\ncommand = "sleep 3 & echo main"\non_start = true\n')
    stsd.start()
    record = stsd.wait_for_record("finished", "a")
    assert record["duration_s"] < 2
    assert record["outcome"] == "succeeded"


@pytest.mark.slow
def test_three_hundred_instant_jobs_leave_no_zombie_and_no_descriptor(stsd: Stsd) -> None:
    jobs = [f'[jobs.j{n}]\ncommand = ["true"]\non_start = true\n' for n in range(300)]
    descriptors = [descriptors_at_rest(stsd, jobs[:number]) for number in (1, 300)]
    assert descriptors[0] == descriptors[1]


def descriptors_at_rest(stsd: Stsd, jobs: list[str]) -> int:
    """How many the daemon has when these jobs have run, each at its start."""
    before = len(stsd.records("finished"))
    stsd.write("".join(jobs))
    stsd.start()
    wait_for(lambda: len(stsd.records("finished")) == before + len(jobs), "the runs")
    with stsd.client() as client:

        def counted() -> int:
            client.ask("status")  # by its answer the loop is through with what has ended
            number = len(os.listdir(f"/proc/{stsd.pid}/fd"))
            # The copy that writes the snapshot is a child, too, for as long as that takes.
            return 0 if children_of(stsd.pid) else number

        number = wait_for(counted, "no child to be left")
    stsd.stop()
    return number


# -- reload


@pytest.mark.slow
def test_editing_the_jobfile_and_sending_hup_applies_it_whole(stsd: Stsd) -> None:
    stsd.write('[jobs.old]\ncommand = "true"\nevery = "1s"\n')
    stsd.start()
    stsd.wait_for_record("finished", "old")
    stsd.write('[jobs.new]\ncommand = "true"\nevery = "1s"\n')
    stsd.signal(signal.SIGHUP)
    told = stsd.wait_for_event("reloaded")
    assert (told["added"], told["changed"], told["removed"]) == (["new"], [], ["old"])
    stsd.wait_for_record("finished", "new", 2)
    assert len(stsd.records("started", "old")) <= 2


@pytest.mark.slow
def test_a_broken_jobfile_changes_nothing_and_says_file_line_job_and_key(stsd: Stsd) -> None:
    stsd.write('[jobs.a]\ncommand = "true"\nevery = "1s"\n')
    stsd.start()
    stsd.wait_for_record("finished", "a")
    stsd.write('[jobs.a]\ncommand = "false"\nevery = "1s"\ntimeout = "soon"\n')
    stsd.signal(signal.SIGHUP)
    problem = stsd.wait_for_event("reload_refused")["problem"]
    assert problem.startswith(f"{stsd.jobfile}:7:")
    assert "jobs.a.timeout" in problem
    before = len(stsd.records("finished", "a"))
    assert stsd.wait_for_record("finished", "a", before + 2)["outcome"] == "succeeded"


def test_a_run_outlives_the_reload_that_removes_its_job(stsd: Stsd) -> None:
    go = stsd.folder / "go"
    stsd.write(f'[jobs.a]\ncommand = "until test -e {go}; do sleep 0.05; done"\non_start = true\n')
    stsd.start()
    stsd.wait_for_record("started", "a")
    stsd.write("")
    stsd.signal(signal.SIGHUP)
    stsd.wait_for_event("reloaded")
    go.touch()
    assert stsd.wait_for_record("finished", "a")["outcome"] == "succeeded"


@pytest.mark.slow
def test_a_storm_of_hups_is_survived(stsd: Stsd) -> None:
    stsd.write('[jobs.a]\ncommand = "true"\nevery = "1s"\n')
    stsd.start()
    for n in range(100):
        stsd.write(f'[jobs.a]\ncommand = "true"\nevery = "1s"\n[jobs.b{n}]\ncommand = "true"\n')
        stsd.signal(signal.SIGHUP)
    wait_for(
        lambda: any("b99" in told["added"] for told in stsd.events("reloaded")),
        "the last jobfile is in force",
    )
    stsd.wait_for_record("finished", "a", 2)
    assert stsd.stop() == 0


# -- stop


def test_term_waits_for_the_running_job_and_exits_0(stsd: Stsd) -> None:
    stsd.write('[jobs.a]\ncommand = "sleep 1"\non_start = true\n')
    stsd.start()
    stsd.wait_for_record("started", "a")
    assert stsd.stop() == 0
    assert stsd.records("finished", "a")[0]["outcome"] == "succeeded"


@pytest.mark.slow
def test_after_stop_timeout_running_jobs_are_interrupted(stsd: Stsd) -> None:
    stsd.write('stop_timeout = "0.5s"\n[jobs.a]\ncommand = "sleep 100"\non_start = true\n')
    stsd.start()
    stsd.wait_for_record("started", "a")
    assert stsd.stop() == 0
    record = stsd.records("finished", "a")[0]
    assert (record["outcome"], record["signal"]) == ("interrupted", "SIGTERM")


@pytest.mark.slow
def test_a_second_int_hurries(stsd: Stsd) -> None:
    stsd.write('[jobs.a]\ncommand = "sleep 100"\non_start = true\n')
    stsd.start()
    stsd.wait_for_record("started", "a")
    stsd.signal(signal.SIGINT)
    stsd.wait_for_event("stopping")
    stsd.signal(signal.SIGINT)
    assert stsd.process is not None
    assert stsd.process.wait(DEADLINE_S) == 0


# -- everything else a signal or an option does


@pytest.mark.slow
def test_usr1_opens_the_history_anew_after_a_rotation(stsd: Stsd) -> None:
    stsd.write('[jobs.a]\ncommand = "true"\nevery = "1s"\n')
    stsd.start()
    stsd.wait_for_record("finished", "a")
    history = stsd.folder / "log" / "history"
    history.rename(stsd.folder / "rotated")
    stsd.signal(signal.SIGUSR1)
    stsd.wait_for_event("logs_reopened")
    stsd.wait_for_record("finished", "a")


def test_a_second_daemon_on_the_same_state_exits_1_and_names_the_first(stsd: Stsd) -> None:
    stsd.start()
    second = stsd.run("run")
    assert second.returncode == 1
    assert f"pid {stsd.pid}" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.slow
def test_detached_it_writes_its_log_and_pidfile_and_ends_on_term(stsd: Stsd) -> None:
    stsd.write('[jobs.a]\ncommand = "true"\nevery = "1s"\n')
    pidfile = stsd.folder / "stsd.pid"
    done = stsd.run("run", "--daemon", "--pidfile", str(pidfile))
    assert (done.returncode, done.stderr) == (0, "")
    stsd.wait_for_record("started", "a")
    pid = int(pidfile.read_text())
    try:
        stsd.wait_for_record("finished", "a")
        assert os.getsid(pid) != os.getsid(0)
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        lines = (stsd.folder / "log" / "stsd.log").read_text().splitlines()
        assert json.loads(lines[0])["event"] == "started_daemon"
        again = stsd.run("run", "--daemon", "--pidfile", str(pidfile))
        assert again.returncode == 1
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not pidfile.exists(), "the pidfile to go")
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the process to end")


def test_a_stale_pidfile_is_no_obstacle(stsd: Stsd) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    pidfile = stsd.folder / "stsd.pid"
    pidfile.write_text(f"{ended.pid}\n")
    assert stsd.run("run", "--daemon", "--pidfile", str(pidfile)).returncode == 0
    log = stsd.folder / "log" / "stsd.log"
    wait_for(lambda: log.exists() and "started_daemon" in log.read_text(), "the daemon to be up")
    os.kill(int(pidfile.read_text()), signal.SIGTERM)
    wait_for(lambda: not pidfile.exists(), "the pidfile to go")


@pytest.mark.slow
def test_log_level_is_taken_from_option_then_stsds_variable_then_the_common_one(
    stsd: Stsd, monkeypatch: pytest.MonkeyPatch
) -> None:
    stsd.write('[jobs.a]\ncommand = "true"\non_start = true\n')
    command = [*STSD, "run", "-c", str(stsd.jobfile)]

    def lines_with(*options: str, **environ: str) -> bool:
        env = clean_environment() | environ
        process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env
        )
        count = len(stsd.records("finished", "a"))
        wait_for(lambda: len(stsd.records("finished", "a")) > count, "a run")
        process.terminate()
        return bool(process.communicate(timeout=DEADLINE_S)[0])

    assert lines_with(LOG_LEVEL="error") is False
    assert lines_with(LOG_LEVEL="error", STSD_LOG_LEVEL="info") is True
    assert lines_with("--log-level", "error", STSD_LOG_LEVEL="info") is False


@pytest.mark.slow
def test_a_daemon_with_nothing_to_do_costs_next_to_no_processor_time(stsd: Stsd) -> None:
    stsd.write('[jobs.rare]\ncommand = "true"\nat = "2099-01-01 00:00"\n')
    stsd.start()
    ticks = os.sysconf("SC_CLK_TCK")
    stat = Path(f"/proc/{stsd.pid}/stat")

    def cpu() -> int:
        fields = stat.read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before, begun = cpu(), time.monotonic()
    wait_for(lambda: time.monotonic() - begun > 3, "three seconds")
    assert (cpu() - before) / ticks < 0.1
