"""`stsd logs -f`, step by step: what happens between its looks is told by the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stsd import cli
from stsd.history import History
from stsd.model import Outcome, TriggerKind
from stsd.output import output_name
from stsd.records import Finished, Intent, Record, Started
from stsd.units import compact
from tests.support import clean_environment

T0 = 1_795_255_200  # 2026-11-21T10:00:00Z
Steps = Iterator[None]


class World:
    """A jobfile, and what a daemon writes; `follow` runs the command, and takes a step of the
    story whenever it sleeps. At the end of the story somebody presses Ctrl-C."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log_dir = folder / "log"
        self.history = History(self.log_dir)
        self.jobfile = folder / "jobs.toml"
        self.jobfile.write_text(f'[daemon]\nlog_dir = "{self.log_dir}"\n')
        self._monkeypatch = monkeypatch

    def follow(self, *words: str, story: Callable[[], Steps]) -> int:
        steps = story()

        def sleep(seconds: float) -> None:
            if next(steps, self) is self:
                raise KeyboardInterrupt

        self._monkeypatch.setattr("stsd.cli.logs.time.sleep", sleep)
        return cli.main(["logs", "-c", str(self.jobfile), "-f", *words])

    def write(self, *records: Record) -> None:
        for record in records:
            self.history.append(record)
        self.history.sync()

    def start(self, job: str, due: int, attempt: int = 1) -> None:
        run = f"{job}@{compact(due)}"
        intent = Intent(run, job, due, TriggerKind.CRON, attempt, due + 0.1)
        started = Started(run, job, due, TriggerKind.CRON, attempt, due + 0.2, 0.2, 7, 70)
        self.write(intent, started)

    def output(self, job: str, due: int, attempt: int = 1) -> Path:
        path = self.log_dir / output_name(job, f"{job}@{compact(due)}", attempt)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def say(self, job: str, due: int, text: str, attempt: int = 1) -> None:
        with self.output(job, due, attempt).open("a") as file:
            file.write(text)

    def end(
        self,
        job: str,
        due: int,
        attempt: int = 1,
        *,
        code: int = 0,
        retry_at: float | None = None,
        at: float | None = None,
    ) -> None:
        outcome = Outcome.FAILED if code else Outcome.SUCCEEDED
        end = Finished(
            f"{job}@{compact(due)}", job, due, TriggerKind.CRON, attempt, outcome, due + 1.0, code
        )
        self.write(replace(end, will_retry_at=retry_at, at=at or due + 1.0))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    for name in ("STSD_CONFIG", "LOGS_DIRECTORY", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    assert "STSD_CONFIG" not in clean_environment()
    return World(tmp_path, monkeypatch)


def test_it_goes_from_attempt_to_attempt_and_from_run_to_run(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    def story() -> Steps:
        world.start("job", T0)
        world.say("job", T0, "one\n")
        yield
        world.say("job", T0, "two\n")
        world.end("job", T0, code=4, retry_at=T0 + 10.0)
        yield
        world.start("job", T0, 2)
        world.say("job", T0, "three\n", 2)
        world.end("job", T0, 2)
        yield
        world.start("job", T0 + 60)
        world.say("job", T0 + 60, "four\n")
        yield

    assert world.follow("job", story=story) == 130
    out, err = capsys.readouterr()
    assert out == (
        "==> job@20261121T100000Z attempt 1 <==\none\ntwo\n"
        "==> job@20261121T100000Z attempt 2 <==\nthree\n"
        "==> job@20261121T100100Z attempt 1 <==\nfour\n"
    )
    assert "job@20261121T100000Z attempt 1 failed (exit 4), next attempt at" in err
    assert "job@20261121T100000Z attempt 2 succeeded" in err


def test_several_jobs_have_their_names_before_each_line(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    def story() -> Steps:
        world.start("web", T0)
        world.start("backup", T0)
        world.start("other", T0)
        world.say("web", T0, "begins ")
        world.say("backup", T0, "a\nb\n")
        world.say("other", T0, "not asked for\n")
        yield
        world.say("web", T0, "and ends\nno newline")
        yield
        world.end("web", T0)
        yield

    world.follow("web", "backup", story=story)
    assert capsys.readouterr().out == (
        "backup | a\nbackup | b\nweb    | begins and ends\nweb    | no newline\n"
    )


def test_jobs_by_pattern_and_part_of_a_line_at_the_end(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    def story() -> Steps:
        world.start("web-1", T0)
        world.start("db", T0)
        world.say("db", T0, "no\n")
        world.say("web-1", T0, "a question?")
        yield

    world.follow("web-*", story=story)
    assert capsys.readouterr().out == "web-1 | a question?\n"


def test_a_run_is_followed_until_it_is_over(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.start("job", T0)
    world.say("job", T0, "before\n")

    def story() -> Steps:
        yield
        world.say("job", T0, "after\n")
        world.end("job", T0, code=1, retry_at=T0 + 10.0)
        yield
        world.start("job", T0, 2)
        world.say("job", T0, "again\n", 2)
        world.end("job", T0, 2)
        yield
        raise AssertionError("it should have ended")

    assert world.follow("job@20261121T100000Z", story=story) == 0
    assert capsys.readouterr().out.count("\n") == 5


def test_a_run_that_is_over_is_printed_and_that_is_all(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.start("job", T0)
    world.say("job", T0, "done\n")
    world.end("job", T0)

    def story() -> Steps:
        raise AssertionError("nothing to wait for")
        yield

    assert world.follow("job@20261121T100000Z", story=story) == 0
    assert capsys.readouterr().out.endswith("done\n")


def test_midnight_a_rotation_and_removed_output_break_nothing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    late = T0 + 86_400
    segment = world.log_dir / "history" / "2026-11-21.jsonl"

    def story() -> Steps:
        world.start("job", T0)
        world.say("job", T0, "one\n")
        yield
        with world.output("job", T0).open("a") as held:
            world.output("job", T0).unlink()
            held.write("two, of a file that is removed\n")
        yield
        segment.rename(segment.with_suffix(".old"))
        world.history.reopen()
        world.end("job", T0)
        yield
        world.start("job", late)
        world.say("job", late, "three, of the next day\n")
        yield

    world.follow("job", story=story)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines if not line.startswith("==>")] == [
        "one",
        "two",
        "three",
    ]


def test_the_tail_of_an_output_that_was_too_long_follows_its_head(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    def story() -> Steps:
        world.start("job", T0)
        world.say("job", T0, "head\n")
        yield
        world.say("job", T0, "[stsd: 9,000 bytes left")
        yield
        world.output("job", T0).write_text("head\n")  # half a line of stsd's own is taken back
        yield
        world.say("job", T0, "[stsd: 9,000 bytes left out here]\ntail\n")
        world.end("job", T0)
        yield

    world.follow("job", story=story)
    assert capsys.readouterr().out.endswith("[stsd: 9,000 bytes left out here]\ntail\n")


def test_records_written_anew_after_a_failed_disk_print_nothing_twice(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    def story() -> Steps:
        world.start("job", T0)
        world.say("job", T0, "once\n")
        world.end("job", T0)
        yield
        world.start("job", T0)
        world.end("job", T0)
        yield

    world.follow("job", story=story)
    assert capsys.readouterr().out.count("once") == 1


def test_an_attempt_that_is_left_open_by_the_past_is_gone_on_with(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.start("job", T0)
    world.say("job", T0, "early\n")

    def story() -> Steps:
        yield
        world.say("job", T0, "late\n")
        yield

    world.follow(story=story)
    assert capsys.readouterr().out == "job | early\njob | late\n"


def test_only_the_attempt_that_is_asked_for(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    def story() -> Steps:
        for attempt in (1, 2):
            world.start("job", T0, attempt)
            world.say("job", T0, f"attempt {attempt}\n", attempt)
            world.end("job", T0, attempt)
            yield

    world.follow("job", "--attempt", "2", story=story)
    assert capsys.readouterr().out == "==> job@20261121T100000Z attempt 2 <==\nattempt 2\n"
