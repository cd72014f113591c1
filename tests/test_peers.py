"""Who is at the other end of a socket, and what the jobfile lets them do."""

from __future__ import annotations

import grp
import os
import pwd
import socket
from pathlib import Path

import pytest

from stsd.jobfile import load
from stsd.peers import Peer, Rights, peer_of, rights_of
from stsd.protocol import Right
from stsd.settings import Access
from tests.support_socket import as_user, asking, hosting, reachable_folder

ALICE, STAFF, OPS = 4711, 4712, 4713

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


def peer(uid: int, *groups: int) -> Peer:
    return Peer(1, uid, groups[0] if groups else 99, frozenset(groups))


def test_root_and_the_own_user_may_do_everything() -> None:
    rights = Rights(own=1000)
    assert rights.of(peer(0)) is Right.CHANGE
    assert rights.of(peer(1000)) is Right.CHANGE


def test_others_may_do_nothing_by_default() -> None:
    assert Rights(own=1000).of(peer(ALICE, STAFF)) is None
    assert not Rights(own=1000).for_others


def test_a_named_user_may_do_everything() -> None:
    assert Rights(1000, users=frozenset({ALICE})).of(peer(ALICE)) is Right.CHANGE


def test_a_member_of_a_named_group_may_do_everything() -> None:
    rights = Rights(1000, groups=frozenset({OPS}))
    assert rights.of(peer(ALICE, STAFF, OPS)) is Right.CHANGE
    assert rights.of(peer(ALICE, STAFF)) is None


def test_readers_may_only_look() -> None:
    rights = Rights(1000, read_users=frozenset({ALICE}), read_groups=frozenset({OPS}))
    assert rights.of(peer(ALICE)) is Right.READ
    assert rights.of(peer(4799, OPS)) is Right.READ


def test_the_greater_right_counts() -> None:
    rights = Rights(1000, groups=frozenset({OPS}), read_users=frozenset({ALICE}))
    assert rights.of(peer(ALICE, OPS)) is Right.CHANGE


def test_names_become_numbers() -> None:
    user, group = pwd.getpwuid(1), grp.getgrgid(1)
    rights = rights_of(Access(users=(user.pw_name, 7), read_groups=(group.gr_name, 8)), 1000)
    assert rights == Rights(1000, users=frozenset({1, 7}), read_groups=frozenset({1, 8}))


def test_a_name_that_has_gone_gives_nobody_a_right() -> None:
    access = Access(users=("no-such-user",), groups=("no-such-group",))
    assert rights_of(access, 1000) == Rights(1000)


def test_a_jobfile_says_who_may(tmp_path: Path) -> None:
    path = tmp_path / "jobs.toml"
    path.write_text('[daemon]\ncontrol = { users = 7, read_groups = ["root", 8] }\n')
    access = load(path, local_zone="UTC").settings.control
    assert access == Access(users=(7,), read_groups=("root", 8))


def test_the_kernel_tells_who_connected() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        told = peer_of(ours)
    assert (told.pid, told.uid, told.gid) == (os.getpid(), os.geteuid(), os.getegid())
    assert told.groups == {os.getegid(), *os.getgroups()}


def test_a_peer_has_the_name_of_its_user() -> None:
    assert peer(0).name == pwd.getpwuid(0).pw_name
    assert peer(3_999_999_999).name == "uid 3999999999"


@only_root
def test_a_supplementary_group_of_a_real_process_counts() -> None:
    with reachable_folder() as folder, hosting(folder, Rights(0, groups=frozenset({OPS}))) as host:
        answers = as_user(host, ALICE, STAFF, [1, OPS, 2], asking(host.path, "reload"))
    assert answers == [{"answer": {"do": "reload"}}]
    assert host.requests[0].peer.uid == ALICE
    assert host.requests[0].peer.groups == {STAFF, 1, OPS, 2}


@only_root
def test_of_a_member_of_very_many_groups_only_the_primary_one_counts() -> None:
    many = [*range(5000, 5300), OPS]
    rights = Rights(0, groups=frozenset({OPS}), read_groups=frozenset({STAFF}))
    with reachable_folder() as folder, hosting(folder, rights) as host:
        looked, ordered = as_user(host, ALICE, STAFF, many, asking(host.path, "hello", "reload"))
    assert "answer" in looked
    assert ordered["error"]["kind"] == "forbidden"


@only_root
def test_a_real_reader_may_look_and_may_not_give_orders() -> None:
    rights = Rights(0, read_users=frozenset({ALICE}))
    with reachable_folder() as folder, hosting(folder, rights) as host:
        looked, ordered = as_user(host, ALICE, STAFF, [], asking(host.path, "status", "reload"))
    assert looked == {"answer": {"do": "status"}}
    assert ordered["error"]["kind"] == "forbidden"
    assert f"{ALICE} may not reload" in ordered["error"]["message"]
    assert [request.do for request in host.requests] == ["status"]
    assert host.requests[0].may is Right.READ


@only_root
def test_a_real_stranger_is_told_so_where_others_may_connect() -> None:
    rights = Rights(0, read_users=frozenset({ALICE}))
    with reachable_folder() as folder, hosting(folder, rights) as host:
        (answer,) = as_user(host, 4799, STAFF, [], asking(host.path, "hello"))
    assert answer["error"]["kind"] == "forbidden"
    assert "daemon.control" in answer["error"]["message"]
    assert host.requests == []


@only_root
def test_a_real_stranger_cannot_even_connect_where_nobody_else_may() -> None:
    with reachable_folder() as folder, hosting(folder) as host:
        assert as_user(host, ALICE, STAFF, [], asking(host.path, "hello")) == "PermissionError"


@only_root
def test_a_reload_opens_the_socket_to_others_and_closes_it_again() -> None:
    with reachable_folder() as folder, hosting(folder) as host:
        host.control.permit(Rights(0, users=frozenset({ALICE})))
        assert as_user(host, ALICE, STAFF, [], asking(host.path, "reload"))[0]["answer"]
        host.control.permit(Rights(0))
        assert as_user(host, ALICE, STAFF, [], asking(host.path, "hello")) == "PermissionError"
