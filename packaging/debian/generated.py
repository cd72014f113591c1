"""Prints the files of the Debian package that are made from stsd's own templates.

Run by the Python that the package will have, so that it is the packaged stsd that is asked.
"""

from __future__ import annotations

import re
import sys

from stsd.unitfile import Variant, first_jobfile, unit

_TABLE = re.compile(r"^\[jobs\..+\]$", re.MULTILINE)
_OFF = "enabled = false                  # until this line is deleted"
_DESCRIPTION = re.compile(r"^Description=.*$", re.MULTILINE)
_MANUAL = "Documentation=man:stsd(1) man:stsd.toml(5)"


def main(what: str) -> None:
    """Print the unit, or a jobfile none of whose jobs is enabled: installing a package is not to
    run anything that nobody has asked for."""
    match what:
        case "unit":
            text = unit(Variant.SYSTEM, ("/usr/bin/stsd",))
            print(_DESCRIPTION.sub(rf"\g<0>\n{_MANUAL}", text), end="")
        case "jobfile":
            text = first_jobfile("/var/log/stsd", "/var/lib/stsd")
            print(_TABLE.sub(rf"\g<0>\n{_OFF}", text), end="")
        case _:
            sys.exit(f"{what} is neither unit nor jobfile")


main(sys.argv[1])
