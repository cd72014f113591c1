"""The herald as a process: what it makes of a history, and of what its daemon says."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stsd import herald
from stsd.child import process_of
from stsd.herald import Duty, Herald
from stsd.history import History
from stsd.model import Outcome, TriggerKind
from stsd.outbox import Outbox
from stsd.records import Finished
from stsd.wire import Wire
from tests.support import DEADLINE_S, wait_for

pytestmark = pytest.mark.slow

PATIENCE_S = 60.0


class Stage:
    """A history and a jobfile, and a herald between them and this test, which plays the daemon.
    Whoever is told writes it down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.begun = time.time() - 100.0
        self.said: list[dict[str, Any]] = []
        self._history = History(folder / "log")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._wires: list[Wire] = []
        self._ends: list[socket.socket] = []
        (folder / "state").mkdir()
        self.write("a")

    def write(self, *jobs: str, extra: str = "") -> None:
        tables = [
            f'[jobs.{job}]\ncommand = "true"\n'
            f"notify = {{ to = {{ command = 'cat >> {self.folder}/told' }} }}\n{extra}"
            for job in jobs
        ]
        (self.folder / "jobs.toml").write_text("".join(tables))

    def fail(self, job: str = "a", ago_s: float = 0.0, outcome: Outcome = Outcome.FAILED) -> None:
        """A run has failed, on the disk."""
        at = time.time() - ago_s
        run = f"{job}@{at}"
        code = 0 if outcome is Outcome.SUCCEEDED else 3
        self._history.append(Finished(run, job, int(at), TriggerKind.MANUAL, 1, outcome, at, code))
        self._history.sync()

    def start(self) -> Wire:
        """A herald; this end of its wire."""
        ours, theirs = socket.socketpair()
        words = ("jobs.toml", "log", "state")
        argv = process_of("herald", *(str(self.folder / word) for word in words), str(self.begun))
        with theirs, (self.folder / "complaints").open("ab") as complaints:
            self._processes.append(
                subprocess.Popen(argv, stdin=theirs.fileno(), stderr=complaints, cwd="/")
            )
        self._wires.append(Wire(ours))
        return self._wires[-1]

    def begin(self) -> Herald:
        """A herald within this process, whose turns are the test's."""
        ours, theirs = socket.socketpair()
        self._wires.append(Wire(ours))
        self._ends.append(theirs)
        duty = Duty(
            self.folder / "jobs.toml", self.folder / "log", self.folder / "state", self.begun
        )
        outbox = Outbox(duty.state_dir, time.time())
        return Herald(duty, Wire(theirs), outbox, outbox.load())

    def hear(self, condition: Callable[[], Any], what: str) -> Any:
        def met() -> Any:
            for wire in self._wires:
                self.said += wire.heard()
            return condition()

        return wait_for(met, what, PATIENCE_S)

    def is_ready(self) -> bool:
        return any("ready" in said for said in self.said)

    def logged(self, event: str) -> list[tuple[str, dict[str, Any]]]:
        """The level and the fields of its lines for the log."""
        lines = [line for said in self.said for line in said.get("log", [])]
        return [(level, fields) for level, name, fields in lines if name == event]

    def conditions(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for said in self.said:
            found |= said.get("conditions", {})
        return {job: events for job, events in found.items() if events}

    def end(self) -> int:
        """Hang up on the last one, and return the exit code."""
        self._wires[-1].socket.shutdown(socket.SHUT_WR)
        code = self._processes[-1].wait(PATIENCE_S)
        self.said += self._wires[-1].heard()
        return code

    def told(self) -> list[tuple[str, str]]:
        """Event and job of all that somebody was told."""
        path = self.folder / "told"
        text = path.read_text() if path.exists() else ""
        decoder, found = json.JSONDecoder(), []
        while text := text.strip():
            body, length = decoder.raw_decode(text)
            found += [(notice["event"], notice["job"]) for notice in body["notices"]]
            text = text[length:]
        return found

    def close(self) -> None:
        for end in (*self._wires, *self._ends):
            end.close()
        for process in self._processes:
            process.kill()
            process.wait(DEADLINE_S)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.close()


def test_what_happened_before_anybody_asked_is_learnt_and_what_came_after_is_told(
    stage: Stage,
) -> None:
    stage.fail("a", ago_s=500)
    stage.write("a", "b")
    stage.fail("b", ago_s=50)
    stage.start()
    stage.hear(stage.conditions, "the conditions")
    assert stage.conditions() == {"a": ["failed"], "b": ["failed"]}
    assert stage.end() == 0
    assert stage.told() == [("failed", "b")]
    assert [fields["notices"] for _, fields in stage.logged("told")] == [1]


def test_a_herald_goes_on_where_the_one_before_it_ended(stage: Stage) -> None:
    stage.fail()
    stage.start()
    stage.hear(stage.conditions, "the conditions")
    assert stage.end() == 0
    stage.fail()
    stage.fail(outcome=Outcome.SUCCEEDED)
    stage.start()
    assert stage.end() == 0
    assert stage.told() == [("failed", "a"), ("recovered", "a")]


@pytest.mark.slow
def test_a_herald_waits_for_the_one_before_it_to_let_go(stage: Stage) -> None:
    first = stage.start()
    stage.hear(stage.is_ready, "the first one")
    stage.said.clear()
    stage.start()
    time_is_over = time.monotonic() + 1.5
    stage.hear(lambda: time.monotonic() > time_is_over, "time to pass")
    assert not stage.is_ready()
    first.socket.shutdown(socket.SHUT_WR)
    stage.hear(stage.is_ready, "the second one")
    assert stage.end() == 0


@pytest.mark.slow
def test_one_that_waits_in_vain_ends_with_its_daemon(stage: Stage) -> None:
    stage.start()
    stage.hear(stage.is_ready, "the first one")
    stage.start()
    assert stage.end() == 0


def test_a_jobfile_with_a_fault_changes_nothing_and_is_told(stage: Stage) -> None:
    wire = stage.start()
    stage.hear(stage.is_ready, "the herald")
    (stage.folder / "jobs.toml").write_text("[jobs.a]\ncomand = 1\n")
    wire.tell("reload", True)
    wire.flush()
    stage.hear(lambda: stage.logged("herald_keeps_jobfile"), "the refusal")
    stage.fail()
    assert stage.end() == 0
    assert stage.told() == [("failed", "a")]


def test_one_that_cannot_read_its_jobfile_at_all_ends_and_says_why(stage: Stage) -> None:
    (stage.folder / "jobs.toml").write_text("[jobs.a]\ncomand = 1\n")
    stage.start()
    assert stage.end() == 1
    complaint = (stage.folder / "complaints").read_text()
    assert "comand" in complaint
    assert "Traceback" not in complaint


def test_held_is_told_without_any_record(stage: Stage) -> None:
    wire = stage.start()
    wire.tell("held", "No space left on device")
    wire.flush()
    stage.hear(lambda: stage.conditions() == {"a": ["held"]}, "the condition")
    assert stage.end() == 0
    assert stage.told() == [("held", "a")]


def test_a_target_that_fails_is_told_of_with_its_name_and_what_it_said(stage: Stage) -> None:
    stage.write("a")
    text = (stage.folder / "jobs.toml").read_text()
    (stage.folder / "jobs.toml").write_text(
        text.replace(f"cat >> {stage.folder}/told", "echo it is broken >&2; exit 4")
    )
    stage.fail()
    stage.start()
    assert stage.end() == 0
    ((level, fields),) = stage.logged("not_told")
    assert level in ("warning", "error")
    assert fields["target"] == "command echo"
    assert "it is broken" in fields["problem"]
    targets = [each for said in stage.said for each in said.get("targets", {}).values() if each]
    assert targets[-1]["waiting"] == 1
    assert "it is broken" in targets[-1]["problem"]


def test_nothing_is_late_before_the_news_are_read(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead_s = 0.0
    clock = SimpleNamespace(time=lambda: time.time() + ahead_s, monotonic=time.monotonic)
    monkeypatch.setattr(herald, "time", clock)
    stage.write("a", extra='max_age = "100s"\n')
    stage.fail(ago_s=50, outcome=Outcome.SUCCEEDED)
    ours = stage.begin()
    ours._turn(0.0)
    stage.fail(ago_s=-40, outcome=Outcome.SUCCEEDED)
    ahead_s = 60.0  # the first one is too old by now
    (wire,) = stage._wires
    wire.tell("news", True)
    wire.flush()
    ours._turn(0.0)
    wire.socket.shutdown(socket.SHUT_WR)
    ours.run()
    assert stage.told() == []


def test_who_has_much_left_to_read_ends_in_time_and_the_next_one_reads_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BATCH", "MOST_BATCHES"):
        monkeypatch.setattr(herald, name, 1)
    monkeypatch.setattr(herald, "HURRY_S", 0.0)
    for _ in range(5):
        stage.fail()
    stage.fail(outcome=Outcome.SUCCEEDED)
    ours = stage.begin()
    stage._wires[-1].socket.shutdown(socket.SHUT_WR)
    ours.run()
    assert len(ours._follower.batch(10)) == 5
    stage.start()
    assert stage.end() == 0
    assert stage.told() == [("failed", "a"), ("recovered", "a")]


@pytest.mark.slow
def test_a_history_that_could_not_be_read_is_read_without_any_news(stage: Stage) -> None:
    stage.fail()
    history = stage.folder / "log" / "history"
    history.rename(stage.folder / "aside")
    history.touch()
    stage.start()
    stage.hear(lambda: stage.logged("history_not_read"), "the complaint")
    history.unlink()
    (stage.folder / "aside").rename(history)
    stage.hear(stage.conditions, "the conditions")
    assert stage.end() == 0


@pytest.mark.slow
def test_a_history_of_many_records_is_read_in_pieces_and_what_is_said_meanwhile_is_heard(
    stage: Stage,
) -> None:
    for _ in range(6000):
        at = time.time() - 1000
        stage._history.append(
            Finished("a@1", "a", 1, TriggerKind.MANUAL, 1, Outcome.SUCCEEDED, at, 0)
        )
    stage.fail()
    stage.start()
    stage.hear(stage.conditions, "the end of it")
    assert stage.end() == 0
    assert stage.told() == [("failed", "a")]


def test_the_herald_yields_to_others_and_inherits_no_descriptor_of_its_daemon(
    stage: Stage,
) -> None:
    stage.start()
    stage.hear(stage.is_ready, "the herald")
    pid = stage._processes[-1].pid
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, pid) == min(ours + 10, 19)
    names = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert not [name for name in names if str(stage.folder / "log") in name and "lock" in name]
    assert stage.end() == 0


@pytest.mark.slow
def test_while_records_come_without_end_what_is_due_is_told_all_the_same(stage: Stage) -> None:
    wire = stage.start()
    stage.hear(stage.is_ready, "the herald")
    stage.fail()

    def told() -> bool:
        stage.fail("busy")
        wire.tell("news", True)
        wire.flush()
        return stage.told() == [("failed", "a")]

    stage.hear(told, "the failure")
