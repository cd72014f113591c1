"""A container, and a virtual machine, in which a real systemd runs stsd as its users install it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import machine as virtual
from tests.system.support import SYSTEM_PYTHON, Container

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent


def what_is_missing() -> str:
    """Why no container can be booted here; empty when one can."""
    if os.geteuid() != 0:
        return "needs root, to boot systemd in a container"
    for tool, package in (
        ("systemd-nspawn", "systemd-container"),
        ("dbus-daemon", "dbus"),
        ("pgrep", "procps"),
        ("nsenter", "util-linux"),
    ):
        if shutil.which(tool) is None:
            return f"needs {tool} (apt-get install {package})"
    version = "import sys, venv; sys.exit(sys.version_info < (3, 11))"
    if subprocess.run([SYSTEM_PYTHON, "-c", version], capture_output=True).returncode:
        return f"needs {SYSTEM_PYTHON} to be Python 3.11 or later"
    mounting = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if subprocess.run(mounting, capture_output=True).returncode:
        return "needs the right to mount (is this an unprivileged container?)"
    return ""


def what_a_machine_lacks() -> str:
    """Why no virtual machine can be booted here; empty when one can."""
    if os.geteuid() != 0:
        return "needs root, to show a virtual machine all of this one's files"
    for tool, package in (
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("busybox", "busybox-static"),
        ("/lib/systemd/systemd", "systemd"),
    ):
        if shutil.which(tool) is None:
            return f"needs {tool} (apt-get install {package})"
    try:
        virtual.kernel()
    except FileNotFoundError as error:
        return f"{error} (apt-get install linux-image-amd64, or see tests/system/machine.py)"
    return ""


# In a mount namespace of its own, so that this machine's /opt stays as it is.
INSTALL = """
mount --make-rprivate /
mount -t tmpfs tmpfs /opt
"$1" -m venv --without-pip /opt/stsd
/opt/stsd/bin/python "$2/$4/pip" install -q --no-index --find-links "$2" stsd
tar -C / -cf "$3" opt/stsd
"""


@pytest.fixture(scope="session")
def wheels() -> Iterator[Path]:
    """stsd, all that it needs and pip as wheels, for the Python that the container has."""
    missing = what_is_missing()
    if missing:
        pytest.skip(missing)
    with tempfile.TemporaryDirectory(prefix="stsd-wheels-") as folder:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        bare = Path(folder, "bare")
        subprocess.run([SYSTEM_PYTHON, "-m", "venv", "--without-pip", bare], check=True)
        target = Path(folder, "wheels")
        subprocess.run(
            [*pip, "--python", bare, "wheel", "-q", "-w", target, REPOSITORY, "pip"],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        yield target


@pytest.fixture(scope="session")
def installed(wheels: Path) -> Path:
    """/opt/stsd as docs/install.md has it made, in an archive: an emulated processor would take
    half a minute for it."""
    archive = wheels.with_name("stsd.tar")
    (pip,) = wheels.glob("pip-*.whl")
    shell = ("unshare", "--mount", "sh", "-eu", "-c", INSTALL, "sh")
    subprocess.run(
        [*shell, SYSTEM_PYTHON, wheels, archive, pip.name], check=True, stdin=subprocess.DEVNULL
    )
    return archive


def install(box: Container, installed: Path) -> None:
    box.put(installed, "/opt/stsd.tar")
    box.run("tar", "-C", "/", "-xf", "/opt/stsd.tar")
    box.put(
        REPOSITORY / "stsd" / "templates" / "systemd" / "stsd.service",
        "/etc/systemd/system/stsd.service",
    )
    box.run("systemctl", "daemon-reload")


@pytest.fixture(scope="session")
def container(installed: Path) -> Iterator[Container]:
    """systemd has booted, and stsd and its unit are installed as docs/install.md says."""
    with tempfile.TemporaryDirectory(prefix="stsdbox", dir="/var/tmp") as folder:
        box = Container(HERE / "container.sh", Path(folder, Path(folder).name))
        try:
            box.script("up")
            install(box, installed)
            yield box
        finally:
            box.script("down", check=False)


@pytest.fixture
def unit(container: Container) -> Iterator[Container]:
    """The service is stopped before and after, and has no drop-ins, logs or jobfile."""
    container.clear()
    yield container
    container.clear()


@pytest.fixture(scope="session")
def machine(request: pytest.FixtureRequest) -> Iterator[Container]:
    """As `container`, in a virtual machine whose kernel has all controllers in cgroup v2."""
    missing = what_a_machine_lacks()
    if missing:
        pytest.skip(missing)
    installed: Path = request.getfixturevalue("installed")
    with tempfile.TemporaryDirectory(prefix="stsdvm", dir="/var/tmp") as folder:
        box = Container(HERE / "machine.py", Path(folder, "vm"))
        box.script("up")
        try:
            install(box, installed)
            yield box
        finally:
            box.script("down", check=False)
