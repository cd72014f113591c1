"""A name for a job, from the command that it runs.

A guess at what a person would call it; it is always a valid name, and never decides what is run.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection

_LONGEST = 64
_KEYWORDS = frozenset(
    {"then", "else", "elif", "do", "if", "while", "until", "fi", "done", "{", "}", "!"}
)
# What stands before what is meant: conditions, waiting, folders. A part of a command that begins
# with one of these names nothing.
_PRELUDES = frozenset(
    {".", "[", "[[", "test", "true", "false", "cd", "sleep", "source", "export", "set", "umask"}
    | {"ulimit", "for", "echo", "command"}
)
# Programs that run another one, with those of their options that take a value of their own.
_WRAPPERS = {
    "nice": "n",
    "ionice": "cnpt",
    "chronic": "",
    "cronic": "",
    "env": "uCS",
    "exec": "a",
    "sudo": "ughp",
    "su": "sg",
    "setsid": "",
    "nohup": "",
    "time": "",
    "timeout": "ks",
    "flock": "wEo",
    "chpst": "u",
    "runuser": "ug",
    "systemd-cat": "tp",
    "logger": "tp",
    "caffeinate": "",
    "unbuffer": "",
    "stdbuf": "ioe",
}
_ONE_WORD_FIRST = frozenset({"timeout", "flock"})
"""Wrappers with a word of their own (a time, a lock) before the program."""
_INTERPRETERS = re.compile(
    r"(ba|da|z|k|a)?sh|python[\d.]*|perl|ruby|node|php[\d.]*|java|lua|Rscript|busybox|run-parts|invoke-rc\.d|service"
)
_EXTENSIONS = re.compile(r"\.(sh|bash|py|pl|rb|php|js|jar|R|lua|cron)$")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)


def name_for(command: str, taken: Collection[str], prefix: str = "") -> str:
    """A name that none of `taken`, which are in lower case, has in any case.

    One that is taken goes on with the command's first argument, else begins with `prefix`; after
    that, numbers tell them apart.
    """
    program, argument = _named_by(command)
    name = _slug(program) or "job"
    longer = _slug(f"{name}-{_slug(argument)}"), _slug(f"{prefix}-{name}")
    for candidate in (name, *longer):
        if candidate.lower() not in taken:
            return candidate
    number = 2
    while (numbered := _numbered(name, number)).lower() in taken:
        number += 1
    return numbered


def _numbered(name: str, number: int) -> str:
    ending = f"-{number}"
    return f"{name[: _LONGEST - len(ending)]}{ending}"


def _named_by(command: str) -> tuple[str, str]:
    """The program that says best what a command does, and its first argument."""
    fallback = ""
    for part in _parts(command):
        words = _unwrapped(_without_redirections(part))
        if not words:
            continue
        fallback = fallback or words[0]
        if _base(words[0]) not in _PRELUDES and not _only_sleeps(words):
            script, others = _script(words)
            plain = [word for word in others if not word.startswith("-")]
            return _base(script), _base(plain[0]) if plain else ""
    return _base(fallback), ""


def _only_sleeps(words: list[str]) -> bool:
    """Whether an interpreter is given one line that waits, as certbot's crontab does."""
    return len(words) > 2 and words[1] in ("-e", "-c") and "sleep" in words[2]


def _parts(command: str) -> list[list[str]]:
    """The simple commands of a command, as lists of words."""
    parts: list[list[str]] = [[]]
    for word in _words(command):
        if word and set(word) <= set("&|;()"):
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def _words(command: str) -> list[str]:
    lexer = shlex.shlex(_without_substitutions(command), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:  # a quote that is not closed: the shell will say so
        return command.split()


def _without_substitutions(command: str) -> str:
    """The command with `_` for each `$(…)` and `` `…` ``: other commands, of no interest here."""
    text = re.sub(r"`[^`]*`", "_", command)
    while (begin := text.find("$(")) >= 0:
        depth, end = 0, begin + 1
        while end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
            if depth == 0:
                break
        text = f"{text[:begin]}_{text[end:]}"
    return text


def _without_redirections(words: list[str]) -> list[str]:
    """The words without `2>&1`, `>> file` and their like."""
    kept: list[str] = []
    is_target = False
    for word in words:
        arrow = bool(word) and set(word) <= set("<>&")
        if arrow and kept and kept[-1].isdigit():
            kept.pop()
        if not arrow and not is_target:
            kept.append(word)
        is_target = arrow
    return kept


def _unwrapped(words: list[str]) -> list[str]:
    """The words without assignments, and without programs that only run the rest."""
    while words:
        base = _base(words[0])
        if words[0] in _KEYWORDS or _ASSIGNMENT.fullmatch(words[0]):
            words = words[1:]
        elif base in _WRAPPERS and len(words) > 1:
            words = _without_options(words[1:], _WRAPPERS[base])
            if base in _ONE_WORD_FIRST:
                words = _without_options(words[1:], _WRAPPERS[base])
        else:
            break
    return words


def _without_options(words: list[str], with_value: str) -> list[str]:
    while words and words[0].startswith("-") and words[0] != "-":
        takes = len(words[0]) == 2 and words[0][1] in with_value
        words = words[2:] if takes else words[1:]
    return words


def _script(words: list[str]) -> tuple[str, list[str]]:
    """The program, or what an interpreter is given, and the words behind it."""
    if not _INTERPRETERS.fullmatch(_base(words[0])):
        return words[0], words[1:]
    for index, word in enumerate(words[1:], 1):
        following = words[index + 1 :]
        if word == "-m" and following:
            return following[0], following[1:]
        if word == "-c" and following and "sh" in _base(words[0]):
            return _named_by(following[0])[0] or words[0], following[1:]
        if not word.startswith("-"):
            return word, following
    return words[0], []


def _base(word: str) -> str:
    return word.rstrip("/").rpartition("/")[2]


def _slug(text: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", _EXTENSIONS.sub("", text))
    return plain.lstrip("._-")[:_LONGEST].rstrip("._-")
