"""Watches the load of the machine: the Python entry point `load:Watch` of jobs.example.toml.

An entry point that is a class gets `args` and `kwargs` when it is made; then its run() is called.
"""

from __future__ import annotations

import os


class OverloadError(RuntimeError):
    """More processes want to run than the machine has processors for."""


class Watch:
    """Compares the load average of the last five minutes with the number of processors."""

    def __init__(self, max_per_processor: float = 4.0) -> None:
        self.max_per_processor = max_per_processor

    def run(self) -> None:
        """Print the load; raise OverloadError when it is above `max_per_processor`."""
        processors = len(os.sched_getaffinity(0))
        _, load, _ = os.getloadavg()
        print(f"load {load:.2f} on {processors} processors")
        if load > self.max_per_processor * processors:
            raise OverloadError(f"{load:.2f} is more than {self.max_per_processor} a processor")
