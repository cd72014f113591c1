"""Finds the addresses of one host in a child: `PYTHON -I -S lookup.py HOST`.

A process of its own, because the resolver of the C library blocks, and because the daemon has no
threads. Stands alone. Prints `+ADDRESS` lines, or one line `-WHY`; a resolver that takes too long
ends it before it has printed anything.
"""

from __future__ import annotations

import signal
import socket
import sys

LONGEST_S = 5


def addresses(host: str) -> list[str]:
    """The numeric addresses of a host, in the order to try them. Raises OSError, UnicodeError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    return list(dict.fromkeys(socket.getnameinfo(address, numeric)[0] for *_, address in found))


def main() -> None:
    """Look up what the one argument says."""
    signal.alarm(LONGEST_S)
    try:
        lines = [f"+{address}" for address in addresses(sys.argv[1])]
    except socket.gaierror as error:
        lines = [f"-{error.strerror}"]
    except UnicodeError:
        lines = ["-it is not a host name"]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
