"""The daemon's end of the herald: its process, and what goes to and fro."""

from __future__ import annotations

import json
import os
import selectors
import signal
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import CapturingLogger

from stsd import heraldlink
from stsd.heraldlink import HeraldLink, is_wanted
from stsd.model import Job, Reading, ShellTask
from stsd.notices import Means, Metrics, Notify, Ping, Slow, Target
from stsd.places import Places
from stsd.settings import Jobfile, Settings
from tests.support import descriptors, wait_for

QUIET = Job("quiet", ShellTask("true"))
WATCHED = replace(QUIET, name="watched", max_age=60.0)

TELLS = """
import json, os, socket, sys, time
end = socket.socket(fileno=os.dup(0))
lines = end.makefile("r")
heard = open(HEARD, "a", buffering=1)
print(json.dumps({"argv": sys.argv[1:], "pid": os.getpid()}), file=heard)
def tell(**said):
    end.sendall(json.dumps(said).encode() + b"\\n")
"""
LISTENS = """
tell(ready=True)
for line in lines:
    heard.write(line)
"""


def jobfile(*jobs: Job, metrics: Metrics | None = None) -> Jobfile:
    settings = Settings(metrics=metrics)
    return Jobfile(Path("/etc/stsd/jobs.toml"), settings, {job.name: job for job in jobs})


class Loop:
    """A daemon that does nothing else."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.logged = CapturingLogger()
        self.selector = selectors.DefaultSelector()
        self.gauges: dict[str, object] = {"running": 3}
        self.ahead_s = 0.0
        self._monkeypatch = monkeypatch
        (folder / "heard").touch()
        self.link = HeraldLink(
            self.selector,
            Places(folder / "log", folder / "state"),
            {"PATH": os.environ["PATH"]},
            lambda: self.gauges,
            123.5,
            structlog.wrap_logger(self.logged, processors=[]),
        )

    def herald_is(self, *programs: str) -> None:
        script = self.folder / "herald.py"
        heard = repr(str(self.folder / "heard"))
        script.write_text(TELLS.replace("HEARD", heard) + "".join(map(textwrap.dedent, programs)))
        self._monkeypatch.setattr(
            heraldlink, "process_of", lambda room, *words: ["python3", str(script), room, *words]
        )

    def now(self) -> Reading:
        return Reading(time.time(), time.monotonic() + self.ahead_s)

    def turn(self, patience_s: float = 0.05) -> bool:
        """One turn; whether anything happened at a descriptor."""
        ready = self.selector.select(patience_s)
        if ready:
            self.link.hear(self.now().mono)
        self.link.tend(self.now())
        return bool(ready)

    def until(self, condition: Any, what: str) -> Any:
        def met() -> Any:
            self.turn()
            return condition()

        return wait_for(met, what, 30.0)

    @property
    def heard(self) -> list[dict[str, Any]]:
        """What the heralds have been told, and first of each how it was started."""
        return [json.loads(line) for line in (self.folder / "heard").read_text().splitlines()]

    @property
    def log(self) -> list[tuple[str, str, dict[str, Any]]]:
        told = [(call.method_name, dict(call.kwargs)) for call in self.logged.calls]
        return [(level, fields.pop("event"), fields) for level, fields in told]

    def logs_of(self, event: str) -> list[dict[str, Any]]:
        return [fields for _, name, fields in self.log if name == event]


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    loop = Loop(tmp_path, monkeypatch)
    loop.herald_is(LISTENS)
    yield loop
    loop.link.close()
    loop.selector.close()


@pytest.mark.parametrize(
    "job",
    [
        replace(QUIET, notify=Notify((Target(Means.COMMAND, shell="true"),))),
        replace(QUIET, ping=Ping(check="https://hc.example.com/x")),
        replace(QUIET, deadline=0),
        replace(QUIET, max_age=1.0),
        replace(QUIET, slow=Slow(seconds=1.0)),
        replace(QUIET, min_output=1),
    ],
)
def test_a_herald_is_wanted_by_each_key_that_asks_for_telling(job: Job) -> None:
    assert is_wanted(jobfile(QUIET, job))


def test_a_herald_is_wanted_by_metrics_and_by_nothing_else() -> None:
    assert is_wanted(jobfile(metrics=Metrics(file="/run/stsd.prom")))
    assert not is_wanted(jobfile(QUIET))


def test_where_nothing_is_to_be_told_there_is_no_process_and_no_work(loop: Loop) -> None:
    before = descriptors()
    loop.link.serve(jobfile(QUIET), loop.now().mono)
    loop.link.news()
    loop.turn()
    assert loop.heard == []
    assert loop.link.about() is None
    assert loop.link.patience(loop.now().mono) is None
    assert descriptors() == before


def test_the_herald_is_told_its_jobfile_its_folders_and_since_when(loop: Loop) -> None:
    loop.link.serve(jobfile(WATCHED), loop.now().mono)
    loop.until(lambda: loop.heard, "a herald")
    folder = str(loop.folder)
    assert loop.heard[0]["argv"] == [
        "herald",
        "/etc/stsd/jobs.toml",
        f"{folder}/log",
        f"{folder}/state",
        "123.5",
    ]
    about = loop.link.about()
    assert about is not None
    assert about["pid"] == loop.heard[0]["pid"]
    assert about["problem"] is None


def test_the_herald_goes_out_the_way_that_the_daemon_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = {"https_proxy": "http://proxy:3128", "NO_PROXY": "db1", "SSL_CERT_FILE": "/ca.pem"}
    for name, value in {**way, "A_TOKEN": "hunter22"}.items():
        monkeypatch.setenv(name, value)
    loop = Loop(tmp_path, monkeypatch)
    loop.herald_is("print(json.dumps(dict(os.environ)), file=heard)", LISTENS)
    loop.link.serve(jobfile(WATCHED), loop.now().mono)
    loop.until(lambda: len(loop.heard) > 1, "its environment")
    environ = loop.heard[1]
    loop.link.close()
    assert {name: environ.get(name) for name in way} == way
    assert "A_TOKEN" not in environ


def test_news_held_and_reload_are_told_and_then_there_is_nothing_to_do(loop: Loop) -> None:
    loop.link.serve(jobfile(WATCHED), loop.now().mono)
    loop.link.held("No space left on device")
    loop.link.news()
    loop.link.serve(jobfile(WATCHED, QUIET), loop.now().mono)

    def told() -> dict[str, Any]:
        return {word: news for line in loop.heard[1:] for word, news in line.items()}

    loop.until(lambda: told().keys() >= {"news", "held", "reload"}, "the words")
    assert told()["held"] == "No space left on device"
    while loop.turn(0.5):
        pass
    assert loop.link.patience(loop.now().mono) is None


def test_a_history_that_can_be_written_again_has_news(loop: Loop) -> None:
    loop.link.serve(jobfile(WATCHED), loop.now().mono)
    loop.until(lambda: any("news" in line for line in loop.heard), "the first news")
    loop.link.held(None)
    loop.until(lambda: loop.heard[-1] == {"held": None, "news": True}, "what has waited")


def test_what_the_herald_says_is_passed_on(loop: Loop) -> None:
    loop.herald_is(
        """
        tell(ready=True, audience=2, conditions={"a": ["late"], "b": ["slow"]},
             targets={"1": {"target": "mailto://mx", "waiting": 2}, "2": {"target": "x"}})
        tell(log=[["warning", "not_told", {"problem": "refused"}], ["loud", "x", {}]])
        tell(conditions={"b": []}, targets={"2": None})
        """,
        LISTENS,
    )
    loop.link.serve(jobfile(WATCHED), loop.now().mono)
    loop.until(lambda: loop.link.conditions == {"a": ["late"]}, "the conditions")
    about = loop.link.about()
    assert about is not None
    assert about["audience"] == 2
    assert about["targets"] == [{"target": "mailto://mx", "waiting": 2}]
    assert [level for level, event, _ in loop.log if event == "not_told"] == ["warning"]
    assert loop.logs_of("x") == []


@pytest.mark.slow
def test_one_that_dies_is_mourned_and_followed_by_another_later_and_later(loop: Loop) -> None:
    loop.herald_is('sys.exit("RuntimeError: no such thing")')
    loop.link.serve(jobfile(WATCHED), loop.now().mono)
    loop.until(lambda: loop.logs_of("herald_ended"), "its death")
    assert "RuntimeError: no such thing" in loop.logs_of("herald_ended")[0]["problem"]
    about = loop.link.about()
    assert about is not None
    assert about["pid"] is None
    assert "exit code 1" in str(about["problem"])
    waits = []
    for count in range(2, 14):
        patience = loop.link.patience(loop.now().mono)
        assert patience is not None
        waits.append(round(patience))
        loop.ahead_s += patience
        loop.until(lambda: len(loop.logs_of("herald_ended")) >= count, "another death")  # noqa: B023
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == 300
    assert loop.heard[-1]["argv"][-1] == "123.5"  # nobody has been told of anything


def test_once_another_one_is_ready_nothing_is_wrong_any_more(loop: Loop) -> None:
    loop.link.serve(jobfile(WATCHED), loop.now().mono)
    loop.until(lambda: loop.heard, "a herald")
    os.kill(loop.heard[0]["pid"], signal.SIGKILL)
    loop.until(lambda: loop.logs_of("herald_ended"), "its death")
    assert "signal 9" in loop.logs_of("herald_ended")[0]["problem"]
    loop.ahead_s = 10.0

    def is_well() -> bool:
        about = loop.link.about()
        return about is not None and about["pid"] is not None and about["problem"] is None

    loop.until(is_well, "another herald")
    begun = [line["argv"][-1] for line in loop.heard if "argv" in line]
    assert begun[0] == "123.5"
    assert float(begun[1]) > time.time() - 60  # should all be lost, what was before has been told


def test_one_that_hangs_up_or_talks_nonsense_is_killed_and_replaced(loop: Loop) -> None:
    loop.herald_is('end.sendall(b"nonsense\\n"); time.sleep(600)')
    loop.link.serve(jobfile(WATCHED), loop.now().mono)
    loop.until(lambda: loop.logs_of("herald_ended"), "its end")
    assert "signal 9" in loop.logs_of("herald_ended")[0]["problem"]


def test_one_that_cannot_be_started_is_tried_again(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heraldlink, "process_of", lambda room, *words: ["/no/such/program"])
    loop.link.serve(jobfile(WATCHED), loop.now().mono)
    assert "cannot be started" in loop.logs_of("herald_ended")[0]["problem"]
    loop.herald_is(LISTENS)
    loop.ahead_s = 2.0
    loop.until(lambda: loop.heard, "a herald")


def test_a_jobfile_that_asks_for_nothing_more_ends_it(loop: Loop) -> None:
    before = descriptors()
    loop.link.serve(jobfile(WATCHED), loop.now().mono)
    loop.until(lambda: loop.heard, "a herald")
    pid = loop.heard[0]["pid"]
    loop.link.serve(jobfile(QUIET), loop.now().mono)
    assert loop.link.about() is None
    assert descriptors() == before
    os.waitpid(pid, 0)  # it ends by itself
    loop.link.serve(jobfile(WATCHED), loop.now().mono)

    def begun() -> list[float]:
        return [float(line["argv"][-1]) for line in loop.heard if "argv" in line]

    loop.until(lambda: len(begun()) == 2, "another herald")
    assert begun()[0] == 123.5
    assert begun()[1] > time.time() - 60


def test_gauges_are_told_where_there_are_metrics_every_ten_seconds(loop: Loop) -> None:
    loop.link.serve(jobfile(metrics=Metrics(file="/run/x.prom")), loop.now().mono)

    def gauges() -> list[object]:
        return [line["gauges"] for line in loop.heard if "gauges" in line]

    loop.until(gauges, "gauges")
    loop.gauges = {"running": 4}
    loop.turn(0.5)
    assert gauges() == [{"running": 3}]
    patience = loop.link.patience(loop.now().mono)
    assert patience is not None
    assert 5 < patience <= 10
    loop.ahead_s = patience
    loop.until(lambda: len(gauges()) == 2, "the next ones")
    assert gauges() == [{"running": 3}, {"running": 4}]


def test_a_step_of_the_clock_is_news(loop: Loop) -> None:
    loop.link.serve(jobfile(WATCHED), loop.now().mono)
    loop.until(lambda: any("news" in line for line in loop.heard), "the first news")
    before = len(loop.heard)
    loop.turn(0.3)
    assert len(loop.heard) == before
    loop.ahead_s = 3600.0
    loop.until(lambda: len(loop.heard) > before, "news of the step")
    assert loop.heard[-1] == {"news": True}


def test_the_end_waits_for_what_is_still_to_be_told_and_logs_it(loop: Loop) -> None:
    loop.herald_is(
        LISTENS,
        """
        time.sleep(1.0)
        tell(log=[["info", "told", {"target": "x"}]])
        """,
    )
    loop.link.serve(jobfile(WATCHED), loop.now().mono)
    loop.until(lambda: loop.heard, "a herald")
    loop.link.close()
    assert loop.logs_of("told") == [{"target": "x"}]
    assert loop.link.conditions == {}


def test_the_end_does_not_wait_for_ever(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heraldlink, "FAREWELL_S", 0.5)
    loop.herald_is("time.sleep(600)")
    loop.link.serve(jobfile(WATCHED), loop.now().mono)
    loop.until(lambda: loop.heard, "a herald")
    began = time.monotonic()
    loop.link.close()
    assert 0.4 < time.monotonic() - began < 20
    os.kill(loop.heard[0]["pid"], signal.SIGKILL)
