"""The jobfile that comes of a conversion: what all jobs share in `[defaults]`, then the jobs with
the comments of the crontab where they stood.

Everything that cron does and stsd would not do by itself is written out here, once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from stsd.conversion import Conversion, ImportedJob
from stsd.jobtext import JobText, Value, comment, job, table

_SHARED = ("user", "timezone", "splay", "cwd", "shell")
_LIKE_CRON: dict[str, Value] = {"overlap": "allow", "catch_up": "none"}
_HEAD = (
    "Made of {origin} by `stsd import-crontab`. Times, commands and variables are as cron has",
    "them. cron mailed what jobs print; stsd keeps it: `stsd logs JOB`.",
)
# By the program that cron itself mails with; what it is given is told in docs/notifications.md.
_MAIL = """\
/usr/sbin/sendmail -i -t <<MAIL
To: {to}
Subject: $STSD_SUBJECT
MIME-Version: 1.0
Content-Type: text/plain; charset=UTF-8

$STSD_TEXT
MAIL
"""
_SPECIAL = re.compile(r"[$`\\]")  # in a here-document, to the shell
_DEFAULTS = (
    "What cron does: start a job though its last run has not ended, and forget what fell due while",
    'it was down. stsd\'s own ways are overlap = "skip" and catch_up = "latest".',
)


def document(conversion: Conversion, sources: Sequence[str]) -> str:
    """The text of the jobfile."""
    jobs = conversion.jobs
    shared = _shared([each.keys for each in jobs])
    mail_to = _mail_to(jobs)
    origin = ", ".join(sources) if len(sources) < 3 else f"{len(sources)} crontabs"
    lines = [comment(text.format(origin=origin)) for text in _HEAD]
    lines += ["", *(comment(text) for text in _DEFAULTS)]
    notify = _notify(mail_to) if mail_to else {}
    notes = [_mail_note(mail_to)] if mail_to else []
    lines += table("defaults", {**_LIKE_CRON, **shared, **notify}, notes)
    lines.append("")
    for part in conversion.parts:
        if isinstance(part, ImportedJob):
            lines += ([""] if lines[-1] else []) + [*job(_text(part, shared, mail_to)), ""]
        elif part or lines[-1]:
            lines.append(comment(part) if part else "")
    return "\n".join(lines).rstrip("\n") + "\n"


def _text(imported: ImportedJob, shared: Mapping[str, Value], mail_to: str | None) -> JobText:
    keys: dict[str, Value] = {}
    for key, value in imported.keys.items():
        if isinstance(value, Mapping):
            common = shared.get(key, {})
            own = value.items() - common.items() if isinstance(common, Mapping) else value.items()
            if own:
                keys[key] = {name: text for name, text in value.items() if (name, text) in own}
        elif shared.get(key) != value:
            keys[key] = value
    notes = list(imported.notes)
    if imported.mail_to and imported.mail_to != mail_to:
        keys |= _notify(imported.mail_to)
        notes.append(_mail_note(imported.mail_to))
    return JobText(imported.name, keys, imported.comments, tuple(notes))


def _shared(jobs: Sequence[Mapping[str, Value]]) -> dict[str, Value]:
    """The keys and variables that all jobs have, each with the value that most of them have."""
    shared: dict[str, Value] = {}
    for key in _SHARED:
        values = [keys[key] for keys in jobs if key in keys]
        if len(values) == len(jobs) and jobs:
            shared[key] = _most_common([value for value in values if isinstance(value, str)])
    envs = [env for keys in jobs if isinstance(env := keys["env"], Mapping)]
    names = [name for name in envs[0] if all(name in env for env in envs)] if envs else []
    if names:
        shared["env"] = {name: _most_common([str(env[name]) for env in envs]) for name in names}
    return shared


def _most_common(texts: Sequence[str]) -> str:
    """Of several equally common ones the first."""
    return Counter(texts).most_common(1)[0][0]


def _mail_to(jobs: Sequence[ImportedJob]) -> str | None:
    """Whom cron told of the output of all of these jobs, if it is the same for all."""
    named = {each.mail_to for each in jobs}
    return named.pop() if len(named) == 1 else None


def _mail_note(mail_to: str) -> str:
    return (
        f"MAILTO={mail_to}: cron mailed all output there; this mails when a job fails or recovers"
    )


def _notify(mail_to: str) -> dict[str, Value]:
    """The nearest that there is to cron's mail."""
    command = _MAIL.format(to=_SPECIAL.sub(r"\\\g<0>", mail_to))
    return {"notify": {"on": ("failed", "recovered"), "to": {"command": command}}}
