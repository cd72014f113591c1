"""The daemon's end of the control socket, against clients of all kinds."""

from __future__ import annotations

import json
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stsd import control
from stsd.control import ROWS_A_TURN
from stsd.model import Outcome, SkipReason, TriggerKind
from stsd.peers import Rights
from stsd.protocol import LONGEST_LINE, ORDERS, Trouble
from stsd.records import Finished, Intent, Missed, Skipped, Started
from stsd.replies import Done, Later, Listing, Refused, Request, Waiting
from stsd.visitor import IDLE_S, MOST_UNSENT, READING_S, REQUEST_S
from tests.support_socket import Caller, Host, as_user, hosting, reachable_folder, served

HELLO = b'{"stsd": 1, "do": "hello"}\n'
MANUAL = TriggerKind.MANUAL


@pytest.fixture
def host(tmp_path: Path) -> object:
    with hosting(tmp_path) as made:
        yield made


def started(run: str, attempt: int = 1) -> Started:
    return Started(run, "a", 0, MANUAL, attempt, 1.0, 0.0, 4711, 1)


def finished(run: str, attempt: int = 1, again: float | None = None) -> Finished:
    outcome = Outcome.SUCCEEDED if again is None else Outcome.FAILED
    return Finished(run, "a", 0, MANUAL, attempt, outcome, 2.0, will_retry_at=again)


def waiter(host: Host, *runs: str) -> Caller:
    """A client that waits for runs, and has been told so."""
    host.answer = lambda request: Waiting(runs)
    caller = host.connect()
    accepted = {"runs": list(runs), "skipped": []}
    assert caller.ask("trigger", jobs=["a"], wait=True) == {"accepted": accepted}
    return caller


# -- questions and answers


def test_a_request_is_answered(host: Host) -> None:
    assert host.connect().ask("status", jobs=["a"]) == {"answer": {"do": "status"}}
    (request,) = host.requests
    assert request.arguments == {"jobs": ("a",), "tags": ()}
    assert (request.may, request.peer.pid) == ("change", os.getpid())


def test_several_requests_go_over_one_connection(host: Host) -> None:
    caller = host.connect()
    caller.say("hello")
    caller.say("plan")
    assert [line["answer"]["do"] for line in caller.heard()] == ["hello", "plan"]
    assert caller.ask("status") == {"answer": {"do": "status"}}


def test_an_error_has_its_kind_its_words_and_its_problems(host: Host) -> None:
    host.answer = lambda request: Refused(Trouble.INVALID_JOBFILE, "no", ["jobs.toml:1: x"])
    assert host.connect().ask("reload") == {
        "error": {"kind": "invalid_jobfile", "message": "no", "problems": ["jobs.toml:1: x"]}
    }


def test_junk_is_answered_and_the_connection_goes_on(host: Host) -> None:
    caller = host.connect()
    for junk in (b"\n", b"GET / HTTP/1.1\r\n", b"\xff\x00\n", b"[" * 60_000 + b"\n", b"{}\n"):
        assert caller.refused(junk) == "bad_request"
    assert caller.refused(b'{"stsd": 9, "do": "hello"}\n') == "unsupported"
    assert caller.ask("hello") == {"answer": {"do": "hello"}}


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"")), max_size=6))
def test_any_lines_have_as_many_answers(host: Host, lines: list[bytes]) -> None:
    caller = host.connect()
    caller.send(b"".join(line + b"\n" for line in lines) + HELLO)
    answers = caller.heard()
    assert [next(iter(answer)) for answer in answers] == ["error"] * len(lines) + ["answer"]
    caller.socket.close()
    host.settle()


def test_a_request_may_come_in_pieces(host: Host) -> None:
    caller = host.connect()
    for byte in HELLO[:-1]:
        caller.send(bytes([byte]))
        assert caller.heard() == []
    caller.send(HELLO[-1:])
    assert caller.heard() == [{"answer": {"do": "hello"}}]


def test_a_client_may_end_its_side_and_read_on(host: Host) -> None:
    caller = host.connect()
    caller.send(HELLO * 3)
    caller.socket.shutdown(socket.SHUT_WR)
    assert len(caller.heard()) == 3
    assert caller.hung_up


def test_orders_are_logged_with_who_gave_them_and_questions_are_not(host: Host) -> None:
    caller = host.connect()
    caller.ask("status")
    caller.ask("reload")
    (order,) = [entry for entry in host.log if entry["event"] == "order"]
    assert (order["do"], order["pid"], order["refused"]) == ("reload", os.getpid(), None)


def test_a_large_answer_arrives_whole(host: Host) -> None:
    text = "x" * (4 * MOST_UNSENT)
    host.answer = lambda request: Done({"text": text})
    caller = host.connect()
    caller.say("status")
    lines: list[dict[str, object]] = []
    while not lines:
        lines = caller.heard()
    assert lines == [{"answer": {"text": text}}]


# -- answers that come later


def later(host: Host, do: str = "reload") -> tuple[Caller, Later]:
    """A client who has asked for something, and the answer that it is owed."""
    owed = Later()
    host.answer = lambda request: owed if request.do == do else Done({"do": request.do})
    caller = host.connect()
    caller.say(do)
    assert caller.heard() == []
    return caller, owed


def test_an_answer_may_come_later_and_others_are_answered_meanwhile(host: Host) -> None:
    caller, owed = later(host)
    assert host.connect().ask("status") == {"answer": {"do": "status"}}
    owed.reply = Done({"plan": {}})
    assert caller.heard() == [{"answer": {"plan": {}}}]
    assert caller.ask("status") == {"answer": {"do": "status"}}


def test_whoever_waits_for_an_answer_may_wait_for_ever(host: Host) -> None:
    caller, owed = later(host)
    host.turn(10 * IDLE_S)
    assert host.control.patience(host.now) is None or host.control.patience(host.now) > 0
    owed.reply = Done({})
    assert host.control.patience(host.now) == 0.0
    assert caller.heard() == [{"answer": {}}]


def test_a_second_request_waits_for_the_first_ones_answer(host: Host) -> None:
    caller, owed = later(host)
    caller.say("status")
    assert caller.heard() == []
    owed.reply = Done({})
    assert caller.heard() == [{"answer": {}}, {"answer": {"do": "status"}}]


def test_a_client_may_end_its_side_while_it_waits_for_an_answer(host: Host) -> None:
    caller, owed = later(host)
    caller.socket.shutdown(socket.SHUT_WR)
    assert caller.heard() == []
    owed.reply = Refused(Trouble.INVALID_JOBFILE, "no", ["jobs.toml:1: x"])
    (line,) = caller.heard()
    assert line["error"]["problems"] == ["jobs.toml:1: x"]
    assert caller.hung_up


def test_an_order_is_logged_when_it_is_answered_even_if_nobody_waits(host: Host) -> None:
    caller, owed = later(host)
    assert "order" not in host.events()
    caller.socket.close()
    host.settle()
    owed.reply = Refused(Trouble.INVALID_JOBFILE, "no")
    host.settle()
    (order,) = [entry for entry in host.log if entry["event"] == "order"]
    assert (order["do"], order["refused"]) == ("reload", "invalid_jobfile")


def test_one_that_goes_on_sending_while_it_is_owed_an_answer_is_refused_once(host: Host) -> None:
    caller, owed = later(host)
    caller.send(HELLO.strip().ljust(LONGEST_LINE + 1))
    (line,) = caller.heard()
    assert line["error"]["kind"] == "too_large"
    for _ in range(5):
        host.turn()
    owed.reply = Done({})
    assert caller.heard() == [{"answer": {}}]
    assert caller.hung_up


def test_closing_gives_the_answers_that_are_there_and_does_nothing_more(host: Host) -> None:
    caller, owed = later(host)
    other = host.connect()
    assert other.ask("hello") == {"answer": {"do": "hello"}}
    other.say("trigger", jobs=["a"])
    for key, _ in host.selector.select(0):
        host.control.hear(key, host.now)
    owed.reply = Refused(Trouble.STOPPING, "it ends")
    host.control.close(host.now)
    assert [line["error"]["kind"] for line in caller.heard()] == ["stopping"]
    assert other.hung_up
    assert [request.do for request in host.requests] == ["reload", "hello"]


# -- lists


def numbers(taken: list[int], count: int) -> Iterator[dict[str, object]]:
    for number in range(count):
        taken.append(number)
        yield {"number": number}


@pytest.mark.parametrize("count", [0, 1, ROWS_A_TURN, 3 * ROWS_A_TURN + 7])
def test_a_list_comes_row_by_row_before_its_answer(host: Host, count: int) -> None:
    host.answer = lambda request: Listing(numbers([], count), {"daemon": "x"})
    caller = host.connect()
    caller.say("status")
    *rows, answer = caller.heard()
    assert [row["row"]["number"] for row in rows] == list(range(count))
    assert answer == {"answer": {"daemon": "x"}}


def test_of_a_long_list_a_turn_asks_for_some_rows_alone(host: Host) -> None:
    taken: list[int] = []
    host.answer = lambda request: Listing(numbers(taken, 10_000), {})
    host.connect().say("status")
    for _ in range(10):
        before = len(taken)
        host.turn()
        assert len(taken) - before <= ROWS_A_TURN
    assert taken


def test_a_client_that_does_not_read_is_asked_for_no_more_rows(host: Host) -> None:
    taken: list[int] = []
    host.answer = lambda request: Listing(numbers(taken, 1_000_000), {})
    host.connect().say("status")
    host.settle()
    assert len(taken) < 50_000
    host.turn(READING_S + 1)
    assert len(host.selector.get_map()) == 1


def test_others_are_answered_while_a_list_is_told(host: Host) -> None:
    host.answer = lambda request: (
        Listing(numbers([], 10_000), {}) if request.do == "status" else Done({})
    )
    host.connect().say("status")
    other = host.connect()
    other.say("hello")
    for _ in range(6):
        host.turn()
    assert other.socket.recv(100) == b'{"answer":{}}\n'


def test_a_request_after_a_list_waits_for_its_end(host: Host) -> None:
    host.answer = lambda request: (
        Listing(numbers([], 250), {}) if request.do == "status" else Done({"do": request.do})
    )
    caller = host.connect()
    caller.say("status")
    caller.say("hello")
    lines = caller.heard()
    assert [next(iter(line)) for line in lines] == ["row"] * 250 + ["answer", "answer"]


# -- clients without manners


def test_the_longest_line_is_taken_and_a_longer_one_refused(host: Host) -> None:
    longest = HELLO.strip().ljust(LONGEST_LINE)
    caller = host.connect()
    caller.send(longest + b"\n")
    assert caller.heard() == [{"answer": {"do": "hello"}}]
    assert caller.refused(longest + b" \n") == "too_large"
    assert caller.hung_up


def test_an_endless_line_is_refused_and_not_kept(host: Host) -> None:
    caller = host.connect()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        caller.send(b"x" * 65_536_000)
    (line,) = caller.heard()
    assert line["error"]["kind"] == "too_large"


def test_half_a_request_is_put_up_with_for_a_while(host: Host) -> None:
    caller = host.connect()
    caller.send(b"{")
    host.settle()
    assert host.control.patience(host.now) == pytest.approx(REQUEST_S)
    for _ in range(9):  # a byte each second does not help
        host.turn(REQUEST_S / 10)
        caller.send(b" ")
    assert not caller.hung_up
    host.turn(REQUEST_S / 10)
    assert caller.hung_up


def test_an_idle_client_is_put_up_with_for_longer(host: Host) -> None:
    caller = host.connect()
    host.turn()
    host.turn(IDLE_S - 1)
    assert caller.ask("hello")
    host.turn(IDLE_S - 1)
    assert not caller.hung_up
    host.turn(1)
    assert caller.hung_up


def test_a_client_that_waits_may_wait_for_days(host: Host) -> None:
    caller = waiter(host, "a@1")
    assert host.control.patience(host.now) is None
    for _ in range(10):
        host.turn(86400)
    host.control.publish(finished("a@1"), host.now)
    assert caller.heard()[-1]["answer"]["outcomes"] == {"a@1": "succeeded"}


def test_who_does_not_read_an_answer_is_dropped_in_the_end(host: Host) -> None:
    host.answer = lambda request: Done({"text": "x" * MOST_UNSENT})
    caller = host.connect()
    caller.say("status")
    host.settle()
    assert host.control.patience(host.now) == pytest.approx(READING_S)
    host.turn(READING_S)
    assert host.control.patience(host.now) is None
    assert caller.hung_up


def test_who_asks_on_without_reading_is_not_answered_before_he_reads(host: Host) -> None:
    host.answer = lambda request: Done({"text": "x" * 300_000})
    caller = host.connect()
    caller.send(HELLO * 50)
    host.settle()
    assert len(host.requests) < 5


def test_who_waits_without_reading_is_dropped_at_once(host: Host) -> None:
    caller = waiter(host, "a@1")
    record = Finished(
        "a@1", "a", 0, MANUAL, 1, Outcome.FAILED, 2.0, error="x" * 1000, will_retry_at=3.0
    )
    for number in range(3000):
        host.control.publish(record, host.now)
        if number % 100 == 0:
            host.turn()
    host.turn()
    assert host.control.patience(host.now) is None  # nobody is there any more
    assert caller.hung_up


def test_who_waits_and_sends_on_without_end_is_refused(host: Host) -> None:
    caller = waiter(host, "a@1")
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        caller.send(HELLO * 1_000_000)
    assert caller.heard()[-1]["error"]["kind"] == "too_large"
    host.control.publish(finished("a@1"), host.now)


def test_a_client_that_hangs_up_while_it_waits_is_forgotten(host: Host) -> None:
    waiter(host, "a@1").socket.close()
    host.settle()
    host.control.publish(finished("a@1"), host.now)
    assert host.control.patience(host.now) is None


def test_a_client_that_resets_its_connection_harms_nobody(host: Host) -> None:
    caller, other = host.connect(), host.connect()
    caller.say("hello")
    host.settle()
    caller.socket.close()  # with an answer unread: the other end is told of a reset
    assert other.ask("hello") == {"answer": {"do": "hello"}}


# -- many at once


def test_a_client_that_floods_has_one_answer_a_turn_like_all_others(host: Host) -> None:
    flood, quiet = host.connect(), host.connect()
    host.settle()
    flood.send(HELLO * 2000)
    quiet.say("status")
    host.turn()
    host.turn()
    asked = [request.do for request in host.requests]
    assert "status" in asked
    assert asked.count("hello") <= 2
    assert host.control.patience(host.now) == 0
    flood.socket.close()


def test_a_turn_has_one_answer_and_all_clients_get_theirs(host: Host) -> None:
    callers = [host.connect() for _ in range(20)]
    host.settle()
    for caller in callers:
        caller.send(HELLO * 3)
    for turns in range(1, 61):
        host.turn()
        assert len(host.requests) == turns
    assert [len(caller.heard()) for caller in callers] == [3] * 20


def test_one_client_too_many_is_told_so(host: Host) -> None:
    callers = []
    for _ in range(control.MOST_CLIENTS):
        callers.append(host.connect())
        host.turn()
    extra = host.connect()
    (line,) = extra.heard()
    assert line["error"]["kind"] == "busy"
    assert extra.hung_up
    callers[0].socket.close()
    host.settle()
    assert host.connect().ask("hello") == {"answer": {"do": "hello"}}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_has_few_connections_and_root_always_gets_in() -> None:
    rights = Rights(0, read_users=frozenset({4711, 4712, 4713, 4714}))

    def crowd(path: Path) -> list[str]:
        connections, kinds = [], []
        for _ in range(control.MOST_OF_ONE + 2):
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(10)
            connection.connect(os.fspath(path))
            connection.send(HELLO)
            connections.append(connection)
            kinds.append(next(iter(json.loads(connection.makefile().readline()).values())))
        return [kind.get("kind", "let in") for kind in kinds]

    with reachable_folder() as folder, hosting(folder, rights) as host:
        kinds = as_user(host, 4711, 4711, [], lambda: crowd(host.path))
        assert kinds == ["let in"] * control.MOST_OF_ONE + ["busy"] * 2
        assert host.connect().ask("hello") == {"answer": {"do": "hello"}}


def test_without_descriptors_the_daemon_does_not_spin(host: Host) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    caller = host.connect()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, hard))
        host.turn()
        assert host.events() == ["client_not_let_in"]
        for _ in range(5):
            host.turn()
        assert host.control.patience(host.now) == pytest.approx(1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    host.turn(1.0)
    assert caller.ask("hello") == {"answer": {"do": "hello"}}
    assert host.events() == ["client_not_let_in"]


# -- waiting


def test_who_waits_is_told_what_happens_and_then_the_outcome(host: Host) -> None:
    caller = waiter(host, "a@1")
    host.control.publish(started("a@1"), host.now)
    host.control.publish(finished("a@1", again=9.0), host.now)
    host.control.publish(started("a@1", attempt=2), host.now)
    told = caller.heard()
    assert [line["record"]["event"] for line in told] == ["started", "finished", "started"]
    host.control.publish(finished("a@1", attempt=2), host.now)
    record, answer = caller.heard()
    assert record["record"] == finished("a@1", attempt=2).fields()
    assert answer == {"answer": {"runs": ["a@1"], "outcomes": {"a@1": "succeeded"}}}
    assert caller.ask("trigger", wait=True)


def test_it_ends_when_all_runs_are_over_however_they_end(host: Host) -> None:
    caller = waiter(host, "a@1", "a@2", "a@3")
    host.control.publish(finished("a@2"), host.now)
    host.control.publish(Skipped("a", 1, SkipReason.OVERLAP, 1.0, MANUAL, run="a@1"), host.now)
    assert [next(iter(line)) for line in caller.heard()] == ["record", "record"]
    host.control.finish("a@3", "cancelled", host.now)
    (line,) = caller.heard()
    assert line["answer"]["outcomes"] == {
        "a@1": "skipped",
        "a@2": "succeeded",
        "a@3": "cancelled",
    }


def test_other_runs_and_other_records_are_none_of_its_business(host: Host) -> None:
    caller = waiter(host, "a@1")
    host.control.publish(finished("b@1"), host.now)
    host.control.publish(Intent("a@1", "a", 0, MANUAL, 1, 1.0), host.now)
    host.control.publish(Missed("a", 0, 0, 1, "down", 1.0), host.now)
    host.control.finish("b@1", "cancelled", host.now)
    assert caller.heard() == []


def test_what_happens_while_the_order_is_carried_out_is_told_too(host: Host) -> None:
    def answer(request: Request) -> Waiting:
        host.control.publish(started("a@1"), host.now)
        host.control.publish(finished("b@1"), host.now)
        host.control.finish("a@2", "cancelled", host.now)
        return Waiting(("a@1", "a@2"))

    host.answer = answer
    caller = host.connect()
    caller.say("trigger", wait=True)
    accepted, record = caller.heard()
    assert accepted == {"accepted": {"runs": ["a@1", "a@2"], "skipped": []}}
    assert (record["record"]["event"], record["record"]["run"]) == ("started", "a@1")
    host.control.publish(finished("a@1"), host.now)
    assert caller.heard()[-1]["answer"]["outcomes"] == {"a@1": "succeeded", "a@2": "cancelled"}


def test_nothing_to_wait_for_is_over_at_once(host: Host) -> None:
    host.answer = lambda request: Waiting(())
    caller = host.connect()
    caller.say("trigger", wait=True)
    assert caller.heard()[1] == {"answer": {"runs": [], "outcomes": {}}}


def test_the_output_is_passed_on_as_soon_as_there_is_any(host: Host, tmp_path: Path) -> None:
    host.outputs["a@1"] = tmp_path / "a.log"
    caller = waiter(host, "a@1")
    host.control.publish(started("a@1"), host.now)
    assert len(caller.heard()) == 1
    (tmp_path / "a.log").write_text("hello")
    patience = host.control.patience(host.now)
    assert patience is not None
    assert 0 < patience < 0.21
    host.turn(patience)
    assert caller.heard() == [{"output": {"run": "a@1", "attempt": 1}}]
    (descriptor,) = caller.descriptors
    assert os.read(descriptor, 99) == b"hello"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(descriptor, b"x")
    os.close(descriptor)
    assert host.control.patience(host.now) is None


def test_output_that_came_at_the_last_moment_comes_before_the_end(
    host: Host, tmp_path: Path
) -> None:
    host.outputs["a@1"] = tmp_path / "a.log"
    caller = waiter(host, "a@1")
    host.control.publish(started("a@1"), host.now)
    caller.heard()
    (tmp_path / "a.log").write_text("hello")
    host.control.publish(finished("a@1"), host.now)
    assert [next(iter(line)) for line in caller.heard()] == ["output", "record", "answer"]
    os.close(caller.descriptors[0])


def test_each_attempt_has_its_own_output(host: Host, tmp_path: Path) -> None:
    host.outputs["a@1"] = tmp_path / "a.log"
    (tmp_path / "a.log").write_text("hello")
    caller = waiter(host, "a@1")
    for attempt in (1, 2):
        host.control.publish(started("a@1", attempt), host.now)
        host.turn(1.0)
        host.control.publish(finished("a@1", attempt, again=9.0), host.now)
    outputs = [line["output"]["attempt"] for line in caller.heard() if "output" in line]
    assert outputs == [1, 2]
    for descriptor in caller.descriptors:
        os.close(descriptor)


def test_no_descriptor_is_left_behind_by_who_does_not_take_it(host: Host, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("hello")
    runs = [f"a@{number}" for number in range(1000)]
    host.outputs = dict.fromkeys(runs, tmp_path / "a.log")
    host.answer = lambda request: Waiting(tuple(runs))
    caller = host.connect()
    caller.say("trigger", wait=True)
    host.turn()
    before = len(os.listdir("/proc/self/fd"))
    for run in runs:
        host.control.publish(started(run), host.now)
    host.turn(1.0)
    host.turn(1.0)
    assert host.control.patience(host.now) is None
    caller.socket.close()
    assert len(os.listdir("/proc/self/fd")) < before


# -- the socket


def test_it_is_made_in_the_first_folder_that_will_do(host: Host, tmp_path: Path) -> None:
    second = Host(tmp_path / "second")
    second.control._folders = [tmp_path, tmp_path / "missing" / "x", tmp_path / "second"]
    assert second.control.open(0.0) == tmp_path / "second" / "control.sock"
    assert second.events() == []
    second.close()


def test_a_daemon_without_a_place_says_so_and_tries_again(tmp_path: Path) -> None:
    host = Host(tmp_path / "missing" / "run")
    assert host.control.open(host.now) is None
    (entry,) = host.log
    assert entry["event"] == "no_control_socket"
    assert "No such file" in entry["tried"][str(tmp_path / "missing" / "run")]
    assert host.control.path is None
    host.control.permit(Rights(0, users=frozenset({4711})))
    (tmp_path / "missing").mkdir()
    host.turn(60.0)
    assert host.control.path == host.path
    assert host.path.stat().st_mode & 0o777 == 0o666
    assert host.connect().ask("hello") == {"answer": {"do": "hello"}}
    host.close()


def test_a_socket_that_somebody_tidied_up_is_made_anew(host: Host) -> None:
    caller = host.connect()
    host.settle()
    host.path.unlink()
    host.turn(60.0)
    assert host.events() == ["control_socket_lost"]
    assert host.connect().ask("hello") == {"answer": {"do": "hello"}}
    assert caller.ask("hello") == {"answer": {"do": "hello"}}


def test_closing_hangs_up_and_leaves_nothing(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with hosting(tmp_path) as host:
        callers = [host.connect(), waiter(host, "a@1")]
        host.settle()
        host.control.close(host.now)
        assert [caller.hung_up for caller in callers] == [True, True]
        assert not host.path.exists()
        assert not host.selector.get_map()
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_client_of_the_page_is_one(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parent.parent / "docs" / "control.md").read_text()
    code = page.partition("```python\n")[2].partition("```")[0]
    assert "/run/stsd/control.sock" in code
    with served(host):
        exec(code.replace("/run/stsd/control.sock", str(host.path)), {})
    assert capsys.readouterr().out == "{'answer': {'do': 'status'}}\n"
    assert host.requests[0].arguments["jobs"] == ("backup",)


def test_the_page_tells_of_every_order_with_its_arguments_and_of_every_error() -> None:
    page = (Path(__file__).parent.parent / "docs" / "control.md").read_text()
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    for do, order in ORDERS.items():
        assert [name for name in order.arguments if f"`{name}`" not in rows[do]] == []
    assert [kind for kind in Trouble if f"`{kind}`" not in page] == []


def test_it_can_be_opened_again_after_closing(host: Host) -> None:
    host.control.close(host.now)
    assert host.control.open(host.now) == host.path
    assert host.connect().ask("hello") == {"answer": {"do": "hello"}}
