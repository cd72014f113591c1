"""The client's end of the control socket: it finds the daemon that is meant, and no other."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from stsd import client as client_room
from stsd import sockets
from stsd.client import Client, RefusedError, Told, find
from stsd.errors import NoDaemonError
from stsd.model import Outcome, TriggerKind
from stsd.peers import Rights
from stsd.protocol import Trouble
from stsd.records import Finished, Started
from stsd.replies import Done, Refused, Reply, Request, Waiting
from tests.support import descriptors
from tests.support_socket import Host, as_user, hosting, reachable_folder, served


@contextmanager
def daemon(folder: Path, jobfile: Path) -> Iterator[Host]:
    """A daemon of a jobfile, as far as a client can tell, with its socket in a folder."""

    def answer(request: Request) -> Reply:
        if request.do == "hello":
            return Done({"jobfile": str(jobfile), "pid": os.getpid()})
        if request.do == "reload":
            return Refused(Trouble.INVALID_JOBFILE, "it is invalid", ["jobs.toml:1: no"])
        return Done({"do": request.do, "arguments": dict(request.arguments)})

    folder.mkdir(exist_ok=True)
    with hosting(folder) as host:
        host.answer = answer
        with served(host):
            yield host


@contextmanager
def impostor(path: Path, answer: bytes) -> Iterator[None]:
    """Something that listens and is not stsd; it says one thing to whoever comes, and hangs up."""
    entry = socket.socket(socket.AF_UNIX)
    entry.bind(os.fspath(path))
    entry.listen()

    def serve() -> None:
        connection, _ = entry.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        entry.close()


def jobfile_in(folder: Path, name: str = "jobs.toml") -> Path:
    path = folder / name
    path.write_text(f'[daemon]\nstate_dir = "{folder}/state"\n')
    return path


def test_the_daemon_of_a_jobfile_is_found_in_the_runtime_folder(tmp_path: Path) -> None:
    jobfile = jobfile_in(tmp_path)
    environ = {"RUNTIME_DIRECTORY": f"{tmp_path}/run"}
    with daemon(tmp_path / "run", jobfile), find(jobfile, environ) as client:
        assert client.path == tmp_path / "run" / "control.sock"
        assert client.hello["jobfile"] == str(jobfile)
        assert client.ask("resume", jobs=["a"], tags=None) == {
            "do": "resume",
            "arguments": {"jobs": ["a"], "tags": []},
        }


def test_and_in_that_of_the_login(tmp_path: Path) -> None:
    jobfile = jobfile_in(tmp_path)
    with daemon(tmp_path / "stsd", jobfile), find(jobfile, {"XDG_RUNTIME_DIR": str(tmp_path)}):
        pass


def test_and_with_its_state(tmp_path: Path) -> None:
    jobfile = jobfile_in(tmp_path)
    with daemon(tmp_path / "state", jobfile), find(jobfile, {}) as client:
        assert client.path == tmp_path / "state" / "control.sock"


def test_another_way_to_write_the_jobfile_is_the_same_jobfile(tmp_path: Path) -> None:
    jobfile = jobfile_in(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    with daemon(tmp_path / "state", jobfile), find(tmp_path / "link" / jobfile.name, {}):
        pass


def test_a_daemon_of_another_jobfile_is_passed_by(tmp_path: Path) -> None:
    mine, other = jobfile_in(tmp_path), jobfile_in(tmp_path, "other.toml")
    environ = {"RUNTIME_DIRECTORY": f"{tmp_path}/run"}
    own = daemon(tmp_path / "state", mine)
    with daemon(tmp_path / "run", other) as wrong, own, find(mine, environ) as client:
        assert client.path.parent.name == "state"
    assert [request.do for request in wrong.requests] == ["hello"]


def test_a_daemon_of_another_jobfile_alone_is_not_spoken_to(tmp_path: Path) -> None:
    mine, other = jobfile_in(tmp_path), jobfile_in(tmp_path, "other.toml")
    environ = {"RUNTIME_DIRECTORY": f"{tmp_path}/run"}
    before = descriptors()
    with daemon(tmp_path / "run", other):
        for named in (True, False):
            with pytest.raises(NoDaemonError) as caught:
                find(mine, environ, named=named)
    assert f"no daemon runs {mine} (start it: stsd run -c {mine})" in str(caught.value)
    assert f"{tmp_path}/run/control.sock: runs {other}" in caught.value.tried
    assert f"{tmp_path}/state/control.sock: no such socket" in caught.value.tried
    assert descriptors() == before


@pytest.fixture(autouse=True)
def _no_daemon_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sockets, "_SYSTEM_FOLDERS", (tmp_path / "system",) * 2)


def test_without_any_jobfile_the_only_daemon_will_do(tmp_path: Path) -> None:
    environ = {"RUNTIME_DIRECTORY": f"{tmp_path}/run"}
    with daemon(tmp_path / "run", tmp_path / "other.toml"):
        with find(tmp_path / "jobs.toml", environ, named=False) as client:
            assert client.hello["jobfile"] == f"{tmp_path}/other.toml"
        with pytest.raises(NoDaemonError):
            find(tmp_path / "jobs.toml", environ, named=True)


def test_of_several_one_has_to_be_named(tmp_path: Path) -> None:
    environ = {"RUNTIME_DIRECTORY": f"{tmp_path}/run", "XDG_RUNTIME_DIR": str(tmp_path)}
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    refused = pytest.raises(NoDaemonError, match="several daemons run here: name the jobfile")
    with daemon(tmp_path / "run", one), daemon(tmp_path / "stsd", two), refused:
        find(tmp_path / "jobs.toml", environ, named=False)


def test_the_environment_may_name_the_socket(tmp_path: Path) -> None:
    mine, other = jobfile_in(tmp_path), tmp_path / "other.toml"
    environ = {"STSD_SOCKET": f"{tmp_path}/run/control.sock"}
    with daemon(tmp_path / "run", other), daemon(tmp_path / "state", mine):
        with find(mine, environ, named=False) as client:
            assert client.hello["jobfile"] == str(other)
        with pytest.raises(NoDaemonError, match=f"runs {other}"):
            find(mine, environ, named=True)


def test_a_jobfile_that_is_broken_by_now_does_not_hide_its_daemon(tmp_path: Path) -> None:
    jobfile = jobfile_in(tmp_path)
    environ = {"RUNTIME_DIRECTORY": f"{tmp_path}/run"}
    with daemon(tmp_path / "run", jobfile):
        jobfile.write_text("[daemon")
        find(jobfile, environ).close()
    with pytest.raises(NoDaemonError, match=r"its state_dir is not known: .*jobs.toml:1"):
        find(jobfile, environ | {"XDG_STATE_HOME": str(tmp_path)})


def test_what_a_dead_daemon_has_left_is_told_apart(tmp_path: Path) -> None:
    jobfile = jobfile_in(tmp_path)
    (tmp_path / "state").mkdir()
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(f"{tmp_path}/state/control.sock")
    dead.close()
    with pytest.raises(NoDaemonError, match=r"state/control.sock: nobody listens there"):
        find(jobfile, {})


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"[]\n", b"half"])
def test_what_is_not_stsd_is_not_taken_for_it(tmp_path: Path, answer: bytes) -> None:
    jobfile = jobfile_in(tmp_path)
    (tmp_path / "state").mkdir()
    refused = pytest.raises(NoDaemonError, match=r"hung up|is not stsd")
    with impostor(tmp_path / "state" / "control.sock", answer), refused:
        find(jobfile, {})


def test_a_daemon_that_says_nothing_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_room, "HELLO_S", 0.1)
    jobfile = jobfile_in(tmp_path)
    (tmp_path / "state").mkdir()
    with socket.socket(socket.AF_UNIX) as entry:
        entry.bind(f"{tmp_path}/state/control.sock")
        entry.listen()
        with pytest.raises(NoDaemonError, match="does not answer"):
            find(jobfile, {})


def test_nor_is_one_that_lets_nobody_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_room, "HELLO_S", 0.1)
    jobfile = jobfile_in(tmp_path)
    (tmp_path / "state").mkdir()
    with ExitStack() as stack:
        entry = stack.enter_context(socket.socket(socket.AF_UNIX))
        entry.bind(f"{tmp_path}/state/control.sock")
        entry.listen(0)
        stack.enter_context(socket.socket(socket.AF_UNIX)).connect(entry.getsockname())
        with pytest.raises(NoDaemonError, match="many are waiting already"):
            find(jobfile, {})


def test_a_daemon_of_another_version_says_which_stsd_to_use(tmp_path: Path) -> None:
    jobfile = jobfile_in(tmp_path)
    (tmp_path / "state").mkdir()
    error = {"error": {"kind": "unsupported", "message": "version 1 is not spoken here (only 2)"}}
    answer = json.dumps(error).encode() + b"\n"
    refused = pytest.raises(RefusedError, match=r"only 2.*this stsd speaks version 1")
    with impostor(tmp_path / "state" / "control.sock", answer), refused as caught:
        find(jobfile, {})
    assert caught.value.kind == "unsupported"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_a_user_who_may_not_is_told_what_would_help() -> None:
    def act(folder: Path) -> list[str]:
        try:
            find(folder / "jobs.toml", {"RUNTIME_DIRECTORY": str(folder)})
        except RefusedError as error:
            return [error.kind, str(error)]
        return []

    rights = Rights(0, read_users=frozenset({4712}))
    with reachable_folder() as folder, hosting(folder, rights) as host:
        kind, message = as_user(host, 4711, 4711, [], lambda: act(folder))
    assert kind == "forbidden"
    assert "uid 4711 may do nothing here (daemon.control in the jobfile says who may)" in message


def test_a_refusal_has_its_kind_and_its_problems(tmp_path: Path) -> None:
    jobfile = jobfile_in(tmp_path)
    with daemon(tmp_path / "state", jobfile), find(jobfile, {}) as client:
        with pytest.raises(RefusedError) as caught:
            client.ask("reload")
        assert caught.value.kind == Trouble.INVALID_JOBFILE
        assert caught.value.problems == ("jobs.toml:1: no",)
        assert str(caught.value) == "it is invalid\njobs.toml:1: no"
        assert client.ask("plan")["do"] == "plan"


def test_a_daemon_that_ends_is_told_of(tmp_path: Path) -> None:
    jobfile = jobfile_in(tmp_path)
    with ExitStack() as stack:
        with daemon(tmp_path / "state", jobfile):
            client = stack.enter_context(find(jobfile, {}))
        with pytest.raises(NoDaemonError, match="has hung up"):
            client.ask("status")


def test_a_hundred_clients_at_once_are_all_answered(tmp_path: Path) -> None:
    answers: list[dict[str, object]] = []

    def ask() -> None:
        with Client(tmp_path / "control.sock") as client:
            answers.append(client.ask("plan"))

    with hosting(tmp_path) as host, served(host):
        threads = [threading.Thread(target=ask) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert answers == [{"do": "plan"}] * 100


def test_a_run_is_followed_with_its_output_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("hello")
    before = descriptors()
    with hosting(tmp_path) as host:
        host.outputs["a@1"] = tmp_path / "a.log"

        def answer(request: Request) -> Reply:
            if request.do != "trigger":
                return Done({})
            manual = TriggerKind.MANUAL
            host.control.publish(Started("a@1", "a", 0, manual, 1, 1.0, 0.0, 1, 1), host.now)
            end = Finished("a@1", "a", 0, manual, 1, Outcome.SUCCEEDED, 2.0)
            host.control.publish(end, host.now)
            return Waiting(("a@1",))

        host.answer = answer
        with served(host), Client(host.path) as client:
            told = [step for step in client.follow("trigger", jobs=["a"], wait=True) if step]
            assert client.ask("plan") == {}
    accepted, begun, output, ended, last = told
    assert accepted == Told(runs=("a@1",))
    assert begun.record is not None
    assert begun.record["event"] == "started"
    assert (output.output, output.record) == (("a@1", 1), None)
    assert output.descriptor is not None
    assert os.get_inheritable(output.descriptor) is False
    assert os.read(output.descriptor, 99) == b"hello"
    os.close(output.descriptor)
    assert ended.record is not None
    assert ended.record["outcome"] == "succeeded"
    assert last.answer == {"runs": ["a@1"], "outcomes": {"a@1": "succeeded"}}
    assert descriptors() == before


def test_who_follows_has_time_for_other_things_in_between(tmp_path: Path) -> None:
    with hosting(tmp_path) as host:
        host.answer = lambda request: Waiting(("a@1",)) if request.do == "trigger" else Done({})
        with served(host), Client(host.path) as client:
            steps = client.follow("trigger", poll_s=0.01, wait=True)
            assert next(step for step in steps if step) == Told(runs=("a@1",))
            assert next(steps) is None
            host.control.finish("a@1", "cancelled", host.now)
            assert next(step for step in steps if step).answer is not None


def test_a_descriptor_that_nobody_took_is_closed_with_the_client(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("hello")
    before = descriptors()
    with hosting(tmp_path) as host:
        host.outputs["a@1"] = tmp_path / "a.log"

        def answer(request: Request) -> Reply:
            record = Started("a@1", "a", 0, TriggerKind.MANUAL, 1, 1.0, 0.0, 1, 1)
            host.control.publish(record, host.now)
            return Waiting(("a@1",)) if request.do == "trigger" else Done({})

        host.answer = answer
        with served(host), Client(host.path) as client:
            steps = client.follow("trigger", wait=True)
            assert next(steps) == Told(runs=("a@1",))
            assert client.path == host.path
    assert descriptors() == before
