"""`stsd run`: the daemon itself."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

from structlog.typing import FilteringBoundLogger

from stsd.child import base_environment
from stsd.cli.common import config_path
from stsd.errors import UsageError
from stsd.firstreading import FirstReading
from stsd.jobfile import load, machine_zone
from stsd.journal import Journal, leads_to_journal
from stsd.lock import Lock
from stsd.logs import LEVELS, Sink, level_from, open_journal, open_log
from stsd.places import places
from stsd.sockets import folders
from stsd.systemd import Notifier

EXAMPLE = """\
examples:
  stsd run -c jobs.toml
  stsd run -c /etc/stsd/jobs.toml --daemon --pidfile /run/stsd.pid

signals:
  HUP   reload the jobfile, all or nothing
  TERM  stop (also INT): no new run, wait for the running ones; once more: hurry
  USR1  open the log files anew, after a rotation
  USR2  restart in place: same pid, new code, running jobs go on"""


_RESTARTED = "STSD_RESTARTED"
# How long an end waits for a log that is slow to take its last lines.
_LAST_WORDS_S = 1.0


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `stsd run`."""
    parser.add_argument("--daemon", action="store_true", help="detach from the terminal")
    parser.add_argument(
        "--pidfile", metavar="P", type=Path, help="with --daemon: where to write the pid"
    )
    parser.add_argument(
        "--log-level",
        choices=LEVELS,
        help="what to log at least (else $STSD_LOG_LEVEL, $LOG_LEVEL, info)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run until a signal ends it."""
    if arguments.pidfile and not arguments.daemon:
        raise UsageError("--pidfile goes with --daemon; in the foreground the pid is the shell's")
    in_place = os.environ.pop(_RESTARTED, "") == str(os.getpid())
    path = config_path(arguments)
    if arguments.daemon:
        path = path.absolute()
    # Where whoever started stsd has it ignored, the kernel tells nobody how a child has ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    read = partial(load, path, local_zone=machine_zone(), to_run=True)
    reading = FirstReading(read)
    from stsd.daemon import Daemon  # in the meantime
    from stsd.world import World

    jobfile = reading.result()
    where = places(jobfile.settings, os.environ)
    lock = Lock(where.state_dir)
    file = where.log_dir / "stsd.log" if arguments.daemon else None
    log, sink = _log(file, level_from(arguments.log_level, os.environ))
    restart = partial(_restart, dict(os.environ), _folder(), sink)

    def serve() -> None:
        lock.sign()
        notifier = Notifier.from_environment(os.environ, os.getpid(), log.warning)
        environ = base_environment(os.environ)
        sockets = folders(os.environ, where.state_dir, os.geteuid())
        world = World(read, restart, in_place, where, environ, log, sink, notifier, sockets)
        for warning in jobfile.warnings:
            log.warning("jobfile", warning=warning)
        # Programs and jobs stay: to look through them for garbage would hold up the loop, by 6 ms
        # with one job and by 80 with a hundred thousand.
        gc.freeze()
        try:
            Daemon(jobfile, world).run()
        except Exception:
            log.exception("crashed")
            raise
        finally:
            sink.flush(_LAST_WORDS_S)

    if arguments.daemon:
        from stsd.detach import detached

        pidfile = arguments.pidfile and arguments.pidfile.absolute()
        with detached(pidfile, keep_open=(lock.fd, *sink.descriptors()), again=in_place):
            serve()
    else:
        serve()
    return 0


def _log(file: Path | None, level: str) -> tuple[FilteringBoundLogger, Sink | Journal]:
    """The log, and where it goes: the file, else the journal if that is what standard output leads
    to, else standard output."""
    if file is None and leads_to_journal(sys.stdout, os.environ):
        journal = Journal()
        return open_journal(journal, level), journal
    sink = Sink(path=file) if file else Sink(stream=sys.stdout)
    terminal = file is None and sys.stdout.isatty()
    colours = terminal and not os.environ.get("NO_COLOR")
    return open_log(sink, level, pretty=terminal, colours=colours), sink


def _folder() -> str:
    """Where this process is; if that is gone no relative path leads anywhere."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/"


def _restart(environ: dict[str, str], folder: str, sink: Sink | Journal) -> NoReturn:
    """Become a new stsd of the same pid: same arguments, same environment, same folder."""
    sink.flush(_LAST_WORDS_S)
    with suppress(OSError):  # nothing is read from where it cannot go: the jobfile has been found
        os.chdir(folder)
    os.execve(sys.executable, sys.orig_argv, {**environ, _RESTARTED: str(os.getpid())})
