"""`stsd trigger`: starts jobs by hand, and waits for them if asked to."""

from __future__ import annotations

import argparse
import re
from typing import Any

import tomli

from stsd.cli.talk import add_selection, ask, daemon_of, explained, selection
from stsd.cli.terminal import tell
from stsd.cli.waiting import POLL_S, Waiting, tell_skipped
from stsd.client import RefusedError
from stsd.errors import NoDaemonError, UsageError
from stsd.units import shown

EXAMPLE = """\
examples:
  stsd trigger backup                          prints the id of the run
  stsd trigger backup --wait                   shows its output; 1 unless it succeeds
  stsd trigger rates --set kwargs.base=EUR --set kwargs.days=7
  stsd trigger --tag nightly --env DEBUG=1

The schedule goes on as if nothing had happened. Ctrl-C ends the waiting, not the run. The jobs'
overlap, pools and limits hold for these runs, too."""

_KWARG = re.compile(r"kwargs((?:\.[^.=\s]+)+)=(.*)", re.DOTALL)
_MEANT_AS_TOML = ('"', "'", "[", "{")


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `stsd trigger`."""
    add_selection(parser)
    parser.add_argument("-w", "--wait", action="store_true", help="until they end; 1 if one fails")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="kwargs.K=V",
        help="a keyword argument of a Python job for this run; V is a TOML value, or bare text",
    )
    parser.add_argument(
        "--env", action="append", default=[], metavar="K=V", help="a variable for this run"
    )


def run(arguments: argparse.Namespace) -> int:
    """Start the jobs and print the ids of their runs; 1 if one was skipped, with `--wait` 1 unless
    all succeed."""
    wanted: dict[str, Any] = {
        **selection(arguments),
        "kwargs": _kwargs(arguments.set) or None,
        "env": _variables(arguments.env) or None,
    }
    if arguments.wait:
        return _wait(arguments, wanted)
    answer = ask(arguments, "trigger", **wanted)
    for run_id in answer["runs"]:
        print(run_id)
    tell_skipped(answer["skipped"])
    return 1 if answer["skipped"] else 0


def _wait(arguments: argparse.Namespace, wanted: dict[str, Any]) -> int:
    waiting = Waiting()
    with daemon_of(arguments) as client:
        try:
            waiting.follow(client.follow("trigger", poll_s=POLL_S, wait=True, **wanted))
        except RefusedError as error:
            raise explained(error) from error
        except NoDaemonError:
            for run_id in waiting.runs:
                tell(f"what becomes of {run_id}: stsd history --run {run_id}")
            raise
        except KeyboardInterrupt:
            for run_id in waiting.runs:
                tell(f"{run_id} goes on (to end it: stsd cancel {run_id})")
            raise
    return 0 if waiting.verdict else 1


def _kwargs(assignments: list[str]) -> dict[str, Any]:
    """`kwargs.a.b=1` as a table. Raises UsageError."""
    kwargs: dict[str, Any] = {}
    for text in assignments:
        match = _KWARG.fullmatch(text)
        if match is None:
            raise UsageError(f"--set {shown(text)} is not of the form kwargs.NAME=VALUE")
        *path, name = match[1][1:].split(".")
        table = kwargs
        for step in path:
            table = table.setdefault(step, {})
            if not isinstance(table, dict):
                raise UsageError(f"--set {shown(text)}: {step} has a value already")
        if name in table:
            raise UsageError(f"--set {shown(text)}: {name} is given twice")
        table[name] = _value(match[2], text)
    return kwargs


def _value(text: str, whole: str) -> Any:
    """A TOML value; what is none is text, unless it looks as if one had been meant."""
    try:
        table = tomli.loads(f"value = {text}")
    except tomli.TOMLDecodeError as error:
        if text.lstrip().startswith(_MEANT_AS_TOML):
            raise UsageError(f"--set {shown(whole)} has no TOML value: {error}") from error
        return text
    value = table["value"]
    if len(table) > 1 or not _is_json(value):  # more lines, or a date: JSON has none
        return text
    return value


def _is_json(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_json, value.values()))
    if isinstance(value, list):
        return all(map(_is_json, value))
    if isinstance(value, float):
        return value - value == 0  # neither infinite nor NaN
    return isinstance(value, str | int)


def _variables(assignments: list[str]) -> dict[str, str]:
    """Raises UsageError."""
    variables = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--env {shown(text)} is not of the form NAME=VALUE")
        variables[name] = value
    return variables
