"""The trace of a run: by the rules of W3C Trace Context, and the same for all who ask."""

from __future__ import annotations

import os
import re
from itertools import product
from pathlib import Path

import pytest

from stsd import recovery
from stsd.interventions import ByHand
from stsd.messages import Trigger
from stsd.model import Job, Retry, Run, ShellTask, When
from stsd.records import Finished, Started
from stsd.recovery import machine_id
from stsd.tracecontext import span_of, trace_of, traceparent
from stsd.units import compact
from tests.simulation.world import START, Fate, World, jobfile
from tests.support import Stsd

RUN = "a@20261121T023000Z"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
GIVEN = f"00-{TRACE}-00f067aa0ba902b7-01"


def test_a_trace_is_the_same_for_all_who_ask_and_another_one_for_all_else() -> None:
    assert trace_of("m", RUN, ()) == trace_of("m", RUN, (("A", "1"),))
    runs = [f"a@{number}" for number in range(500)]
    traces = {trace_of(machine, run, ()) for machine, run in product(("", "m", "n"), runs)}
    spans = {span_of(TRACE, run, attempt) for run, attempt in product(runs, (1, 2, 3))}
    assert len(traces) == len(spans) == 1500
    assert all(re.fullmatch("[0-9a-f]{32}", trace) for trace in traces)
    assert all(re.fullmatch("[0-9a-f]{16}", span) for span in spans)


def test_the_id_of_a_machine_may_be_of_any_length() -> None:
    assert trace_of("é" * 200, RUN, ()) != trace_of("", RUN, ())


def test_a_child_is_given_its_attempts_span_as_the_parent() -> None:
    span = span_of(TRACE, RUN, 2)
    assert traceparent(TRACE, RUN, 2, ()) == f"00-{TRACE}-{span}-01"


@pytest.mark.parametrize(
    ("parent", "flags"),
    [(GIVEN, "01"), (GIVEN[:-2] + "00", "00"), (f"cc{GIVEN[2:]}-what-a-later-version-adds", "01")],
)
def test_a_trace_that_is_given_goes_on_with_its_flags_and_a_span_of_its_own(
    parent: str, flags: str
) -> None:
    env = (("A", "x"), ("TRACEPARENT", parent))
    assert trace_of("m", RUN, env) == TRACE
    told = traceparent(TRACE, RUN, 1, env)
    assert told == f"00-{TRACE}-{span_of(TRACE, RUN, 1)}-{flags}"
    assert "00f067aa0ba902b7" not in told


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "x",
        GIVEN.upper(),
        GIVEN[:-3],
        f"{GIVEN}1",
        f"{GIVEN}-what-this-version-has-not",
        f"ff{GIVEN[2:]}",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
    ],
)
def test_a_trace_that_is_none_is_passed_over(parent: str) -> None:
    env = (("TRACEPARENT", parent),)
    assert trace_of("m", RUN, env) == trace_of("m", RUN, ())
    assert traceparent(TRACE, RUN, 1, env).endswith("-01")


def test_a_machine_without_an_id_goes_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setattr(recovery, "_MACHINE_IDS", (first, second))
    assert machine_id() == os.uname().nodename
    first.write_text("uninitialized\n")
    second.write_text("0123456789abcdef0123456789abcdef\n")
    assert machine_id() == "0123456789abcdef0123456789abcdef"
    first.write_text("")
    second.unlink()
    assert machine_id() == os.uname().nodename


def attempts(world: World) -> list[tuple[str, str]]:
    """Trace and span of each attempt, which start and end agree on."""
    found = [record for record in world.records if isinstance(record, Started | Finished)]
    ids = {(each.run, each.attempt): (each.trace, each.span) for each in found}
    assert all((each.trace, each.span) == ids[each.run, each.attempt] for each in found)
    return list(ids.values())


def failing_first(run: Run, attempt: int) -> Fate:
    return Fate(exit_code=0 if attempt == 2 else 1)


def test_the_attempts_of_a_run_are_spans_of_one_trace_across_a_restart() -> None:
    job = Job("a", ShellTask("x"), When(every=3600), retry=Retry(max=1, delay=30.0))
    first = World(jobfile(job), failing_first, start=START - 1).begin()
    first.run_for(10)
    second = World(jobfile(job), failing_first, start=START + 20)
    second.begin(first.scheduler.memory()).run_for(60)
    ((trace, span),), ((later, other),) = attempts(first), attempts(second)
    assert trace == later != ""
    assert span != other


def test_each_run_has_a_trace_of_its_own_unless_one_is_given_by_hand() -> None:
    world = World(jobfile(Job("a", ShellTask("x"), When(every=10))), start=START).begin()
    world.run_for(25)
    world.give(Trigger("a", ByHand("ann", env=(("TRACEPARENT", GIVEN),))))
    world.run_for(1)
    traces = [trace for trace, _ in attempts(world)]
    assert len(traces) == len(set(traces)) == 3
    assert traces[-1] == TRACE


def test_a_run_that_never_began_has_its_trace_all_the_same() -> None:
    job = Job("a", ShellTask("x"), When(every=10))
    world = World(jobfile(job), lambda run, attempt: Fate(unborn=True), start=START).begin()
    world.run_for(15)
    assert attempts(world)[0] == (
        trace := trace_of("", f"a@{compact(START + 10)}", ()),
        span_of(trace, f"a@{compact(START + 10)}", 1),
    )


def test_a_job_is_told_what_the_history_says(stsd: Stsd) -> None:
    stsd.write(
        """
        [jobs.a]
        command = 'echo $TRACEPARENT; test "$STSD_ATTEMPT" = 2'
        on_start = true
        retry = { max = 1, delay = "10ms" }
        [jobs.b]
        command = 'echo $TRACEPARENT'
        env_file = "b.env"
        """
    )
    (stsd.folder / "b.env").write_text("TRACEPARENT=another\n")
    stsd.start()
    stsd.wait_for_record("finished", "a", 2)
    assert stsd.run("trigger", "b", "--wait", "--env", f"TRACEPARENT={GIVEN}").returncode == 0
    begun, done = stsd.records("started"), stsd.records("finished")
    told = [stsd.output_of(record).strip() for record in done]
    assert told == [f"00-{record['trace']}-{record['span']}-01" for record in begun]
    assert [r["trace"] for r in done] == [r["trace"] for r in begun]
    assert begun[0]["trace"] == begun[1]["trace"] == trace_of(machine_id(), begun[0]["run"], ())
    assert begun[2]["trace"] == TRACE
    shown = [r for r in stsd.history("a") if r["event"] == "finished"]
    assert [r["span"] for r in shown] == [r["span"] for r in done[:2]]


def test_a_history_of_before_there_were_traces_is_read_as_ever(stsd: Stsd) -> None:
    stsd.write('[jobs.a]\ncommand = "false"\non_start = true\nevery = "1h"\n')
    stsd.start()
    stsd.wait_for_record("finished", "a")
    assert stsd.stop() == 0
    for segment in (stsd.folder / "log" / "history").glob("*.jsonl"):
        old = re.sub(r',"(trace|span)":"[0-9a-f]+"', "", segment.read_text())
        assert "trace" not in old
        segment.write_text(old)
    shown = [stsd.run(*words) for words in (["audit"], ["history"], ["why", "a"], ["status", "a"])]
    assert [done.returncode for done in shown] == [0, 0, 0, 0], shown
    assert all("damaged" not in done.stdout + done.stderr for done in shown)
    stsd.start()
    begun = stsd.wait_for_record("started", "a", 2)
    assert re.fullmatch("[0-9a-f]{32}", begun["trace"])
