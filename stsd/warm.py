"""Runs Python entry points without starting Python: `PYTHON warm.py MODULE FOLDER...` imports a
module once, and forks for each run of it: in advance, so that a child waits for the next one.

A launcher (see `launcher.py`) whose children, instead of becoming another program, do what
`entry.py` does. Stands alone as those do, under Python 3.8 and later. Ends when the daemon has
gone, and when nothing has been asked of it for a while. Never runs anything of the module's itself
but its import: what may not be forked (a module with threads, one that cannot be imported) or has
changed since is answered with a reason, and started elsewhere.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
import sysconfig
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stsd import launcher

# An answer that asks for another one of these processes; any other text asks for a cold start.
STALE = "stale"
IDLE_S = 600.0
_IMPORT_AT_MOST_S = 30
_GO_ON = b"!"


def import_module(name: str) -> str:
    """Import it; why it cannot be kept warm, or nothing."""
    needed = _needed()
    signal.alarm(_IMPORT_AT_MOST_S)  # what never comes to its end ends this process
    try:
        importlib.import_module(name)
    except BaseException as error:  # whatever it is: the cold start will show it
        return f"it cannot be imported: {type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    if len(os.listdir("/proc/self/task")) > 1:
        return "importing it starts threads, which a fork would lose"
    if _needed() != needed:
        return "importing it puts something else in the place of what forks (gevent does)"
    return ""


def _needed() -> tuple[object, ...]:
    """What cannot be waited for with all signals blocked, once it is somebody else's."""
    return os.fork, os.waitpid, getattr(select, "poll", None), socket.socketpair


def stamps() -> dict[str, tuple[int, int] | None]:
    """Time and size of the file of every module that is not the standard library's."""
    found = {}
    library = sysconfig.get_paths()["stdlib"] + os.sep
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and (not path.startswith(library) or "-packages" in path):
            found[path] = stamp(path)
    return found


def stamp(path: str) -> tuple[int, int] | None:
    """Time of change and size of a file; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def wait_for_run(
    launcher: Any, link: Any, failure: str
) -> tuple[launcher.Request, dict[str, str]] | None:
    """Keep a child of the daemon's that waits for the next request; returns in each that has got
    one, with the request and its environment, and in the process itself, with None, when there is
    no more to do. Where no child can be had, requests are answered with the `failure`."""
    known, own = stamps(), os.getpid()
    while not failure:
        ours, theirs = socket.socketpair()
        try:
            waits = launcher.fork_twice() == 0
        except OSError as error:
            if os.getpid() != own:
                os._exit(launcher.SETUP_FAILED)
            failure = f"cannot fork: {error.strerror}"
            break
        if waits:
            ours.close()
            # Not before the daemon is its parent may the daemon hear of it.
            return _next_run(launcher, link, known, "", theirs) if theirs.recv(1) else None
        theirs.close()
        with ours, contextlib.suppress(OSError):  # that child may have been killed
            ours.send(_GO_ON)
            if ours.recv(1):
                continue
        return None
    return _next_run(launcher, link, known, failure)


def _next_run(
    launcher: Any,
    link: Any,
    known: dict[str, tuple[int, int] | None],
    failure: str,
    template: socket.socket | None = None,
) -> tuple[launcher.Request, dict[str, str]] | None:
    """Serve requests up to the first that can be begun, which is told to the `template`."""
    for request in launcher.requests(link, IDLE_S):
        reason = failure
        if any(stamp(path) != known[path] for path in known):
            reason = STALE
        if template is not None and not reason:
            return request, _settled(launcher, request, template)
        launcher.report(request, None, reason)
        request.close()
    return None


def _settled(launcher: Any, request: launcher.Request, template: socket.socket) -> dict[str, str]:
    """Make this process what the request wants; returns its environment."""
    env: dict[str, str] = {}
    failure = ""
    _leave_off_signals()
    try:
        os.setsid()
        launcher.report(request, os.getpid())
        env = launcher.settle(launcher.read_spec(request), request)
    except (launcher.RefusedError, OSError) as error:
        failure = str(error)
    with template, contextlib.suppress(OSError):  # it may have been killed
        template.send(_GO_ON, socket.MSG_NOSIGNAL)
    if failure:
        launcher.report(request, None, failure)
        os._exit(launcher.SETUP_FAILED)
    return env


def _leave_off_signals() -> None:
    """What has come for a process that waited is not meant for the run that it becomes."""
    while signal.sigpending():
        signal.sigtimedwait(signal.sigpending(), 0)


def renew_chance() -> None:
    """Give the child chance of its own, where Python does not do so by itself."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "random"):
        numpy.random.seed()


def main() -> None:
    """Import, wait, and in each child run."""
    # The folder of this file holds stsd's own modules. The job's, if they bear the same names,
    # are others.
    entry, launcher = (importlib.import_module(name) for name in ("entry", "launcher"))
    link = launcher.take_link()
    began_with = dict(os.environ)
    module, folders = sys.argv[1], sys.argv[2:]
    for name in ("entry", "launcher"):
        del sys.modules[name]
    sys.path[0:1] = [*folders, os.getcwd()]
    sys.argv = [module]
    failure = import_module(module)
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    gc.collect()
    gc.freeze()  # what is never looked at is never copied, either
    run = wait_for_run(launcher, link, failure)
    if run is None:
        os._exit(0)  # what is to be done at exit is the runs' to do
    request, env = run
    link.close()
    request.close()
    os.environ.update({name: env[name] for name in env if began_with.get(name) != env[name]})
    renew_chance()
    entry.run(entry.Case())


if __name__ == "__main__":
    main()
