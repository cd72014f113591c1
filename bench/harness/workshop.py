"""Where the peers come from: compiles the small C programs, makes virtual environments, unpacks
packages. Never installs anything into the machine itself, and starts no service.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).with_name("c")
REPOSITORY = Path(__file__).parent.parent.parent


class NotHereError(Exception):
    """A peer cannot be had on this machine; the message says why, and what would help."""


class Workshop:
    """A folder in which all that is once made stays for the next time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)

    def program(self, name: str) -> Path:
        """One of the C programs, static: a start costs the kernel's work, no linker's."""
        source, made = SOURCES / f"{name}.c", self.folder / name
        if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
            draft = made.with_suffix(".new")
            _do("gcc", ["gcc", "-O2", "-static", "-Wall", "-Wextra", "-o", draft, source])
            draft.rename(made)
        return made

    def environment(self, name: str, *requirements: str, declared: str = "") -> Path:
        """The bin folder of a virtual environment with these packages; one that is here has
        `declared` what it needs."""
        folder = self.folder / "venvs" / name
        stamp = folder / ".made"
        wanted = "\n".join([*requirements, declared])
        if not stamp.exists() or stamp.read_text() != wanted:
            print(f"installing {', '.join(requirements)}", file=sys.stderr)
            _do("venv", [sys.executable, "-m", "venv", "--clear", folder])
            pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
            _do("pip", [*pip, "--disable-pip-version-check", *requirements])
            stamp.write_text(wanted)
        return folder / "bin"

    def stsd(self) -> Path:
        """The bin folder of an environment with stsd as its users have it, and nothing else: some
        development tools bring what makes an import of stsd's dependencies longer."""
        declared = (REPOSITORY / "pyproject.toml").read_text()
        return self.environment("stsd", "--editable", str(REPOSITORY), declared=declared)

    def version(self, environment: Path, package: str) -> str:
        """Of a package in such an environment."""
        code = f"from importlib.metadata import version as v; print(v({package!r}))"
        return _do("python", [environment / "python", "-c", code]).strip()

    def debian(self, package: str) -> Path:
        """The folder into which a package of Debian's has been unpacked."""
        folder = self.folder / "debian" / package
        if not folder.exists():
            download = self.folder / "debian"
            download.mkdir(exist_ok=True)
            print(f"unpacking Debian's {package}", file=sys.stderr)
            _do("apt-get", ["apt-get", "download", "-q", package], cwd=download)
            draft = folder.with_suffix(".new")
            shutil.rmtree(draft, ignore_errors=True)
            _do("dpkg", ["dpkg", "-x", next(download.glob(f"{package}_*.deb")), draft])
            draft.rename(folder)
        return folder


def needs(*tools: str) -> None:
    """Raises NotHereError, naming the first that is missing."""
    for tool in tools:
        if shutil.which(tool) is None:
            raise NotHereError(f"needs {tool}")


def _do(tool: str, command: list[str | Path], cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
        )
    except FileNotFoundError as error:
        raise NotHereError(f"needs {error.filename}") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout).strip().splitlines()[-1:]
        raise NotHereError(f"{tool} failed: {' '.join(last)}") from error
    return done.stdout
