"""The Debian package, installed, updated, removed and purged on a machine with a real systemd.

In a container of its own, which has no other stsd. A test finds the package installed or, after
one that removed it, has it installed anew.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import stsd
from tests.system.conftest import HERE, REPOSITORY, what_is_missing
from tests.system.support import JOBFILE, Container, wait_for

pytestmark = pytest.mark.system

PACKAGE = "/root/stsd.deb"
PLACES = (
    "/etc/stsd/",
    "/lib/systemd/system/stsd.service",
    "/usr/bin/stsd",
    "/usr/lib/stsd/",
    "/usr/lib/systemd/system/stsd.service",  # the same as in /lib
    "/usr/share/bash-completion/completions/stsd",
    "/usr/share/doc/stsd/",
    "/usr/share/fish/vendor_completions.d/stsd.fish",
    "/usr/share/lintian/overrides/stsd",
    "/usr/share/man/man1/stsd.1.gz",
    "/usr/share/man/man5/stsd.toml.5.gz",
    "/usr/share/zsh/vendor-completions/_stsd",
)
# What may come into being besides while it is installed and runs.
WHILE_IT_RUNS = (
    "/etc/systemd/system/multi-user.target.wants/stsd.service",
    "/var/lib/stsd/",
    "/var/log/stsd/",
)
# The notes of dpkg, systemd, man-db and Python about whatever is installed and runs; what is in
# /root and /tmp is nobody's.
NOISE = re.compile(
    r"/(proc|sys|run|dev|tmp|root|var/(tmp|cache|log/journal|lib/(dpkg|systemd)))/"
    r"|/usr/(lib|share)/python3.*/__pycache__/"
    r"|/var/log/(dpkg\.log|alternatives\.log|wtmp|lastlog)$"
)
LONG = """
[daemon]
log_dir = "/var/log/stsd"
state_dir = "/var/lib/stsd"

[jobs.long]
command = "until [ -e /var/lib/stsd/enough ]; do sleep 0.1; done; echo unharmed"
"""


@pytest.fixture(scope="module")
def package() -> Iterator[Path]:
    """Built as `make deb` does."""
    missing = what_is_missing()
    if missing:
        pytest.skip(missing)
    for tool, name in (("dpkg-buildpackage", "dpkg-dev"), ("dh", "debhelper")):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool} (apt-get install {name})")
    with tempfile.TemporaryDirectory(prefix="stsd-deb-") as folder:
        words = [REPOSITORY / "packaging" / "deb", sys.executable, folder]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        yield Path(done.stdout.strip())


@pytest.fixture(scope="module")
def machine_files(box: Container) -> set[str]:
    """What there is before the package is first installed."""
    return files(box)


@pytest.fixture(scope="module")
def box(package: Path) -> Iterator[Container]:
    """A booted container that starts what is installed, as machines do and images do not."""
    with tempfile.TemporaryDirectory(prefix="stsdbox", dir="/var/tmp") as folder:
        container = Container(HERE / "container.sh", Path(folder, Path(folder).name))
        try:
            container.script("up")
            container.run("rm", "-f", "/usr/sbin/policy-rc.d")
            container.put(package, PACKAGE)
            yield container
        finally:
            container.script("down", check=False)


@pytest.fixture
def installed(box: Container, machine_files: set[str]) -> Container:
    if status(box) != "ii":
        box.run("dpkg", "-i", PACKAGE)
    return box


def status(box: Container) -> str:
    """Two letters: what is wished for, and what is so; see dpkg-query(1)."""
    words = ("dpkg-query", "--show", "--showformat", "${db:Status-Abbrev}", "stsd")
    return box.run(*words, check=False).stdout.strip()


def files(box: Container) -> set[str]:
    """Every file and folder of the machine's own file system, less the noise and the checkout."""
    words = ("-path", str(REPOSITORY), "-prune", "-o", "-type", "d", "-printf", "%p/\n")
    listed = box.run("find", "/", "-xdev", *words, "-o", "-print").stdout
    return {path for path in listed.splitlines() if not NOISE.match(path)}


def test_lintian_finds_nothing_that_is_not_explained(package: Path) -> None:
    if shutil.which("lintian") is None:
        pytest.skip("needs lintian (apt-get install lintian)")
    words = ["lintian", "--allow-root", "--fail-on", "warning", "--no-tag-display-limit", package]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_pages_alert_rules_and_dashboard_are_packed_as_they_are(package: Path) -> None:
    words = ["dpkg-deb", "--contents", package]
    listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    folder = "./usr/share/doc/stsd/"
    packed = {word.removeprefix(folder) for word in listed if word.startswith(folder)}
    assert {"docs/prometheus/stsd.rules.yml", "docs/grafana/stsd.json", "docs/speed.md"} <= packed
    assert {name for name in packed if name.endswith(".gz")} == {
        "changelog.gz",
        "changelog.Debian.gz",
    }


def test_installing_starts_a_service_with_no_job_enabled(installed: Container) -> None:
    assert installed.run("systemctl", "is-active", "stsd").stdout == "active\n"
    assert installed.run("systemctl", "is-enabled", "stsd").stdout == "enabled\n"
    assert installed.run("stsd", "--version").stdout == f"stsd {stsd.__version__}\n"
    told = installed.run("stsd", "status")
    assert "2 jobs: 2 disabled" in told.stdout
    assert told.stderr == ""  # as the daemon has it, not as its files do
    assert installed.run("stsd", "next", "-n", "1", "--json").stdout == ""


def test_the_packaged_unit_has_no_fault(installed: Container) -> None:
    done = installed.run("systemd-analyze", "verify", "/lib/systemd/system/stsd.service")
    assert done.stdout + done.stderr == ""


def test_manual_and_completions_are_where_they_are_looked_for(installed: Container) -> None:
    pages = installed.run("man", "--where", "stsd", "stsd.toml").stdout.split()
    assert pages == ["/usr/share/man/man1/stsd.1.gz", "/usr/share/man/man5/stsd.toml.5.gz"]
    source = ". /usr/share/bash-completion/completions/stsd; complete -p stsd"
    assert "_stsd" in installed.run("bash", "-c", source).stdout


def test_no_file_is_outside_the_standard_places(
    installed: Container, machine_files: set[str]
) -> None:
    new = files(installed) - machine_files
    assert "/usr/lib/stsd/bin/stsd" in new
    assert [path for path in sorted(new) if not path.startswith(PLACES + WHILE_IT_RUNS)] == []


def test_its_python_finds_what_the_administrator_adds(installed: Container) -> None:
    installed.write("/usr/local/lib/stsd/an_optional_part.py", "WORD = 'found'\n")
    asked = "import an_optional_part; print(an_optional_part.WORD)"
    assert installed.run("/usr/lib/stsd/bin/python3", "-c", asked).stdout == "found\n"
    installed.run("rm", "-r", "/usr/local/lib/stsd")


def test_an_update_ends_no_run_and_keeps_the_edited_jobfile(installed: Container) -> None:
    installed.write(JOBFILE, LONG)
    installed.run("systemctl", "reload", "stsd")
    installed.run("stsd", "trigger", "long")
    wait_for("the run", lambda: [line for line in installed.history() if line.get("job")])
    daemon = installed.property("MainPID")
    done = installed.run("dpkg", "-i", PACKAGE)
    assert "Unpacking stsd" in done.stdout
    wait_for("the restart in place", lambda: "restarting_in_place" in installed.journal())
    assert installed.property("MainPID") == daemon
    assert installed.run("cat", JOBFILE).stdout == LONG
    installed.run("touch", "/var/lib/stsd/enough")
    (record,) = wait_for("the end of the run", lambda: installed.finished("long"))
    assert record["outcome"] == "succeeded"
    assert installed.output(record) == "unharmed\n"


def test_removing_ends_the_service_and_keeps_jobfile_and_history(installed: Container) -> None:
    installed.write("/etc/stsd/jobs.d/more.toml", "")
    pid = installed.property("MainPID")
    installed.run("dpkg", "--remove", "stsd")
    assert status(installed) == "rc"
    assert installed.run("kill", "-0", pid, check=False).returncode != 0
    assert installed.run("sh", "-c", "command -v stsd", check=False).stdout == ""
    assert installed.run("ls", "/usr/lib/stsd", check=False).returncode != 0
    installed.run("ls", JOBFILE, "/etc/stsd/jobs.d/more.toml", "/var/log/stsd/history")


def test_purging_leaves_nothing(installed: Container, machine_files: set[str]) -> None:
    installed.run("dpkg", "--purge", "stsd")
    assert status(installed) != "rc"
    assert files(installed) - machine_files == set()
    assert machine_files - files(installed) == set()
    left = installed.run("systemctl", "show", "stsd", "-P", "LoadState", "-P", "ActiveState")
    assert left.stdout.split() == ["not-found", "inactive"]
    notes = "find /var/lib/dpkg/info /var/lib/systemd /run/systemd -name '*stsd*'"
    assert installed.run("sh", "-c", notes).stdout == ""
