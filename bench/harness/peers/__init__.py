"""The schedulers that are measured, each with an adapter of its own."""

from __future__ import annotations

from harness.peers.base import Peer
from harness.peers.celery_beat import CeleryBeat
from harness.peers.debian_cron import DebianCron
from harness.peers.in_process import APScheduler, Schedule
from harness.peers.loop import Loop
from harness.peers.stsd import Stsd, StsdAllAtOnce
from harness.peers.systemd_timers import SystemdTimers
from harness.peers.yaml_crons import Cronstable, Yacron

PEERS: dict[str, type[Peer]] = {
    "stsd": Stsd,
    "stsd-wide": StsdAllAtOnce,
    "loop": Loop,
    "cron": DebianCron,
    "systemd": SystemdTimers,
    "cronstable": Cronstable,
    "yacron": Yacron,
    "apscheduler": APScheduler,
    "schedule": Schedule,
    "celery": CeleryBeat,
}

# For a quick look: yacron takes a minute to be measured at all, and lives on as cronstable.
QUICK_PEERS = [name for name in PEERS if name not in ("stsd-wide", "yacron")]
