"""Who is at the other end of a Unix socket, and what they may do.

The kernel tells who connected (SO_PEERCRED and SO_PEERGROUPS of unix(7)); nothing that the peer
says of itself is believed.
"""

from __future__ import annotations

import grp
import pwd
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from stsd.protocol import Right
from stsd.settings import Access

_CREDENTIALS = struct.Struct("iII")
_PEERGROUPS = 59  # SO_PEERGROUPS of asm-generic/socket.h; Python's socket has no name for it
_MOST_BYTES = 1024  # of what Python's getsockopt returns


@dataclass(frozen=True, slots=True)
class Peer:
    """The process that connected, as it was then; `groups` with that of its `gid`."""

    pid: int
    uid: int
    gid: int
    groups: frozenset[int]

    @property
    def name(self) -> str:
        """The user's name, for a reader; `uid 4711` where it has none."""
        return _name_of(self.uid)


@dataclass(frozen=True, slots=True)
class Rights:
    """Who may do what. Root and the user `own`, who runs stsd, may do everything."""

    own: int
    users: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()
    read_users: frozenset[int] = frozenset()
    read_groups: frozenset[int] = frozenset()

    @property
    def for_others(self) -> bool:
        """Whether anybody else may do anything."""
        return bool(self.users or self.groups or self.read_users or self.read_groups)

    def is_house(self, peer: Peer) -> bool:
        """Whether the peer is root or stsd's own user."""
        return peer.uid in (0, self.own)

    def of(self, peer: Peer) -> Right | None:
        """What the peer may do; None: nothing."""
        if self.is_house(peer) or peer.uid in self.users or self.groups & peer.groups:
            return Right.CHANGE
        if peer.uid in self.read_users or self.read_groups & peer.groups:
            return Right.READ
        return None


def rights_of(access: Access, own: int) -> Rights:
    """The rights that a jobfile gives, in numbers: those that its names have now. A name that has
    gone since the jobfile was checked gives nobody a right."""
    return Rights(
        own,
        frozenset(_user_numbers(access.users)),
        frozenset(_group_numbers(access.groups)),
        frozenset(_user_numbers(access.read_users)),
        frozenset(_group_numbers(access.read_groups)),
    )


def peer_of(connection: socket.socket) -> Peer:
    """Who connected. Raises OSError."""
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(packed)
    return Peer(pid, uid, gid, frozenset({gid, *_groups(connection)}))


@lru_cache(maxsize=64)
def _name_of(uid: int) -> str:
    """Looked up once: where users come from a server, each look-up may take a while."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _groups(connection: socket.socket) -> Iterable[int]:
    """The supplementary groups. Of a member of more than 256 only the primary one counts, since
    Python cannot be told of more; that takes rights, and gives none."""
    try:
        packed = connection.getsockopt(socket.SOL_SOCKET, _PEERGROUPS, _MOST_BYTES)
    except OSError:  # ERANGE; ENOPROTOOPT before Linux 4.13
        return ()
    return struct.unpack(f"{len(packed) // 4}I", packed)


def _user_numbers(users: Iterable[str | int]) -> Iterable[int]:
    for user in users:
        try:
            yield user if isinstance(user, int) else pwd.getpwnam(user).pw_uid
        except KeyError:  # it was there when the jobfile was checked
            continue


def _group_numbers(groups: Iterable[str | int]) -> Iterable[int]:
    for group in groups:
        try:
            yield group if isinstance(group, int) else grp.getgrnam(group).gr_gid
        except KeyError:  # it was there when the jobfile was checked
            continue
