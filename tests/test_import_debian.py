"""The crontabs of Debian's own packages, fetched from Debian: each is carried over whole, the
result is valid, and runs when cron would have run it."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from stsd.cli import main

Captured = pytest.CaptureFixture[str]

# Each has a crontab in Debian 12.
PACKAGES = [
    "amavisd-new",
    "anacron",
    "awstats",
    "cacti",
    "certbot",
    "cricket",
    "cron-apt",
    "dma",
    "e2fsprogs",
    "inn2",
    "logcheck",
    "mailman3",
    "mdadm",
    "munin",
    "munin-node",
    "ntpsec",
    "php-common",
    "roundcube-core",
    "sysstat",
    "tiger",
]
FEWEST = 15

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("apt-get") and shutil.which("dpkg")), reason="needs Debian's apt and dpkg"
    ),
]


def fetched(packages: list[str], folder: Path) -> bool:
    """Whether all of them could be downloaded."""
    command = ["apt-get", "download", *packages]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=300, check=False)
    return done.returncode == 0


def crontabs_in(archive: Path, folder: Path) -> list[Path]:
    """The crontabs in a package, which is not installed."""
    folder.mkdir()
    files = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", archive], check=True, capture_output=True, timeout=60
    ).stdout
    found = []
    with tarfile.open(fileobj=io.BytesIO(files)) as tar:
        for member in tar:
            place, _, name = member.name.rpartition("/")
            if place != "./etc/cron.d" or name.startswith("."):
                continue
            content = tar.extractfile(member)
            assert content is not None, f"{member.name} is no file"
            found.append(folder / name)
            found[-1].write_bytes(content.read())
    return sorted(found)


@pytest.fixture(scope="module")
def crontabs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """The crontabs by package, each in a cron.d of its own."""
    folder = tmp_path_factory.mktemp("debian")
    if not fetched(PACKAGES, folder):  # one that is not there spoils all
        for package in PACKAGES:
            fetched([package], folder)
    found = {}
    for archive in folder.glob("*.deb"):
        package = archive.name.partition("_")[0]
        (folder / package).mkdir()
        files = crontabs_in(archive, folder / package / "cron.d")
        found |= {package: files} if files else {}
    if not found:
        pytest.skip("needs Debian's package lists and mirrors (apt-get update)")
    return found


def test_enough_packages_are_there_to_mean_something(crontabs: dict[str, list[Path]]) -> None:
    assert len(crontabs) >= FEWEST


@pytest.mark.parametrize("package", PACKAGES)
def test_the_crontab_of_a_package_is_carried_over_whole(
    package: str,
    crontabs: dict[str, list[Path]],
    tmp_path: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if package not in crontabs:
        pytest.skip(f"this Debian has no crontab in {package}")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    jobfile = str(tmp_path / "jobs.toml")
    files = [str(path) for path in crontabs[package]]
    code = main(["import-crontab", *files, "--disabled", "--verify", "-o", jobfile])
    told = capsys.readouterr()
    assert code == 0, told.err
    assert "\nverified: " in f"\n{told.err}"
    assert main(["check", "-c", jobfile]) == 0
    expected = sum(_entries(path) for path in crontabs[package])
    assert Path(jobfile).read_text().count("\n[jobs.") >= expected > 0


def _entries(path: Path) -> int:
    """How many lines are in force, by the roughest of looks: they begin with a digit, * or @."""
    return sum(line.startswith(tuple("0123456789*@")) for line in path.read_text().splitlines())


def test_all_of_them_together_make_one_jobfile(
    crontabs: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    folder = tmp_path / "cron.d"
    folder.mkdir()
    for files in crontabs.values():
        for path in files:
            shutil.copy(path, folder)
    jobfile = str(tmp_path / "jobs.toml")
    assert main(["import-crontab", str(folder), "--verify", "-o", jobfile]) == 0
    assert main(["check", "-c", jobfile]) == 0
