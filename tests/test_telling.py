"""People are told how jobs fare: the real daemon with its herald, and real receivers."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.support import Stsd, children_of, wait_for
from tests.support_http import Handler, Web

pytestmark = pytest.mark.slow

PATIENCE_S = 60.0
BY_HAND = 'command = "exit 3"\n'


class Receiver(Web):
    """A webhook's receiver: the bodies of what it was told, each with its delivery's id; while it
    is `stuck` it answers nobody."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port=port)
        self.answers["/hook"] = self._take
        self.free = threading.Event()
        self.free.set()

    def _take(self, handler: Handler) -> None:
        self.free.wait(PATIENCE_S)
        handler.reply(200)

    @property
    def told(self) -> list[tuple[str, dict[str, Any]]]:
        return [(asked.headers["stsd-delivery"], json.loads(asked.body)) for asked in self.asked]

    def notices(self) -> list[tuple[str, str]]:
        """Event and job of all that was told, in its order."""
        return [(each["event"], each["job"]) for _, body in self.told for each in body["notices"]]

    def wait_for(self, *notices: tuple[str, str]) -> None:
        wait_for(lambda: set(notices) <= set(self.notices()), f"{notices} to be told", PATIENCE_S)


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver
        receiver.free.set()


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def notify(hook: Web, extra: str = "") -> str:
    return f'notify = {{ to = "{hook.url("/hook")}"{extra} }}\n'


def telling(stsd: Stsd) -> dict[str, Any] | None:
    with stsd.client() as client:
        found: dict[str, Any] | None = client.ask("status")["daemon"]["telling"]
    return found


def herald_of(stsd: Stsd) -> int:
    """The pid of the daemon's herald, as soon as that is well."""

    def pid() -> Any:
        found = telling(stsd)
        return found is not None and found["problem"] is None and found["audience"] and found["pid"]

    found: int = wait_for(pid, "a herald", PATIENCE_S)
    return found


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_failure_is_told_with_all_that_its_reader_needs(stsd: Stsd, hook: Receiver) -> None:
    stsd.write(
        '[jobs.a]\ndescription = "Nightly dump"\ncommand = "echo no space; exit 3"\n'
        "on_start = true\n" + notify(hook)
    )
    with stsd:
        hook.wait_for(("failed", "a"))
        told = stsd.wait_for_event("told")
    (delivery, body), *others = hook.told
    assert others == []
    (notice,) = body["notices"]
    assert notice["job_description"] == "Nightly dump"
    assert (notice["exit_code"], notice["tail"]) == (3, ["no space"])
    assert notice["more"] == f"stsd logs -c {stsd.jobfile} {notice['run']}"
    assert (told["delivery"], told["tries"], told["notices"]) == (delivery, 1, 1)


def test_what_has_gathered_is_told_before_the_daemon_ends(stsd: Stsd, hook: Receiver) -> None:
    stsd.write(f"[jobs.a]\n{BY_HAND}" + notify(hook))
    with stsd:
        herald_of(stsd)
        assert stsd.run("trigger", "a", "--wait").returncode == 1
        began = time.monotonic()
        assert stsd.stop() == 0
        assert time.monotonic() - began < 20
    assert hook.notices() == [("failed", "a")]
    assert len(stsd.events("told")) == 1


def test_a_failure_just_after_the_very_first_start_is_told(stsd: Stsd, hook: Receiver) -> None:
    stsd.write('[jobs.a]\ncommand = ["/no/such/program"]\non_start = true\n' + notify(hook))
    with stsd:
        stsd.wait_for_record("finished", "a")
        herald_of(stsd)
        assert stsd.stop() == 0
    assert hook.notices() == [("failed", "a")]


def test_what_ended_while_there_was_no_herald_is_told_by_the_next(
    stsd: Stsd, hook: Receiver
) -> None:
    stsd.write(f"[jobs.a]\n{BY_HAND}" + notify(hook))
    with stsd:
        pid = herald_of(stsd)
        os.kill(pid, signal.SIGKILL)
        stsd.wait_for_event("herald_ended")
        assert stsd.run("trigger", "a", "--wait").returncode == 1
        assert herald_of(stsd) != pid
        assert stsd.stop() == 0
    assert hook.notices() == [("failed", "a")]


@pytest.mark.parametrize("victim", ["courier", "herald", "daemon", "all"])
def test_who_is_killed_in_the_middle_of_telling_loses_nothing_and_repeats_one_message(
    stsd: Stsd, hook: Receiver, victim: str
) -> None:
    stsd.write(f"[jobs.a]\n{BY_HAND}[jobs.b]\n{BY_HAND}[defaults]\n" + notify(hook))
    with stsd:
        herald = herald_of(stsd)
        hook.free.clear()
        assert stsd.run("trigger", "a", "--wait").returncode == 1
        wait_for(lambda: hook.asked, "the message to be on its way", PATIENCE_S)
        (courier,) = children_of(herald)
        of = {"courier": [courier], "herald": [herald], "daemon": [stsd.pid]}
        for pid in of.get(victim, [stsd.pid, herald, courier]):
            os.kill(pid, signal.SIGKILL)
        if victim in ("daemon", "all"):
            assert stsd.process is not None
            stsd.process.wait()
            stsd.start()
            stsd.wait_for_event("started_daemon", 2)
            wait_for(lambda: telling(stsd), "the control socket", PATIENCE_S)
        hook.free.set()
        assert stsd.run("trigger", "b", "--wait").returncode == 1
        hook.wait_for(("failed", "a"), ("failed", "b"))
        if victim != "daemon":  # whose herald may well have heard the answer before it ended
            wait_for(lambda: len(hook.told) >= 3, "the message once more", PATIENCE_S)
        herald_of(stsd)
        assert stsd.stop() == 0
    times = Counter(delivery for delivery, _ in hook.told)
    said = {delivery: body["notices"] for delivery, body in hook.told}
    assert len(times) == 2
    for delivery, number in times.items():
        assert number == 1 or (number == 2 and [told["job"] for told in said[delivery]] == ["a"])


KILLS = 4


def test_killed_at_any_moment_it_tells_everything(stsd: Stsd, hook: Receiver) -> None:
    due = int(time.time()) + 4
    stsd.write(
        f"[defaults]\n{notify(hook)}"
        + "".join(
            f'[jobs.j{number}]\ncommand = ["false"]\nevery = "1d"\n'
            f"anchor = {datetime.fromtimestamp(due + number, UTC):%Y-%m-%dT%H:%M:%SZ}\n"
            for number in range(40)
        )
    )
    dice = random.Random(8)
    with stsd:
        for count in range(1, KILLS + 1):
            pid = herald_of(stsd)
            end = time.monotonic() + dice.uniform(0.0, 4.0)
            wait_for(lambda: time.monotonic() > end, "a moment")  # noqa: B023
            os.kill(pid, signal.SIGKILL)
            stsd.wait_for_event("herald_ended", count)
        wait_for(lambda: len(stsd.records("finished")) == 40, "all to have failed", 90.0)
        herald_of(stsd)
        assert stsd.stop() == 0
    assert set(hook.notices()) == {("failed", f"j{number}") for number in range(40)}
    times = Counter(delivery for delivery, _ in hook.told)
    said = {delivery: body["notices"] for delivery, body in hook.told}
    assert sum(len(notices) for notices in said.values()) == 40  # else under the same id
    assert sum(times.values()) <= len(times) + KILLS


def test_a_target_that_is_down_is_shown_and_told_when_it_is_back_and_delays_no_job(
    stsd: Stsd,
) -> None:
    port = free_port()
    stsd.write(
        f'[jobs.a]\n{BY_HAND}env = {{ TOKEN = "sesame" }}\n'
        f'notify = {{ to = "http://127.0.0.1:{port}/hook?key=${{TOKEN}}" }}\n'
        '[jobs.tick]\ncommand = ["true"]\nevery = "1s"\n'
    )
    with stsd:
        herald_of(stsd)
        assert stsd.run("trigger", "a", "--wait").returncode == 1
        failed = stsd.wait_for_event("not_told")
        assert failed["target"] == f"http://127.0.0.1:{port}/…"
        assert failed["again_at"]

        def failing() -> Any:
            found = telling(stsd)
            return found and [each for each in found["targets"] if each["failing_since"]]

        (target,) = wait_for(failing, "the failure to be shown", PATIENCE_S)
        assert (target["waiting"], target["target"]) == (1, f"http://127.0.0.1:{port}/…")
        status = stsd.run("status").stdout
        assert "cannot be told" in status
        assert "sesame" not in status + stsd.log.read_text()

        with Receiver(port) as receiver:
            receiver.wait_for(("failed", "a"))
            wait_for(lambda: not failing(), "all to be well again", PATIENCE_S)
        assert "cannot be told" not in stsd.run("status").stdout
        ticks = [record["scheduled"] for record in stsd.records("started", "tick")]
    seconds = [int(datetime.fromisoformat(tick).timestamp()) for tick in ticks]
    assert seconds == list(range(seconds[0], seconds[0] + len(seconds)))


def test_a_target_that_hangs_holds_up_neither_another_one_nor_the_end(
    stsd: Stsd, hook: Receiver
) -> None:
    with Receiver() as deaf:
        deaf.free.clear()
        to = f'["{deaf.url("/hook")}", "{hook.url("/hook")}"]'
        stsd.write(f"[jobs.a]\n{BY_HAND}notify = {{ to = {to} }}\n")
        with stsd:
            herald_of(stsd)
            assert stsd.run("trigger", "a", "--wait").returncode == 1
            hook.wait_for(("failed", "a"))
            wait_for(lambda: deaf.asked, "the other one to be asked", PATIENCE_S)
            began = time.monotonic()
            assert stsd.stop() == 0
            assert time.monotonic() - began < 20
        deaf.free.set()


def test_without_its_database_the_herald_goes_on_and_tells_nothing_twice(
    stsd: Stsd, hook: Receiver
) -> None:
    stsd.write(f"[jobs.a]\n{BY_HAND}[jobs.b]\n{BY_HAND}[defaults]\n" + notify(hook))
    with stsd:
        pid = herald_of(stsd)
        assert stsd.run("trigger", "a", "--wait").returncode == 1
        hook.wait_for(("failed", "a"))
        stsd.wait_for_event("told")
        for name in (stsd.folder / "state").glob("herald.db*"):
            name.unlink()
        os.kill(pid, signal.SIGKILL)
        stsd.wait_for_event("herald_ended")
        assert herald_of(stsd) != pid
        assert stsd.run("trigger", "b", "--wait").returncode == 1
        assert stsd.stop() == 0
    assert hook.notices() == [("failed", "a"), ("failed", "b")]


def test_a_damaged_database_is_put_aside_and_said_so(stsd: Stsd, hook: Receiver) -> None:
    (stsd.folder / "state").mkdir(mode=0o700)
    (stsd.folder / "state" / "herald.db").write_bytes(b"no database" * 1000)
    stsd.write(f"[jobs.a]\n{BY_HAND}" + notify(hook))
    with stsd:
        herald_of(stsd)
        assert stsd.wait_for_event("herald_database")["level"] == "warning"
        assert stsd.run("trigger", "a", "--wait").returncode == 1
        assert stsd.stop() == 0
    assert hook.notices() == [("failed", "a")]


def test_a_reload_begins_and_ends_the_telling(stsd: Stsd, hook: Receiver) -> None:
    stsd.write(f"[jobs.a]\n{BY_HAND}")
    with stsd:
        assert telling(stsd) is None
        assert stsd.run("trigger", "a", "--wait").returncode == 1
        stsd.write(f"[jobs.a]\n{BY_HAND}[jobs.b]\n{BY_HAND}[defaults]\n" + notify(hook))
        assert stsd.run("reload").returncode == 0
        pid = herald_of(stsd)
        assert stsd.run("trigger", "b", "--wait").returncode == 1
        stsd.write(f"[jobs.a]\n{BY_HAND}")
        assert stsd.run("reload").returncode == 0
        assert telling(stsd) is None
        wait_for(lambda: not alive(pid), "the herald to end", PATIENCE_S)
    assert hook.notices() == [("failed", "b")]  # what had been before was not to be told


def test_a_reload_is_heeded_by_a_herald_that_is_there(stsd: Stsd, hook: Receiver) -> None:
    stsd.write(f"[jobs.a]\n{BY_HAND}" + notify(hook))
    with stsd:
        pid = herald_of(stsd)
        stsd.write(f"[jobs.b]\n{BY_HAND}" + notify(hook))
        assert stsd.run("reload").returncode == 0
        assert stsd.run("trigger", "b", "--wait").returncode == 1
        assert herald_of(stsd) == pid
        assert stsd.stop() == 0
    assert hook.notices() == [("failed", "b")]


def test_a_restart_in_place_hands_over_to_another_herald(stsd: Stsd, hook: Receiver) -> None:
    stsd.write(f"[jobs.a]\n{BY_HAND}[jobs.b]\n{BY_HAND}[defaults]\n" + notify(hook))
    with stsd:
        first = herald_of(stsd)
        assert stsd.run("trigger", "a", "--wait").returncode == 1
        stsd.signal(signal.SIGUSR2)
        stsd.wait_for_event("started_daemon", 2)
        assert herald_of(stsd) != first
        assert stsd.run("trigger", "b", "--wait").returncode == 1
        wait_for(lambda: first not in children_of(stsd.pid), "the first one to be reaped", 60.0)
        assert stsd.stop() == 0
    assert hook.notices() == [("failed", "a"), ("failed", "b")]


def test_conditions_are_shown_by_job(stsd: Stsd, hook: Receiver) -> None:
    stsd.write(
        f"[jobs.a]\n{BY_HAND}" + notify(hook) + '[jobs.b]\ncommand = ["true"]\nmax_age = "1s"\n'
    )
    with stsd:
        herald_of(stsd)
        assert stsd.run("trigger", "a", "--wait").returncode == 1

        def alerts() -> dict[str, list[str]]:
            lines = stsd.run("status", "--json").stdout.splitlines()
            return {row["job"]: row["alerts"] for row in map(json.loads, lines)}

        wait_for(
            lambda: alerts() == {"a": ["failed"], "b": ["silent"]}, "the conditions", PATIENCE_S
        )
        assert "silent" in stsd.run("status").stdout
        assert stsd.run("trigger", "b", "--wait").returncode == 0
        wait_for(lambda: alerts()["b"] == [], "the end of the silence", PATIENCE_S)


def test_what_is_secret_is_in_no_message(stsd: Stsd, hook: Receiver) -> None:
    key = stsd.folder / "key"
    key.write_text("open-sesame\n")
    key.chmod(0o600)
    stsd.write(
        '[jobs.a]\ncommand = "echo the key is $KEY; exit 3"\n'
        f'secrets = {{ KEY = {{ file = "{key}" }} }}\n' + notify(hook)
    )
    with stsd:
        herald_of(stsd)
        assert stsd.run("trigger", "a", "--wait").returncode == 1
        assert stsd.stop() == 0
    (_, body) = hook.told[0]
    assert body["notices"][0]["tail"] == ["the key is ***"]
    assert "sesame" not in json.dumps(body)


def test_a_dead_mans_switch_is_told_of_start_and_end(stsd: Stsd) -> None:
    with Web() as web:
        for path in ("/hc", "/hc/start", "/hc/3"):
            web.answers[path] = lambda handler: handler.reply(200, b"OK")
        stsd.write(
            f'[jobs.good]\ncommand = "echo all is well"\nping = "{web.url("/hc")}"\n'
            f'[jobs.bad]\n{BY_HAND}ping = "{web.url("/hc")}"\n'
        )
        with stsd:
            wait_for(lambda: telling(stsd), "the control socket", PATIENCE_S)
            assert stsd.run("trigger", "good", "--wait").returncode == 0
            wait_for(lambda: len(web.asked) == 2, "both calls", PATIENCE_S)
            assert stsd.run("trigger", "bad", "--wait").returncode == 1
            wait_for(lambda: len(web.asked) == 4, "two more", PATIENCE_S)
    asked = [(call.method, call.path.partition("?")[0]) for call in web.asked]
    assert asked == [
        ("POST", "/hc/start"),
        ("POST", "/hc"),
        ("POST", "/hc/start"),
        ("POST", "/hc/3"),
    ]
    assert b"all is well" in web.asked[1].body
    rids = [call.path.partition("rid=")[2] for call in web.asked]
    assert rids[0] == rids[1] != rids[2] == rids[3]


def switches(pid: int) -> int:
    """How often a process has gone to sleep."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("voluntary_ctxt_switches")]
    return int(line.split()[1])


def test_where_nothing_happens_the_herald_sleeps(stsd: Stsd, hook: Receiver) -> None:
    stsd.write('[jobs.a]\ncommand = ["true"]\nevery = "1d"\ndeadline = "06:00"\n' + notify(hook))
    with stsd:
        pid = herald_of(stsd)

        def is_asleep() -> bool:
            before = switches(pid)
            end = time.monotonic() + 6
            wait_for(lambda: time.monotonic() > end, "some time to pass")
            return switches(pid) == before

        wait_for(is_asleep, "the herald to sleep", PATIENCE_S)


def test_metrics_are_in_the_file_and_at_the_endpoint(stsd: Stsd) -> None:
    port = free_port()
    file = stsd.folder / "stsd.prom"
    stsd.write(
        f'metrics = {{ file = "{file}", listen = "127.0.0.1:{port}" }}\n'
        '[jobs.a]\ncommand = ["true"]\n'
    )
    with stsd:
        assert stsd.wait_for_event("metrics_served")["at"] == f"http://127.0.0.1:{port}/metrics"
        assert stsd.run("trigger", "a", "--wait").returncode == 0

        def served() -> str:
            connection = HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()

        line = 'stsd_runs_total{job_name="a",outcome="succeeded"} 1'
        wait_for(lambda: line in served(), "the run to be counted", PATIENCE_S)
        assert "stsd_memory_bytes " in served()
        assert "stsd_running 0" in served()
        wait_for(lambda: file.exists() and line in file.read_text(), "the file", PATIENCE_S)
        (herald,) = (pid for pid in children_of(stsd.pid) if b"stsd herald" in command_of(pid))
        assert stsd.stop() == 0
    assert not alive(herald)
    with pytest.raises(ConnectionRefusedError):
        served()


def pss(pid: int) -> int:
    """Bytes of memory that a process has, with its share of what it shares."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("Pss:")]
    return int(line.split()[1]) * 1024


MOST_MORE = 2 << 20


@pytest.mark.usefixtures("alone")
def test_the_daemon_is_hardly_larger_for_telling(tmp_path: Path, hook: Receiver) -> None:
    jobs = "".join(
        f'[jobs.j{number}]\ncommand = ["{"true" if number % 2 else "false"}"]\nevery = "10s"\n'
        for number in range(200)
    )
    told = (
        f'metrics = {{ file = "{tmp_path}/stsd.prom", listen = "127.0.0.1:{free_port()}" }}\n'
        f'[defaults]\n{notify(hook)}max_age = "1h"\nslow = "2x"\n'
    )
    for name in ("without", "with"):
        (tmp_path / name).mkdir()
    without, with_ = Stsd(tmp_path / "without", jobs), Stsd(tmp_path / "with", told + jobs)
    with without, with_:
        herald_of(with_)
        for stsd in (without, with_):
            wait_for(lambda: len(stsd.records("finished")) >= 600, "three rounds", 180.0)  # noqa: B023
        wait_for(lambda: hook.asked, "the failures to be told", 120.0)
        assert len(telling(with_)["targets"]) <= 1
        assert pss(with_.pid) <= pss(without.pid) + MOST_MORE
        pids = with_.pid, without.pid  # which both have runs among their children, at times
        wait_for(lambda: [len(children_of(pid)) for pid in pids] == [1, 0], "one process more")


HERD = 500
HERD_S = 20
SETTLED_S = 8


def herd(hook: Web | None, first: int) -> str:
    """A job for each of five hundred moments within twenty seconds, which fails, and one that is to
    be on time each second."""
    tables = [f"[defaults]\n{notify(hook)}" if hook is not None else ""]
    tables.append('[jobs.tick]\ncommand = ["true"]\nevery = "1s"\nnotify = false\npriority = 9\n')
    for number in range(HERD):
        due = datetime.fromtimestamp(first + number * HERD_S // HERD, UTC)
        tables.append(
            f'[jobs.j{number}]\ncommand = ["false"]\nevery = "1d"\n'
            f"anchor = {due:%Y-%m-%dT%H:%M:%SZ}\n"
        )
    return "".join(tables)


@pytest.mark.usefixtures("alone")
def test_five_hundred_failures_are_one_message_and_delay_nobody(
    tmp_path: Path, hook: Receiver
) -> None:
    late: dict[bool, list[float]] = {False: [], True: []}
    for turn, with_herald in enumerate((False, True)):
        folder = tmp_path / str(turn)
        folder.mkdir()
        first = int(time.time()) + SETTLED_S
        stsd = Stsd(folder, herd(hook if with_herald else None, first))
        with stsd:
            wait_for(lambda: failures(stsd) >= HERD, "all to fail", HERD_S + 60.0)  # noqa: B023
            late[with_herald] += [
                record["late_s"]
                for record in stsd.records("started", "tick")
                if first <= datetime.fromisoformat(record["scheduled"]).timestamp()
            ]
            if with_herald:
                wait_for(lambda: hook.told, "the message", 120.0)
            assert stsd.stop() == 0
    assert [len(body["notices"]) + body["dropped"] for _, body in hook.told] == [HERD]
    typical = {name: statistics.median(found) for name, found in late.items()}
    assert typical[True] <= 3 * typical[False] + 0.01, late
    worst = {name: statistics.quantiles(found, n=20)[-1] for name, found in late.items()}
    assert worst[True] <= 5 * worst[False] + 0.05, late


def failures(stsd: Stsd) -> int:
    return sum(record["outcome"] == "failed" for record in stsd.records("finished"))
