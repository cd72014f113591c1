"""Text as man(7) macros: what the man pages are written with."""

from __future__ import annotations

import re
import textwrap

_INLINE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\(([^)]+)\)|_([^_\s][^_]*)_(?!\w)")

_WIDTH = 78


def escaped(text: str) -> str:
    """Text without markup, to stand anywhere but at the start of a line."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    text = text.replace("`", r"\(ga").replace("^", r"\(ha").replace("~", r"\(ti")
    return "".join(char if char.isascii() else rf"\[u{ord(char):04X}]" for char in text)


def bold(text: str) -> str:
    """Something to be typed as it is."""
    return rf"\fB{escaped(text)}\fR"


def italic(text: str) -> str:
    """Something to be replaced by what is meant."""
    return rf"\fI{escaped(text)}\fR"


def inline(text: str) -> str:
    """A line of Markdown: code and strong words become bold; a link to the web keeps its target."""
    pieces, end = [], 0
    for match in _INLINE.finditer(text):
        code, strong, words, target, stressed = match.groups()
        pieces.append(escaped(text[end : match.start()]))
        if words:
            shown = inline(words)
            pieces.append(f"{shown} ({escaped(target)})" if "://" in target else shown)
        elif stressed:
            pieces.append(italic(stressed))
        else:
            pieces.append(bold(code or strong))
        end = match.end()
    return "".join(pieces) + escaped(text[end:])


def safe(line: str) -> str:
    """A line that is no request, whatever it starts with."""
    return rf"\&{line}" if line.startswith((".", "'")) else line


def paragraph(text: str) -> list[str]:
    """A paragraph of Markdown, a sentence a line as man(7) asks for."""
    return [".PP", *sentences(text)]


def sentences(text: str) -> list[str]:
    """The sentences of a Markdown text, each on lines of its own."""
    parts = re.split(r"(?<=[.:;?!])\s+(?=[A-Z`\[])", " ".join(text.split()))
    return [line for part in parts for line in wrapped(inline(part))]


def wrapped(text: str) -> list[str]:
    """roff as lines of a width that every editor shows."""
    lines = textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return [safe(line) for line in lines]


def entry(tag: str, text: str) -> list[str]:
    """A paragraph with a tag, which is roff already."""
    return [".TP", tag, *sentences(text)]


def verbatim(lines: list[str]) -> list[str]:
    """Lines as they stand."""
    return [".PP", ".RS 4", ".EX", *(safe(escaped(line)) for line in lines), ".EE", ".RE"]


def markdown(text: str) -> list[str]:
    """The few forms of Markdown that the pages use: headings, paragraphs, lists, code."""
    lines: list[str] = []
    for block in re.split(r"\n\n+(?=\S)", _without_blank_lines_in_code(text).strip()):
        if block.startswith("```"):
            lines += verbatim([line.replace("\0", "") for line in block.splitlines()[1:-1]])
        elif block.startswith("## "):
            lines.append(f".SH {escaped(block[3:].upper())}")
        elif block.startswith("- "):
            for item in re.split(r"\n- ", block[2:]):
                lines += [r".IP \(bu 2", *sentences(item)]
        else:
            lines += paragraph(block)
    return lines


def _without_blank_lines_in_code(text: str) -> str:
    return re.sub(
        r"^```.*?^```$",
        lambda match: re.sub(r"\n(?=\n)", "\n\0", match[0]),
        text,
        flags=re.MULTILINE | re.DOTALL,
    )
