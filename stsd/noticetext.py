"""A delivery as text: plain, for a mail or a service that knows nothing else, and in Markdown, for
a chat.

Cut by itself to what a service takes, since services that are sent more refuse it all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from stsd.letter import Letter, Told
from stsd.notices import Event
from stsd.noticewords import (
    by_weight,
    description,
    facts,
    grouped,
    heading,
    in_short,
    more,
    output_heading,
    overview,
    sentence,
    summary,
    time_of_day,
    why,
)
from stsd.units import escaped

IN_FULL = 5
"""A digest of so many notices tells each as if it were alone."""
_LABEL = 10
_RULE = "-" * 40
_TEST = "This is a test, sent by hand: nothing has happened."


class Measure(NamedTuple):
    """How much is told: lines of each output, and notices of a digest."""

    lines: int
    notices: int


# From what is good to read to what a pager takes.
_MEASURES = (Measure(20, 30), Measure(10, 20), Measure(5, 12), Measure(2, 6), Measure(0, 3))
_LINES_IN_DIGEST = 6


def plain(letter: Letter, room: int | None = None) -> str:
    """The text, in at most `room` characters where that is given."""
    return _fitted(lambda measure: _text(letter, measure), room)


def markdown(letter: Letter, room: int | None = None) -> str:
    """The same for a chat, below a title. What came from outside is in a code block, where no
    service sees marks, links or somebody to be called."""

    def built(measure: Measure) -> str:
        text = "\n".join(_lines(letter, measure, titled=True)).strip("\n")
        parts = [_TEST] if letter.test else []
        if text:
            parts.append(f"```\n{_unfenced(text)}\n```")
        return "\n".join([*parts, f"More: `{_more(letter)}`"])

    return _fitted(built, room)


def listed(letter: Letter, most: int) -> Iterator[tuple[Event, list[Told], int]]:
    """Of a long digest, kind by kind, the notices that are told and the number of those that are
    not. Each kind has a few, so that 500 failures do not hide the one that is late."""
    groups = grouped(letter.told)
    least = max(1, min(3, most // max(1, len(groups))))
    spare = most - sum(min(least, len(told)) for _, told in groups)
    for event, told in groups:
        extra = max(0, min(spare, len(told) - least))
        spare -= extra
        room = least + extra
        yield event, told[:room], max(0, len(told) - room)


def signature(letter: Letter) -> str:
    """Who says so."""
    return f"stsd on {escaped(letter.host)}"


def test_notice(letter: Letter) -> str:
    """What a test says of itself; nothing if it is none."""
    return _TEST if letter.test else ""


def _more(letter: Letter) -> str:
    alone, jobfile = letter.alone, letter.jobfile
    return overview(jobfile) if alone is None else more(alone.notice, jobfile)


def _fitted(build: Callable[[Measure], str], room: int | None) -> str:
    """As much as there is room for."""
    text = ""
    for measure in _MEASURES:
        text = build(measure)
        if room is None or len(text) <= room:
            return text
    return f"{text[: room - 1]}…" if room else text


def _text(letter: Letter, measure: Measure) -> str:
    """The lines as they stand in a mail."""
    parts = [_TEST, ""] if letter.test else []
    parts += _lines(letter, measure, titled=False)
    return "\n".join([*parts, "", f"More: {_more(letter)}", "", "-- ", signature(letter)])


def _lines(letter: Letter, measure: Measure, *, titled: bool) -> list[str]:
    """What there is to say; `titled`: the title has said in short what it is."""
    alone = letter.alone
    if alone is not None:
        head = why(alone.notice) if titled else sentence(alone.notice)
        return [head, *_details(alone, measure.lines)]
    parts = [] if titled else [summary(letter), ""]
    if len(letter.told) > min(IN_FULL, measure.notices) or letter.dropped:
        return parts + _list(letter, measure.notices)
    for number, told in enumerate(by_weight(letter.told)):
        parts += ["", _RULE, ""] if number else []
        parts += [sentence(told.notice), *_details(told, min(measure.lines, _LINES_IN_DIGEST))]
        parts += ["", f"More: {more(told.notice, letter.jobfile)}"]
    return parts


def _details(told: Told, lines: int) -> list[str]:
    """All that is known of a notice, below its first line."""
    about, known = description(told), facts(told)
    parts = [f"({about})"] if about else []
    if known:
        parts += ["", *(f"{label + ':':<{_LABEL}} {value}" for label, value in known)]
    tail = told.tail[-lines:] if lines else ()
    if tail:
        parts += ["", f"{output_heading(told, len(tail))}:"]
        parts += [f"    {line}".rstrip() for line in tail]
    return parts


def _list(letter: Letter, most: int) -> list[str]:
    """A line for each notice, as far as there is room for them."""
    parts: list[str] = []
    for event, told, hidden in listed(letter, most):
        parts += [*([""] if parts else []), f"{heading(event, len(told) + hidden)}:"]
        width = max((len(escaped(each.notice.job)) for each in told), default=0)
        for each in told:
            line = f"  {escaped(each.notice.job):<{width}}  {time_of_day(each)}  {in_short(each)}"
            parts.append(line.rstrip())
        if hidden:
            parts.append(f"  and {hidden:,} more")
    return parts


def _unfenced(text: str) -> str:
    """Text that cannot end the code block in which it stands."""
    return text.replace("```", "'''")
