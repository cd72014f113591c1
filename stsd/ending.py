"""What the end of a child says: its status, what it has used, and in words what it died of.

Waits for nothing itself; `status` and `usage` are those of wait4(2).
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Sequence
from dataclasses import replace

from stsd.capture import masked
from stsd.cgroups import Usage
from stsd.messages import Exited
from stsd.model import Limits
from stsd.units import format_duration, format_size

# What the launcher's own children have used before they become what they are to be.
LAUNCHED_PEAK_KIB = 16 * 1024
# The kernel adds up what each processor counts of a process's pages, and a little late.
COUNTING_ERROR_KIB = 1024
_WORDS_AT_MOST = 1000
_MASK = "***"


def exited(
    run_id: str,
    output: str,
    ended: tuple[int, resource.struct_rusage] | None,
    known_peak_kib: int,
) -> Exited:
    """The end of a run as far as wait4 tells; `ended` is None where somebody else has waited.

    Its peak memory is told where it is clearly above `known_peak_kib`: on exec the kernel carries
    over the peak of the memory that the caller had.
    """
    if ended is None:
        return Exited(run_id, None, None, None, None, output, 0)
    status, usage = ended
    code = os.waitstatus_to_exitcode(status)
    known = usage.ru_maxrss > known_peak_kib + COUNTING_ERROR_KIB
    return Exited(
        run_id=run_id,
        exit_code=code if code >= 0 else None,
        signal=_signal_name(-code) if code < 0 else None,
        cpu_s=usage.ru_utime + usage.ru_stime,
        max_rss_bytes=usage.ru_maxrss * 1024 if known else None,
        output=output,
        output_bytes=0,
    )


def own_peak_kib() -> int:
    """VmHWM of proc_pid_status(5). getrusage would add the peak of whatever started stsd."""
    with open("/proc/self/status", "rb", buffering=0) as file:
        content = file.read(8192)
    return int(content.partition(b"VmHWM:")[2].split(maxsplit=1)[0])


def with_usage(exited: Exited, usage: Usage | None) -> Exited:
    """With what the control group has counted, which is all of the run's processes together."""
    if usage is None:
        return exited
    return replace(
        exited,
        cpu_s=exited.cpu_s if usage.cpu_s is None else usage.cpu_s,
        max_rss_bytes=exited.max_rss_bytes if usage.peak_bytes is None else usage.peak_bytes,
    )


def limit_met(exited: Exited, limits: Limits | None, usage: Usage | None) -> str | None:
    """Which limit a run has died of, in words; None where that is not known, as the limits of a
    run that an earlier daemon started are not."""
    if usage is not None and usage.out_of_memory and exited.exit_code != 0:
        limit = limits.memory if limits is not None else None
        return "killed: out of memory" + (f" (limit {format_size(limit)})" if limit else "")
    if limits is None:
        return None
    if exited.signal == "SIGXCPU" and limits.cpu_time is not None:
        return f"killed: out of processor time (limit {format_duration(limits.cpu_time)})"
    if exited.signal == "SIGXFSZ" and limits.file_size is not None:
        return f"killed: a file grew too large (limit {format_size(limits.file_size)})"
    return None


def last_words(fd: int, start: int, hide: Sequence[str]) -> str | None:
    """What a child has written behind the `start` bytes of its standard input, a file in memory;
    without what is to be hidden."""
    text = os.pread(fd, 4 * _WORDS_AT_MOST, start)
    for secret in masked(hide):
        text = text.replace(secret, _MASK.encode())
    return text.decode(errors="replace")[:_WORDS_AT_MOST] or None


def _signal_name(number: int) -> str:
    known = {known.value for known in signal.Signals}
    if number in known:
        return signal.Signals(number).name
    return f"SIGRTMIN+{number - signal.SIGRTMIN}"
