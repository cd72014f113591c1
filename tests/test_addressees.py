"""Targets: which of them are the same one, and what may be shown of them."""

from __future__ import annotations

from typing import Any

import pytest

from stsd.addressees import bound, public, surroundings
from stsd.model import ArgvTask, Job, Secret, ShellTask
from stsd.notices import Means, Target

TASK = ShellTask("true")
OWNER = Target(Means.MESSAGE, address="mailto://mx.example.com?to=${OWNER}")
COMMAND = Target(Means.COMMAND, shell="tell ${OWNER}")


def job(name: str, **fields: Any) -> Job:
    return Job(name, TASK, **fields)


def test_an_address_without_variables_is_the_same_for_all_jobs() -> None:
    plain = Target(Means.MESSAGE, address="mailto://mx.example.com")
    assert bound(plain, job("a", env=(("X", "1"),))) == bound(plain, job("b"))


def test_a_variable_of_the_same_value_leads_to_the_same_place() -> None:
    ann = (("OWNER", "ann"), ("X", "1"))
    assert bound(OWNER, job("a", env=ann)) == bound(OWNER, job("b", env=ann[:1]))


@pytest.mark.parametrize(
    "other",
    [
        job("b", env=(("OWNER", "bob"),)),
        job("b", secrets=(Secret("OWNER", file="/etc/owner"),)),
        job("b", secrets=(Secret("OWNER", command=ArgvTask(("pass", "owner"))),)),
        job("b", env_files=("/etc/b.env",)),
        job("b"),
    ],
)
def test_a_variable_that_means_something_else_is_another_target(other: Job) -> None:
    assert bound(OWNER, job("a", env=(("OWNER", "ann"),))) != bound(OWNER, other)


def test_env_files_matter_only_to_what_is_not_said_elsewhere() -> None:
    ann = (("OWNER", "ann"),)
    assert bound(OWNER, job("a", env=ann, env_files=("/x",))) == bound(OWNER, job("b", env=ann))


def test_the_secret_of_a_webhook_matters_as_well() -> None:
    target = Target(Means.WEBHOOK, address="https://x.example.com/", secret="${KEY}")
    ours = job("a", secrets=(Secret("KEY", file="/a"),))
    theirs = job("b", secrets=(Secret("KEY", file="/b"),))
    assert bound(target, ours) != bound(target, theirs)


def test_a_scope_shows_no_value() -> None:
    scope = bound(OWNER, job("a", env=(("OWNER", "hunter2"),))).scope
    assert scope
    assert "hunter2" not in scope


def test_a_command_is_one_target_for_all_and_gets_what_they_share() -> None:
    one = job("a", env=(("X", "1"), ("Y", "1")), env_files=("/x",), cwd="/srv")
    two = job("b", env=(("X", "1"), ("Y", "2")), env_files=("/x", "/y"), cwd="/srv")
    assert bound(COMMAND, one) == bound(COMMAND, two)
    found = surroundings(COMMAND, [one, two])
    assert (found["env"], found["env_files"], found["cwd"]) == ({"X": "1"}, [], "/srv")
    assert surroundings(COMMAND, [one, job("c")])["cwd"] == "/"


def test_an_address_gets_the_variables_of_the_first_job() -> None:
    one, two = job("a", env=(("OWNER", "ann"),)), job("b", env=(("OWNER", "ann"), ("X", "1")))
    assert surroundings(OWNER, [one, two])["env"] == {"OWNER": "ann"}


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (Target(Means.MESSAGE, "mailto://u:pw@mx.example.com?to=x"), "mailto://mx.example.com"),
        (Target(Means.MESSAGE, "mailtos://${PW}@mx.example.com"), "mailtos://mx.example.com"),
        (Target(Means.MESSAGE, "slack://TokenA/TokenB/TokenC"), "slack://…"),
        (Target(Means.MESSAGE, "tgram://123:key/1"), "tgram://…"),
        (Target(Means.MESSAGE, "mailto://${HOST}/"), "mailto://…"),
        (Target(Means.MESSAGE, "mailto://me:pass/word@mx.example.com"), "mailto://…"),
        (Target(Means.MESSAGE, "mailto://me:p@ss/word@mx.example.com"), "mailto://…"),
        (Target(Means.MESSAGE, "mailto://me:pass?word@mx.example.com"), "mailto://…"),
        (Target(Means.MESSAGE, "mailto://[2001:db8::1]:25/"), "mailto://[2001:db8::1]:25"),
        (Target(Means.MESSAGE, "${OPS}"), "${OPS}"),
        (Target(Means.MESSAGE, "nothing of the kind"), "message …"),
        (
            Target(Means.WEBHOOK, "https://u:p@h.example.com:8443/key?k=1"),
            "https://h.example.com:8443/…",
        ),
        (Target(Means.COMMAND, argv=("mail", "-s", "key")), "command mail"),
        (Target(Means.COMMAND, shell="curl -H 'Key: x' y"), "command curl"),
        (Target(Means.COMMAND, shell="KEY=x tell-them"), "command …"),
    ],
)
def test_a_target_is_named_without_its_secrets(target: Target, name: str) -> None:
    assert public(target) == name
