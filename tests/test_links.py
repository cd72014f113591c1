"""What the jobs of a jobfile have to do with each other: `after` and pools."""

from __future__ import annotations

from pathlib import Path

import pytest

from stsd.model import After, Outcome
from tests.support_jobfile import COMMAND, OTHERS, job, loaded, problem, problems


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)


def test_a_job_follows_others_by_their_outcomes() -> None:
    every = frozenset(Outcome)
    assert job('after = "b"').when.after == (After("b"),)
    assert job('after = ["b", { job = "c" }]').when.after == (After("b"), After("c"))
    assert job('after = [{ job = "b", outcome = "any" }]').when.after == (After("b", every),)
    assert job('after = [{ job = "b", outcome = "timed_out" }]').when.after == (
        After("b", frozenset({Outcome.TIMED_OUT})),
    )
    two = frozenset({Outcome.FAILED, Outcome.CANCELLED})
    assert job('after = [{ job = "b", outcome = ["failed", "cancelled"] }]').when.after == (
        After("b", two),
    )


def test_equal_rules_of_two_jobs_do_not_become_those_of_a_third() -> None:
    text = f'{COMMAND}after = "b"\n{OTHERS}[jobs.d]\ncommand = "true"\nafter = "c"\n'
    assert loaded(text).jobs["d"].when.after == (After("c"),)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('after = "backup"', 'jobs.a.after: there is no job "backup"'),
        ('after = ["b", "cc"]', 'jobs.a.after: there is no job "cc" (did you mean `c`?)'),
        ('after = "a"', "jobs.a.after: a job cannot come after itself (name another one)"),
        ('after = ["b", "b"]', '"b" is there twice (give it two outcomes)'),
        ('after = "../x"', '"../x" is not a job\'s name'),
        ('after = [{ job = "b", outcome = "faild" }]', "did you mean `failed`?"),
        ('after = [{ job = "b", outcome = [] }]', "is an empty array"),
        ('after = [{ outcome = "any" }]', "`job` is missing (the job to follow)"),
    ],
)
def test_a_job_follows_only_what_can_be_followed(line: str, said: str) -> None:
    assert said in problem(line)


def test_a_circle_is_shown_the_whole_way_round() -> None:
    text = "".join(
        f'[jobs.{name}]\ncommand = "true"\nafter = {after}\n'
        for name, after in [("a", '["x", "b"]'), ("b", '"c"'), ("c", '"a"'), ("x", '"y"')]
    )
    text += '[jobs.y]\ncommand = "true"\n'
    assert problems(text) == [
        "jobs.toml:3:9: jobs.a.after: goes round in a circle: a after b after c after a"
        " (take one link out)"
    ]


def test_a_circle_through_an_included_file_is_found_and_each_is_told_once() -> None:
    Path("more.toml").write_text(
        '[jobs.b]\ncommand = "true"\nafter = "a"\n[jobs.d]\ncommand = "true"\nafter = ["d", "b"]\n'
    )
    Path("more.toml").chmod(0o644)
    told = problems(f'[daemon]\ninclude = ["more.toml"]\n{COMMAND}after = "b"\n')
    assert [text.partition(": ")[2] for text in told] == [
        "jobs.a.after: goes round in a circle: a after b after a (take one link out)",
        "jobs.d.after: a job cannot come after itself (name another one)",
    ]


def test_jobs_that_meet_again_go_round_in_no_circle() -> None:
    text = "".join(
        f'[jobs.{name}]\ncommand = "true"\n' + (f"after = {after}\n" if after else "")
        for name, after in [("a", '["b", "c"]'), ("b", '"d"'), ("c", '"d"'), ("d", "")]
    )
    assert len(loaded(text).jobs) == 4


def test_a_circle_of_ten_thousand_jobs_is_told_in_one_short_line() -> None:
    text = "".join(
        f'[jobs.j{number}]\ncommand = "true"\nafter = "j{(number + 1) % 10_000}"\n'
        for number in range(10_000)
    )
    (told,) = problems(text)
    assert "circle: j0 after j1 after j2" in told
    assert told.endswith("after j19 after … after j0 (take one link out)")


def test_a_job_that_is_there_but_faulty_can_be_followed() -> None:
    told = problems(f'{COMMAND}after = "b"\n[jobs.b]\ncommand = 3\n')
    assert [text.split(": ")[1] for text in told] == ["jobs.b.command"]


def test_a_pool_that_looks_misspelt_is_warned_of() -> None:
    text = (
        f'[daemon]\npools = {{ database = 2 }}\n{COMMAND}pools = "databse"\n'
        '[jobs.b]\ncommand = "true"\npools = ["database", "mutex"]\n'
    )
    assert loaded(text).warnings == (
        'jobs.toml:5:9: jobs.a.pools: no other job has the pool "databse"'
        " (did you mean `database`?)",
    )


def test_a_pool_that_two_jobs_share_needs_no_declaration() -> None:
    pools = 'pools = "databse"\n'
    text = f'[daemon]\npools = {{ database = 2 }}\n{COMMAND}{pools}[jobs.b]\ncommand = "x"\n{pools}'
    assert loaded(text).warnings == ()
