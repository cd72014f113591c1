"""Debian's cron, in a mount namespace of its own: neither installed nor told to systemd, and what
the machine has in /etc/cron.d stays out of it."""

from __future__ import annotations

import os
from typing import ClassVar

from harness.cage import Cage
from harness.peers.base import Peer, moment
from harness.work import Case, Once
from harness.workshop import NotHereError, needs

# It reads no more than that of one file.
LINES_AT_MOST = 900

# $1: the unpacked package, $2: the folder with the tables.
LIVE = """
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/etc /mnt/work
mount -t overlay overlay /etc -o lowerdir=/etc,upperdir=/mnt/etc,workdir=/mnt/work
rm -rf /etc/cron.d /etc/crontab
mkdir /etc/cron.d
cp "$2"/* /etc/cron.d/
cp "$1/etc/pam.d/cron" /etc/pam.d/cron
mount -t tmpfs tmpfs /var/spool
mkdir -p /var/spool/cron/crontabs
mount -t tmpfs tmpfs /run
exec "$1/usr/sbin/cron" -f
"""


class DebianCron(Peer):
    name: ClassVar[str] = "Debian's cron"
    grain_s: ClassVar[int] = 60

    def install(self) -> str:
        if os.geteuid() != 0:
            raise NotHereError("needs root, for a mount namespace")
        needs("unshare", "apt-get", "dpkg")
        self._package = self.workshop.debian("cron")
        deb = next(self._package.parent.glob("cron_*.deb"))
        return deb.name.split("_")[1]

    def start(self, case: Case) -> Cage:
        lines = []
        for job in case.jobs:
            assert isinstance(job.when, Once)
            at = moment(job.when.at)
            lines.append(f"{at.minute} {at.hour} * * * root {' '.join(case.argv(job))}\n")
        tables = case.folder / "cron.d"
        tables.mkdir()
        for first in range(0, len(lines), LINES_AT_MOST):
            part = "".join(lines[first : first + LINES_AT_MOST])
            (tables / f"bench{first}").write_text(f'MAILTO=""\n{part}')
        command = ["unshare", "--mount", "sh", "-euc", LIVE, "sh", str(self._package), str(tables)]
        return self.run(case, command)
