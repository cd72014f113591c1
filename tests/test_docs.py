"""The pages: links lead somewhere, and what they show holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stsd.jobfile import load

REPOSITORY = Path(__file__).parent.parent
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")])
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)")
TOML = re.compile(r"^```toml\n(.*?)^```$", re.M | re.S)
TARGET = re.compile(r"(?:^|[`(])make ([a-z]+)", re.M)


def page_name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = LINK.findall(page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_readme_leads_to_every_page() -> None:
    links = LINK.findall((REPOSITORY / "README.md").read_text())
    assert {page_name(page) for page in PAGES} - set(links) == {"README.md"}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.M))
    assert set(TARGET.findall(page.read_text())) <= targets


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(block, id=f"{page_name(page)}-{number}")
        for page in PAGES
        for number, block in enumerate(TOML.findall(page.read_text()), 1)
    ],
)
def test_every_jobfile_in_the_pages_is_valid(example: str, tmp_path: Path) -> None:
    jobfile = tmp_path / "jobs.toml"
    jobfile.write_text(example)
    load(jobfile, local_zone="Europe/Berlin")
