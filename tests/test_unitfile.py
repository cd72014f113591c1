"""The units that `stsd init` writes, as systemd's own tools judge them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stsd.errors import StsdError
from stsd.unitfile import Variant, first_jobfile, reload_drop_in, unit
from tests.support import DEADLINE_S

PROGRAM = (sys.executable, "-m", "stsd")


def analyzed(*words: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze (apt-get install systemd)")
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *words],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def written(folder: Path, variant: Variant, jobfile: str | None = None) -> Path:
    path = folder / "stsd.service"
    path.write_text(unit(variant, PROGRAM, jobfile))
    return path


@pytest.mark.parametrize("variant", Variant)
def test_systemd_has_nothing_to_say_against_a_unit(
    variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = "--user" if variant is Variant.USER else "--system"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # which a user's manager asks for
    done = analyzed("verify", manager, "--man=no", written(tmp_path, variant, "/x/100%.toml"))
    said = [line for line in done.stderr.splitlines() if "stsd.service" in line]
    assert (done.returncode, said) == (0, []), done.stderr


@pytest.mark.parametrize(
    ("variant", "most"), [(Variant.SYSTEM, 3.2), (Variant.UNPRIVILEGED, 2.0)], ids=str
)
def test_a_unit_exposes_no_more_than_promised(
    variant: Variant, most: float, tmp_path: Path
) -> None:
    done = analyzed("security", "--offline=true", written(tmp_path, variant))
    level = re.search(r"Overall exposure level for \S+ ([0-9.]+)", done.stdout)
    assert level is not None, done.stderr
    assert float(level[1]) <= most


@pytest.mark.parametrize("variant", Variant)
def test_every_command_of_a_unit_is_this_installations(variant: Variant) -> None:
    commands = re.findall(r"^Exec\w+=(.*)$", unit(variant, ("/a/stsd",), "/b/jobs.toml"), re.M)
    assert commands == [
        "/a/stsd run --config /b/jobs.toml",
        "/a/stsd reload --config /b/jobs.toml",
    ]


def test_no_other_jobfile_is_named_anywhere_in_a_unit() -> None:
    for variant in Variant:
        text = unit(variant, PROGRAM, "/b/jobs.toml")
        assert set(re.findall(r"\S+\.toml", text)) == {"/b/jobs.toml"}


def test_what_systemd_expands_is_escaped() -> None:
    text = unit(Variant.SYSTEM, ("/a%b/stsd",), "/50%/jobs.toml")
    assert "ExecStart=/a%%b/stsd run --config /50%%/jobs.toml\n" in text


@pytest.mark.parametrize("path", ["/a b/stsd", "/a'/stsd", "/a$b/stsd", "/a\\b", "/a\nb", "/ä"])
def test_a_path_that_a_unit_cannot_hold_is_refused(path: str) -> None:
    with pytest.raises(StsdError, match="a unit cannot name"):
        unit(Variant.SYSTEM, (path,))


def test_the_first_jobfile_has_the_folders_that_it_is_given() -> None:
    text = first_jobfile("/l", "/s")
    assert 'log_dir = "/l"\n' in text
    assert 'state_dir = "/s"\n' in text
    assert "run/" not in text


def test_the_drop_in_replaces_how_a_reload_is_done() -> None:
    drop_in = reload_drop_in(unit(Variant.USER, ("/a/python", "-m", "stsd"), "/b/jobs.toml"))
    assert drop_in.splitlines()[-4:] == [
        "[Service]",
        "Type=notify-reload",
        "ExecReload=",
        "ExecReload=/a/python -m stsd check --config /b/jobs.toml",
    ]
