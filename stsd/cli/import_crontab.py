"""`stsd import-crontab`: a jobfile of crontabs, and what could not be carried over."""

from __future__ import annotations

import argparse
import os
import pwd
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stsd.cli.common import style, visible
from stsd.conversion import Conversion, Machine, Source, convert
from stsd.crontab import Dialect, Entry, read
from stsd.errors import StsdError, UsageError
from stsd.importtext import document

if TYPE_CHECKING:
    from stsd.verification import Verdict

EXAMPLE = """\
examples:
  stsd import-crontab                         your crontab, on standard output
  stsd import-crontab -o jobs.toml --verify
  stsd import-crontab -u www-data
  stsd import-crontab /etc/crontab /etc/cron.d -o /etc/stsd/jobs.toml
  ssh old.example.com crontab -l | stsd import-crontab -"""

TAKES_JOBFILE = False
_LARGEST = 16 << 20
_YEAR = 365 * 86400
_CRON_NAME = re.compile(r"[A-Za-z0-9_-]+")
_PRIVATE = 0o600


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `stsd import-crontab`."""
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="a crontab, a folder of them, or - (default: what `crontab -l` prints)",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="the jobfile to write")
    parser.add_argument("--force", action="store_true", help="write it even if it is there")
    parser.add_argument("-u", "--user", metavar="USER", help="the crontab's owner")
    parser.add_argument(
        "--system",
        action="store_true",
        help="a user stands before each command (known of /etc/crontab and cron.d)",
    )
    parser.add_argument(
        "--cronie", action="store_true", help="by cronie's rules: CRON_TZ and RANDOM_DELAY count"
    )
    parser.add_argument(
        "--disabled", action="store_true", help="jobs that are commented out, too; not enabled"
    )
    parser.add_argument(
        "--verify", action="store_true", help="compare a year of occurrences with Debian's cron"
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the jobfile: 0 if all jobs are in it, 1 if one is not or `--verify` finds another
    time."""
    if arguments.system and arguments.user:
        raise UsageError("--system says that each line names its user; leave out --user")
    if arguments.force and not arguments.output:
        raise UsageError("--force goes with --output")
    dialect = Dialect.CRONIE if arguments.cronie else Dialect.DEBIAN
    sources = list(_sources(arguments, dialect))
    machine = Machine(_home, os.path.isdir)
    conversion = convert(sources, dialect, machine, disabled=arguments.disabled)
    text = document(conversion, [source.label for source in sources])
    verdict = _verified(conversion, text) if arguments.verify else None
    if arguments.output:
        _write(Path(arguments.output), text, force=arguments.force)
    else:
        sys.stdout.write(text)
    _tell_user_column(sources)
    for remark in conversion.remarks:
        _tell(str(remark), "red" if remark.lost else "yellow")
    _tell(_summary(conversion, arguments.output))
    if verdict is not None:
        _tell_verdict(verdict)
    lost = any(remark.lost for remark in conversion.remarks)
    return 1 if lost or (verdict is not None and not verdict.holds) else 0


# -- the crontabs


def _sources(arguments: argparse.Namespace, dialect: Dialect) -> Iterator[Source]:
    if not arguments.files:
        if arguments.system:
            raise UsageError("--system goes with a file (such as /etc/crontab)")
        owner = arguments.user or ""
        yield Source("crontab", read(_listed(owner), dialect, system=False), owner)
    for name in arguments.files:
        if name == "-":
            data = sys.stdin.buffer.read(_LARGEST + 1)
            crontab = read(_not_too_large(data, name), dialect, system=arguments.system)
            yield Source("stdin", crontab, arguments.user or "")
        elif os.path.isdir(name):
            for path in _crontabs_in(Path(name)):
                yield _source(path, arguments, dialect)
        else:
            yield _source(Path(name), arguments, dialect)


def _listed(owner: str) -> bytes:
    """What crontab(1) lists. Raises StsdError with its words if it has nothing."""
    command = ["crontab", *(["-u", owner] if owner else []), "-l"]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise UsageError("there is no crontab(1) on this machine (name a FILE)") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise StsdError(visible(said) or f"`{' '.join(command)}` exited {done.returncode}")
    return done.stdout


def _source(path: Path, arguments: argparse.Namespace, dialect: Dialect) -> Source:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise UsageError(f"{visible(str(path))}: {error.strerror}") from error
    folder = path.absolute().parent.name
    # /var/spool/cron/crontabs and, with cronie, /var/spool/cron: a file for each user.
    owner = arguments.user or (path.name if folder in ("crontabs", "cron") else "")
    system = not owner and (
        arguments.system or folder == "cron.d" or (path.name == "crontab" and folder == "etc")
    )
    crontab = read(_not_too_large(data, str(path)), dialect, system=system)
    return Source(str(path), crontab, owner, "" if path.name == "crontab" else path.name)


def _not_too_large(data: bytes, name: str) -> bytes:
    if len(data) > _LARGEST:
        raise UsageError(f"{visible(name)}: more than 16 MiB is no crontab")
    return data


def _crontabs_in(folder: Path) -> list[Path]:
    """The files that cron reads in a folder: with a dot or a ~ in its name, none."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise UsageError(f"{visible(str(folder))}: {error.strerror}") from error
    files = [folder / name for name in names if _is_candidate(folder / name)]
    for path in files:
        if not _CRON_NAME.fullmatch(path.name):
            _tell(f"{path}: passed over, as by cron, for its name (name it to import it)", "yellow")
    return [path for path in files if _CRON_NAME.fullmatch(path.name)]


def _is_candidate(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")


def _home(user: str) -> str | None:
    try:
        entry = pwd.getpwnam(user) if user else pwd.getpwuid(os.geteuid())
    except (KeyError, UnicodeEncodeError):
        return None
    return entry.pw_dir


# -- the result


def _write(path: Path, text: str, *, force: bool) -> None:
    """Writes the jobfile for its owner alone, since crontabs may hold passwords; whole or not."""
    if not force and os.path.lexists(path):
        raise UsageError(f"{path} is there already (--force replaces it)")
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise StsdError(f"{path}: {error.strerror}") from error


def _verified(conversion: Conversion, text: str) -> Verdict:
    """Reads the jobfile back as the daemon would, and compares a year from now on."""
    from stsd.jobfile import load, machine_zone
    from stsd.verification import verify

    if sys.stderr.isatty():
        _tell(f"verifying a year of {_counted(len(conversion.jobs), 'job')} ...")
    with tempfile.TemporaryDirectory(prefix="stsd-import-") as folder:
        path = Path(folder) / "jobs.toml"
        path.write_text(text, encoding="utf-8")
        path.chmod(_PRIVATE)
        zone = machine_zone()
        jobs = load(path, local_zone=zone).jobs
    begin = int(time.time()) // 60 * 60 + 60
    return verify(conversion.jobs, jobs, zone, begin, begin + _YEAR)


# -- the report, on standard error


def _tell(text: str, shade: str = "") -> None:
    plain = visible(text)
    print(style(plain, shade, sys.stderr) if shade else plain, file=sys.stderr)


def _tell_user_column(sources: Sequence[Source]) -> None:
    """A copy of /etc/crontab under another name is read as a user's crontab, which is rarely
    meant: all its commands begin with the name of a user."""
    for source in sources:
        meanings = [line.meaning for line in source.crontab.lines]
        found = [each for each in meanings if isinstance(each, Entry)]
        if found and not any(each.user for each in found) and all(map(_is_user, found)):
            first = found[0].command.split()[0]
            message = f"each command begins with the name of a user, such as {first}"
            _tell(f"{source.label}: {message} (was --system meant?)", "yellow")


def _is_user(entry: Entry) -> bool:
    words = entry.command.split()
    return len(words) > 1 and _home(words[0]) is not None


def _summary(conversion: Conversion, output: str | None) -> str:
    made, lost = len(conversion.jobs), sum(remark.lost for remark in conversion.remarks)
    off = sum(job.keys.get("enabled") is False for job in conversion.jobs)
    told = _counted(made, "job")
    if off:
        told += f" ({off:,} not enabled)"
    if output:
        told += f" in {output}"
    if lost:
        told += f"; {_counted(lost, 'line')} could not be carried over"
    return told


def _tell_verdict(verdict: Verdict) -> None:
    for difference in verdict.differences:
        job = difference.job
        place = f"{job.label}:{job.line}: {job.name}"
        if difference.of_clocks:
            _tell(f"{place}: where the clocks change: {difference.message}", "yellow")
        else:
            _tell(f"{place}: {difference.message}", "red")
    extent = f"{_counted(verdict.occurrences, 'occurrence')} of {_counted(verdict.jobs, 'job')}"
    if verdict.holds:
        _tell(f"verified: {extent} in a year are as Debian's cron has them")
    else:
        wrong = sum(not difference.of_clocks for difference in verdict.differences)
        _tell(f"not verified: {_counted(wrong, 'job')} would run at other times", "red")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
