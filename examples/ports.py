"""Looks whether services answer: the Python entry point `ports:probe` of jobs.example.toml.

An entry point that is a coroutine function is run by asyncio; this one asks all services at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence


class ServiceDownError(RuntimeError):
    """A service that has to answer does not."""


async def is_open(address: str, patience: float) -> bool:
    """Whether `HOST:PORT` accepts a TCP connection within `patience` seconds."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(patience):
            _, writer = await asyncio.open_connection(host, int(port))
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def probe(
    addresses: Sequence[str], required: Sequence[str] = (), patience: float = 2.0
) -> None:
    """Print which addresses are open; raise ServiceDownError when one of `required` is not."""
    asked = [*addresses, *(address for address in required if address not in addresses)]
    answers = await asyncio.gather(*(is_open(address, patience) for address in asked))
    found = dict(zip(asked, answers, strict=True))
    for address, is_up in found.items():
        print(f"{address} {'is open' if is_up else 'does not answer'}")
    down = [address for address in required if not found[address]]
    if down:
        raise ServiceDownError(f"{', '.join(down)} must answer, and does not")
