"""A mail's HTML, as a browser lays it out: on a phone and on a desk, by day and by night."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from stsd.noticehtml import page
from tests.support_notices import EVERY, FAILED, MANY, TEST, THREE, letter, notice, told

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="needs a browser (apt-get install chromium)"
)

# What a browser makes of the page: how wide it is, what stands out of it, and the weakest contrast
# of a text with what is behind it (WCAG 2.2, 1.4.3).
MEASURE = """
<script>
function light(colour) {
  const part = colour.match(/[\\d.]+/g).slice(0, 3).map(value => {
    const share = value / 255;
    return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
}
function behind(element) {
  for (; element; element = element.parentElement) {
    const colour = getComputedStyle(element).backgroundColor;
    if (!/, 0\\)$/.test(colour)) return colour;
  }
  return "rgb(255, 255, 255)";
}
const found = {inner: innerWidth, width: document.documentElement.scrollWidth, texts: 0,
               contrast: 99, weakest: "", outside: [], hosts: []};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const text = walker.currentNode.data.trim(), element = walker.currentNode.parentElement;
  if (!text || element.tagName === "SCRIPT") continue;
  found.texts += 1;
  const box = element.getBoundingClientRect();
  if (box.right > innerWidth + 0.5 || box.left < -0.5) found.outside.push(text);
  const a = light(getComputedStyle(element).color), b = light(behind(element));
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (contrast < found.contrast) { found.contrast = contrast; found.weakest = text; }
}
found.hosts = performance.getEntriesByType("resource").map(entry => entry.name);
parent.document.documentElement.setAttribute("data-found", JSON.stringify(found));
</script>
"""


def laid_out(html: str, folder: Path, width: int, *, dark: bool = False) -> dict[str, Any]:
    """What chromium says of the page in a window of that width: in a frame, since its own windows
    do not get as narrow as a phone."""
    frame = escape(html.replace("</body>", f"{MEASURE}</body>"))
    file = folder / "page.html"
    file.write_text(
        '<!DOCTYPE html><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        f'<iframe srcdoc="{frame}" style="border:0;width:{width}px;height:900px"></iframe>'
    )
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM,
            *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            f"--user-data-dir={folder / 'profile'}",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            "--dump-dom",
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    match = re.search(r'data-found="([^"]*)"', done.stdout)
    assert match is not None, done.stdout[-2000:]
    found: dict[str, Any] = json.loads(unescape(match[1]))
    assert found["inner"] == width
    return found


class Outline(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def outline(html: str) -> Outline:
    parser = Outline()
    parser.feed(html)
    return parser


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("name", EVERY)
def test_a_page_fits_its_window_and_can_be_read(name: str, width: int, tmp_path: Path) -> None:
    for dark in (False, True):
        found = laid_out(page(EVERY[name]), tmp_path, width, dark=dark)
        assert found["width"] <= width
        assert found["outside"] == []
        assert found["contrast"] >= 4.5, found["weakest"]
        assert found["texts"] > 3
        assert found["hosts"] == []


@needs_chromium
@pytest.mark.slow
def test_the_measure_tells_night_from_day_and_wide_from_narrow(tmp_path: Path) -> None:
    by_day = laid_out(page(FAILED), tmp_path, 400)
    by_night = laid_out(page(FAILED), tmp_path, 400, dark=True)
    assert by_day["contrast"] != by_night["contrast"]
    wide = page(FAILED).replace("overflow-wrap:anywhere;word-break:break-word", "white-space:pre")
    assert laid_out(wide, tmp_path, 400)["width"] > 400


@pytest.mark.parametrize("name", EVERY)
def test_nothing_is_fetched_and_nothing_runs(name: str) -> None:
    html = page(EVERY[name])
    found = outline(html)
    assert {tag for tag, _ in found.elements}.isdisjoint(
        {"script", "img", "link", "iframe", "form", "object", "a", "base"}
    )
    attributes = {attribute for _, known in found.elements for attribute in known}
    assert attributes <= {"lang", "charset", "name", "content", "class", "style"}
    assert "url(" not in html
    assert "://" not in html


def test_what_a_job_prints_is_text() -> None:
    found = outline(page(FAILED))
    assert '<script>alert("1")</script> & more' in found.text
    assert "\x1b" not in page(FAILED)


def test_no_word_from_outside_leaves_its_place() -> None:
    evil = '"><script>x</script><b onload="y'
    known = letter(told(notice(why=evil, error=evil, run=evil), description=evil), host=evil)
    plain = [tag for tag, _ in outline(page(FAILED)).elements]
    assert [tag for tag, _ in outline(page(known)).elements] == plain


def test_a_digest_of_few_tells_each_in_full_and_the_gravest_first() -> None:
    text = outline(page(THREE)).text
    places = [
        text.index(words) for words in ("backup failed", "report is late", "backup recovered")
    ]
    assert places == sorted(places)
    assert "100%" in text


def test_a_digest_of_many_shows_some_and_counts_the_rest() -> None:
    html = page(MANY)
    text = outline(html).text
    assert text.count("import.") == 26
    assert "Failed (490)" in text
    assert "and 464 more" in text
    assert "12 more that were not kept" in text
    assert len(html) < 32 * 1024


def test_a_test_is_said_to_be_one() -> None:
    assert "This is a test" in outline(page(TEST)).text
    assert "This is a test" not in outline(page(FAILED)).text
