"""A delivery as a mail's HTML: readable on a phone, in the dark, and without anything fetched.

Styles are inline, since mail readers drop others; colours for the dark are in the head for those
readers that heed them. Its words are in the order and the elements from which a plain text can be
made that reads well, which is what becomes of it where nobody shows HTML.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from stsd.letter import Letter, Told
from stsd.notices import Event
from stsd.noticetext import IN_FULL, listed, signature, test_notice
from stsd.noticewords import (
    by_weight,
    description,
    facts,
    heading,
    headline,
    in_short,
    more,
    output_heading,
    overview,
    subject,
    summary,
    time_of_day,
    why,
)
from stsd.units import escaped

_MOST = 30
_LINES_IN_DIGEST = 6
# Of an event by its class, whose colour in the dark is in the head; all others are warnings.
_CLASSES = {Event.HELD: "grave", Event.FAILED: "grave", Event.RECOVERED: "good"}
_COLOURS = {"grave": "#cf222e", "warning": "#9a6700", "good": "#1a7f37"}

_SANS = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_MONO = "font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
_ANYWHERE = "overflow-wrap:anywhere;word-break:break-word"
# Between lines that are blocks: for those who do not heed styles, and for the plain text that is
# made of the page, in which a block would have blank lines around it.
_BREAK = '<br style="display:none">'
_DARK = """\
:root{color-scheme:light dark;supported-color-schemes:light dark}
@media (prefers-color-scheme:dark){
.page{background:#0d1117!important}
.card{background:#161b22!important;color:#e6edf3!important;border-top-color:#30363d!important;
border-right-color:#30363d!important;border-bottom-color:#30363d!important}
.grave{color:#ff7b72!important}
.warning{color:#e3b341!important}
.good{color:#56d364!important}
.soft{color:#9198a1!important}
.code{background:#0d1117!important;color:#e6edf3!important;border-color:#30363d!important}
.rule{border-color:#30363d!important}
.test{background:#3b2e00!important;color:#f2cc60!important}
}"""


def page(letter: Letter) -> str:
    """The whole document."""
    body = "\n".join(_cards(letter))
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(subject(letter))}</title>
<style>
{_DARK}
</style>
</head>
<body class="page" style="margin:0;padding:0;background:#f0f2f5">
<div class="page" style="background:#f0f2f5;padding:16px 8px;{_SANS};\
font-size:15px;line-height:1.5">
<div style="max-width:640px;margin:0 auto">
{body}
<p class="soft" style="margin:12px 4px 0;font-size:13px;color:#59636e;{_ANYWHERE}">\
{_text(signature(letter))}</p>
</div>
</div>
</body>
</html>
"""


def _cards(letter: Letter) -> Iterator[str]:
    if test := test_notice(letter):
        yield (
            '<p class="test" style="margin:0 0 12px;padding:8px 16px;border-radius:6px;'
            f'background:#fff8c5;color:#4d3800">{_text(test)}</p>'
        )
    alone = letter.alone
    if alone is not None:
        yield _card(alone.notice.event, _whole(alone, alone.tail, letter.jobfile))
        return
    yield (
        f'<h1 style="margin:4px 4px 12px;font-size:19px;line-height:1.3;{_ANYWHERE}" class="soft">'
        f"{_text(summary(letter))}</h1>"
    )
    if len(letter.told) <= IN_FULL and not letter.dropped:
        for told in by_weight(letter.told):
            tail = told.tail[-_LINES_IN_DIGEST:]
            yield _card(told.notice.event, _whole(told, tail, letter.jobfile))
        return
    for event, group, hidden in listed(letter, _MOST):
        yield _card(event, _list(event, group, hidden))
    yield f'<div style="margin:0 4px">{_command(overview(letter.jobfile))}</div>'


def _card(event: Event, inside: str) -> str:
    colour = _COLOURS[_class(event)]
    return (
        '<div class="card" style="margin:0 0 12px;background:#ffffff;color:#1f2328;'
        f"border:1px solid #d1d9e0;border-left:5px solid {colour};border-radius:6px;"
        f'padding:14px 16px 16px">\n{inside}\n</div>'
    )


def _whole(told: Told, tail: tuple[str, ...], jobfile: str) -> str:
    """One notice with all that is known of it."""
    notice = told.notice
    parts = [
        _heading(notice.event, "margin:0;font-size:19px;line-height:1.3", headline(notice)),
    ]
    if reason := why(notice):
        parts.append(f'<p style="margin:4px 0 0;{_ANYWHERE}">{_text(reason)}</p>')
    if about := description(told):
        parts.append(
            '<p class="soft" style="margin:4px 0 0;font-size:14px;color:#59636e;'
            f'{_ANYWHERE}">{_text(about)}</p>'
        )
    if known := _facts(told):
        parts.append(known)
    if tail:
        parts.append(
            '<p class="soft" style="margin:12px 0 4px;font-size:13px;color:#59636e">'
            f"{_text(output_heading(told, len(tail)))}</p>"
        )
        lines = "\n".join(map(_text, tail))
        parts.append(
            '<pre class="code" style="margin:0;padding:8px 10px;background:#f6f8fa;color:#1f2328;'
            f"border:1px solid #d1d9e0;border-radius:4px;{_MONO};font-size:12px;line-height:1.45;"
            f'white-space:pre-wrap;{_ANYWHERE}">{lines}</pre>'
        )
    parts.append(_command(more(notice, jobfile)))
    return "\n".join(parts)


def _facts(told: Told) -> str:
    """A line each, the label standing out to the left of however many lines the value takes."""
    lines = [
        f'<span style="display:block;padding:1px 0 1px 6em;text-indent:-6em;{_ANYWHERE}">'
        '<span class="soft" style="display:inline-block;width:5.7em;text-indent:0;'
        f'color:#59636e">{_text(label)}:</span> {_text(value)}</span>'
        for label, value in facts(told)
    ]
    return (
        f'<div style="margin:12px 0 0;font-size:14px">{_BREAK.join(lines)}</div>' if lines else ""
    )


def _command(words: str) -> str:
    return (
        '<div style="margin:12px 0 0;font-size:14px"><span class="soft" style="color:#59636e">'
        f'More:</span> <span class="code" style="padding:2px 6px;background:#f6f8fa;color:#1f2328;'
        f"border:1px solid #d1d9e0;border-radius:4px;{_MONO};font-size:12px;"
        f'{_ANYWHERE}">{_text(words)}</span></div>'
    )


def _list(event: Event, group: list[Told], hidden: int) -> str:
    """A line or two for each notice of a kind."""
    words = heading(event, len(group) + hidden)
    title = _heading(event, "margin:0 0 4px;font-size:16px", words[0].upper() + words[1:])
    lines = [
        f"<b>{_text(escaped(told.notice.job))}</b> "
        f'<span class="soft" style="color:#59636e">{_text(time_of_day(told))}</span> '
        f"{_text(in_short(told))}"
        for told in group
    ]
    if hidden:
        lines.append(f'<span class="soft" style="color:#59636e">and {hidden:,} more</span>')
    rule = "display:block;padding:6px 0;border-top:1px solid #eaeef2"
    rows = [f'<span class="rule" style="{rule};{_ANYWHERE}">{line}</span>' for line in lines]
    return f'{title}\n<div style="font-size:14px">{_BREAK.join(rows)}</div>'


def _heading(event: Event, style: str, words: str) -> str:
    name = _class(event)
    return (
        f'<h2 class="{name}" style="{style};color:{_COLOURS[name]};{_ANYWHERE}">{_text(words)}</h2>'
    )


def _class(event: Event) -> str:
    return _CLASSES.get(event, "warning")


def _text(text: str) -> str:
    return escape(text, quote=True)
