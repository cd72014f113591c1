"""The table of keys, against the contract, the model and the page that is made from it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import tomli

from stsd.errors import JobfileError
from stsd.jobfile import load
from stsd.key import Group, Key
from stsd.keys import DAEMON_KEYS, JOB_KEYS
from stsd.model import Job, Output, Retry, ShellTask, When
from stsd.settings import Settings

DOCS = Path(__file__).parent.parent / "docs"
CONTRACT = """
command python args kwargs path interpreter http message cron every anchor at on_start after
timezone splay start end skip_dates skip_holidays dst description enabled tags cwd env shell umask
env_file secrets user group nice limits condition wait_for warm timeout stop_signal stop_grace retry
overlap priority success_codes max_running pools catch_up catch_up_window catch_up_limit delivery
on_log_failure output notify ping deadline max_age slow min_output
"""
DAEMON_CONTRACT = """
timezone log_dir state_dir max_running include stop_timeout pools metrics history control
"""
JOB, DAEMON = list(JOB_KEYS.values()), list(DAEMON_KEYS.values())


def jobfile_with(key: Key) -> str:
    """A jobfile with the example of a key in its place, and what it needs beside it."""
    line = f"{key.name} = {key.example}\n"
    if key.group is Group.DAEMON:
        return f"[daemon]\n{line}"
    if key.name in ("command", "python", "http", "message"):
        return f"[jobs.a]\n{line}"
    beside = 'command = "true"\n'
    if key.group is Group.WHAT:
        beside = 'python = "a:b"\n'
    elif key.name == "anchor":
        beside += "every = 60\n"
    elif key.name == "warm":
        beside = 'python = "a:b"\n'
    elif key.name == "after":
        line += '[jobs.extract]\ncommand = "true"\n'
    return f"[jobs.a]\n{beside}{line}"


def read(text: str, folder: Path) -> object:
    path = folder / "jobs.toml"
    path.write_text(text)
    return load(path, local_zone="UTC")


def test_every_key_of_the_contract_is_known_and_no_other() -> None:
    assert sorted(JOB_KEYS) == sorted(CONTRACT.split())
    assert sorted(DAEMON_KEYS) == sorted(DAEMON_CONTRACT.split())


@pytest.mark.parametrize("key", [*JOB, *DAEMON], ids=lambda key: f"{key.group.name}-{key.name}")
def test_the_example_of_a_key_is_what_its_kind_reads(key: Key) -> None:
    key.kind.read(tomli.loads(f"x = {key.example}")["x"], "/")


@pytest.mark.parametrize("key", [*JOB, *DAEMON], ids=lambda key: key.name)
def test_every_key_is_accepted(key: Key, tmp_path: Path) -> None:
    read(jobfile_with(key), tmp_path)


@pytest.mark.parametrize(
    "key",
    [key for key in [*JOB, *DAEMON] if key.default and not key.default.startswith("(")],
    ids=lambda key: key.name,
)
def test_the_default_that_is_told_is_the_models(key: Key, tmp_path: Path) -> None:
    told = key.kind.read(tomli.loads(f"x = {key.default}")["x"], "/")
    plain = Job("a", ShellTask("true"))
    homes = {
        "shell": ShellTask("true").shell,
        "args": "[]",
        "kwargs": "{}",
        "anchor": When().anchor,
        "on_start": When().on_start,
        "dst": {"gap": When().gap, "fold": When().fold},
        "retry": {"max": Retry().max},
        "output": {"max_size": Output().max_size, "tee": Output().tee},
    }
    home = Settings() if key.group is Group.DAEMON else plain
    assert told == homes.get(key.name, getattr(home, key.name, None))


def test_the_keys_that_can_be_no_default_are_few() -> None:
    no_defaults = [key.name for key in JOB if not key.in_defaults]
    assert no_defaults == ["command", "python", "args", "kwargs", "http", "message", "after"]


@pytest.mark.parametrize("key", JOB, ids=lambda key: key.name)
def test_defaults_take_every_key_but_those_few(key: Key, tmp_path: Path) -> None:
    text = f'[jobs.a]\npython = "a:b"\nevery = 60\n[defaults]\n{key.name} = {key.example}\n'
    if not key.in_defaults:
        with pytest.raises(JobfileError, match="cannot be a default"):
            read(text, tmp_path)
    else:
        read(text, tmp_path)


def test_the_reference_page_is_what_the_table_says() -> None:
    path = DOCS / "jobfile_reference.py"
    spec = importlib.util.spec_from_file_location("jobfile_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text() == module.page(), "run python docs/jobfile_reference.py"


def test_the_jobfile_of_the_reference_page_is_valid(tmp_path: Path) -> None:
    page = (DOCS / "jobfile.md").read_text()
    read(page.partition("```toml\n")[2].partition("```")[0], tmp_path)
