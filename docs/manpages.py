"""Writes the man pages, man/stsd.1 and man/stsd.toml.5, when it is run.

stsd(1) is made from the parsers of the command line and stsd.toml(5) from jobfile.md and the table
of keys, so that neither can tell anything but what is there.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from jobfile_reference import PAGE, START, fields_within, kind_in_words
from roff import bold, entry, escaped, inline, italic, markdown, paragraph, verbatim, wrapped

from stsd import __version__
from stsd.cli import COMMANDS, build_parser
from stsd.key import Group, Key
from stsd.keys import DAEMON_KEYS, JOB_KEYS
from stsd.values import Field

FOLDER = Path(__file__).parent.parent / "man"
DATE = "2026-11-21"
"""The day on which the words in this file last changed."""

_FORMATTER = argparse.HelpFormatter("stsd")
_STATUS = {
    "0": "Done.",
    "1": "The thing asked about failed.",
    "2": "Wrong usage, or an invalid jobfile.",
    "3": "There is no daemon to talk to.",
}
_ENVIRONMENT = {
    "STSD_CONFIG": "The jobfile, where no `-c` says it.",
    "STSD_LOG_LEVEL": "What is logged at least: debug, info, warning or error; else `LOG_LEVEL`.",
    "STSD_SOCKET": "The control socket to look at, instead of where it usually is.",
    "NO_COLOR": "Anything in it turns colours off.",
    "FORCE_COLOR": "Anything in it keeps colours in a pipe.",
    "COLUMNS": "How wide tables may be.",
    "LOGS_DIRECTORY": "Where the logs are, unless the jobfile says it; set by systemd(1).",
    "STATE_DIRECTORY": "Where the state is, unless the jobfile says it; set by systemd(1).",
    "XDG_STATE_HOME": "Below it are both, where nothing else says it; by default ~/.local/state.",
}
_FILES = {
    "./jobs.toml, /etc/stsd/jobs.toml": "The jobfile, where neither `-c` nor `$STSD_CONFIG` is.",
    "LOG_DIR/history/": "What ran: one JSON object a line, one file a UTC day.",
    "LOG_DIR/output/JOB/": "What each attempt printed.",
    "LOG_DIR/stsd.log": "The log, with `stsd run --daemon`; else it is standard output.",
    "STATE_DIR/": "What a restart needs, and in herald.db what is to be told.",
    "/run/stsd/control.sock": "Where the commands talk to the daemon; of one without root "
    "`$XDG_RUNTIME_DIR`/stsd/control.sock.",
}


def commands_page() -> str:
    """The text of stsd(1)."""
    parser = build_parser(COMMANDS)
    lines = [
        _title("STSD", 1),
        ".SH NAME",
        r"stsd \- a cron\-like daemon with a TOML jobfile",
        ".SH SYNOPSIS",
        rf"{bold('stsd')} {italic('COMMAND')} [{bold('-c')} {italic('FILE')}] [...]",
        ".br",
        rf"{bold('stsd')} {bold('--version')} | {bold('--help')}",
        ".SH DESCRIPTION",
        *paragraph(
            "stsd runs shell commands and Python entry points when they are due, each in a process "
            "of its own, as its jobfile says: see stsd.toml(5). It retries what fails, keeps what "
            "was printed, tells people what failed, is late or did not happen, and writes one line "
            "of history for everything that a schedule demanded."
        ),
        *paragraph(
            "The jobfile is the one named by `-c` (`--config`), else by `$STSD_CONFIG`, else "
            "./jobs.toml if there is one, else /etc/stsd/jobs.toml."
        ),
        ".SH COMMANDS",
    ]
    for name, command in _commands(parser):
        lines += _command(name, command)
    for title, entries in (
        ("EXIT STATUS", _STATUS),
        ("ENVIRONMENT", _ENVIRONMENT),
        ("FILES", _FILES),
    ):
        lines.append(f".SH {title}")
        for tag, text in entries.items():
            lines += entry(bold(tag), text)
    lines += [".SH SEE ALSO", r"\fBstsd.toml\fR(5), \fBcrontab\fR(5), \fBsystemd.timer\fR(5)"]
    return _joined(lines)


def _commands(
    parser: argparse.ArgumentParser,
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _command(name: str, command: argparse.ArgumentParser) -> list[str]:
    actions = [action for action in command._actions if _is_its_own(action)]
    words = [bold(f"stsd {name}"), *map(_in_synopsis, actions)]
    lines = [f".SS stsd {escaped(name)}", *paragraph(command.description or "")]
    lines += [".PP", *wrapped(" ".join(words))]
    for group in command._action_groups:
        inside = [action for action in actions if action in group._group_actions]
        if inside and group.title not in ("positional arguments", "options"):
            lines += paragraph(f"{group.title}:")
        for action in inside:
            lines += entry(_tag(action), _FORMATTER._expand_help(action))
    return lines + _epilog(command.epilog or "")


def _is_its_own(action: argparse.Action) -> bool:
    """Whether an argument is shown, and is not told once for all commands."""
    if action.help is argparse.SUPPRESS or action.dest == "help":
        return False
    return action.dest != "config" or "$STSD_CONFIG" not in (action.help or "")


def _in_synopsis(action: argparse.Action) -> str:
    value = _value(action)
    if action.option_strings:
        word = bold(action.option_strings[-1]) + (f" {value}" if value else "")
        return word if action.required else f"[{word}]"
    match action.nargs:
        case "?":
            return f"[{value}]"
        case "*":
            return f"[{value}...]"
        case "+":
            return f"{value}..."
        case _:
            return value


def _tag(action: argparse.Action) -> str:
    value = _value(action)
    if not action.option_strings:
        return value
    return ", ".join(map(bold, action.option_strings)) + (f" {value}" if value else "")


def _value(action: argparse.Action) -> str:
    """What an argument takes; nothing for a flag."""
    if action.nargs == 0:
        return ""
    if action.metavar is None and action.choices is not None:
        return "|".join(bold(str(choice)) for choice in action.choices)
    return italic(str(action.metavar or action.dest.upper()))


def _epilog(text: str) -> list[str]:
    """Indented lines are shown as they stand; others are paragraphs."""
    lines: list[str] = []
    for indented, block in groupby(text.splitlines(), key=lambda line: line.startswith("  ")):
        if indented:
            lines += verbatim([line[2:] for line in block])
            continue
        for words in " ".join(line or "\n" for line in block).split("\n"):
            said = words.strip()
            lines += paragraph(said[0].upper() + said[1:]) if said else []
    return lines


def jobfile_page() -> str:
    """The text of stsd.toml(5)."""
    text = PAGE.read_text(encoding="utf-8").partition(START)[0].partition("\n")[2]
    lines = [
        _title("STSD.TOML", 5),
        ".SH NAME",
        r"stsd.toml \- the jobfile of stsd",
        ".SH DESCRIPTION",
        *markdown(text),
    ]
    for group in Group:
        keys = [key for key in (*DAEMON_KEYS.values(), *JOB_KEYS.values()) if key.group is group]
        table = "[daemon]" if group is Group.DAEMON else "[jobs.NAME]"
        lines += [f".SH {escaped(group.upper())}", *paragraph(f"Keys of `{table}`:")]
        for key in keys:
            lines += _key(key)
    lines += [".SH SEE ALSO", r"\fBstsd\fR(1), \fBcrontab\fR(5), \fBsystemd.time\fR(7)"]
    return _joined(lines)


def _key(key: Key) -> list[str]:
    lines = entry(bold(key.name), key.says)
    lines += [".br", *wrapped(inline(f"Value: {kind_in_words(key.kind)}."))]
    lines += [".br", *wrapped(inline(f"Default: {_default(key)}."))] if key.default else []
    lines += [".br", *wrapped(inline(f"Example: `{key.name} = {key.example}`"))]
    within = list(fields_within(key.kind))
    lines += [".RS"] if within else []
    for name, field in within:
        default = f"; default: {_default(field)}" if field.default else ""
        lines += entry(bold(name), f"{field.says} ({kind_in_words(field.kind)}{default})")
    lines += [".RE"] if within else []
    return lines


def _default(key: Key | Field) -> str:
    return key.default.strip("()") if key.default.startswith("(") else f"`{key.default}`"


def _title(name: str, section: int) -> str:
    return f'.TH {name} {section} {DATE} "stsd {__version__}"'


def _joined(lines: list[str]) -> str:
    """The page; a paragraph needs no request right after a heading."""
    text = "\n".join(lines) + "\n"
    return re.sub(r"^(\.S[HS] .*\n)\.PP\n", r"\1", text, flags=re.MULTILINE)


PAGES = {"stsd.1": commands_page, "stsd.toml.5": jobfile_page}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, made in PAGES.items():
        (FOLDER / name).write_text(made(), encoding="utf-8")
