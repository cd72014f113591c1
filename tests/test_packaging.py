"""The wheel and the sdist, and the ways in which people install the wheel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import stsd

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parent.parent
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def call(*words: str | Path, **environment: str) -> str:
    """What the command prints; AssertionError with all of it when it fails."""
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make dist` makes: the sdist, and a wheel of what is in the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--quiet", "--outdir", folder, REPOSITORY)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pipx and uv in it."""
    folder = tmp_path_factory.mktemp("installers")
    call(sys.executable, "-m", "venv", "--without-pip", folder)
    pip = [*PIP, "--python", folder, "install", "pipx", "uv"]
    done = subprocess.run(pip, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if "No matching distribution found" in done.stderr:
        pytest.skip("pip finds no pipx and no uv: is there no network?")
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def check_installation(home: Path) -> None:
    """It answers with what it reads from its package: version, schema and templates."""
    program = home / ".local" / "bin" / "stsd"
    assert call(program, "--version") == f"stsd {stsd.__version__}\n"
    assert "jobs" in json.loads(call(program, "schema"))["properties"]
    unit = call(program, "init", "--print", "--systemd")
    assert f"ExecStart={program} run --config /etc/stsd/jobs.toml" in unit.splitlines()


def test_the_sdist_holds_all_that_the_wheel_is_made_of(dist: Path, wheel: Path) -> None:
    call(*PIP, "wheel", "--no-deps", "--wheel-dir", dist / "directly", REPOSITORY)
    assert (dist / "directly" / wheel.name).read_bytes() == wheel.read_bytes()


def test_pipx_installs_the_command_and_its_manual(
    wheel: Path, installers: Path, tmp_path: Path
) -> None:
    words = ("install", "--backend", "pip", "--python", sys.executable, wheel)
    call(installers / "pipx", *words, HOME=str(tmp_path))
    check_installation(tmp_path)
    assert (tmp_path / ".local" / "share" / "man" / "man1" / "stsd.1").is_file()


def test_uv_installs_the_command(wheel: Path, installers: Path, tmp_path: Path) -> None:
    words = ("tool", "install", "--no-python-downloads", "--python", sys.executable, wheel)
    call(installers / "uv", *words, HOME=str(tmp_path))
    check_installation(tmp_path)
