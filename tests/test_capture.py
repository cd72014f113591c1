"""The output of real children, taken in by a real scribe."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stsd.capture import Captured, Line, Trouble, masked
from stsd.model import Output
from stsd.output import output_name
from tests.faults.support import Disk, needs_ext4
from tests.support import wait_for
from tests.support_output import Intake, descriptors, has_gone, peak_memory

MIB = 1 << 20
PRINT_RANDOM = "head -c {size} /dev/urandom | tee {copy}"


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    intake = Intake(tmp_path)
    try:
        yield intake
    finally:
        intake.close()


# -- what is kept


def test_what_a_job_prints_is_in_its_file_when_its_output_is_over(intake: Intake) -> None:
    assert intake.run("echo out; echo err >&2") == Captured("run", 8, 0)
    assert intake.kept() == b"out\nerr\n"


def test_a_silent_job_makes_no_file(intake: Intake) -> None:
    assert intake.run("true") == Captured("run", 0, 0)
    assert not intake.path().parent.exists()


def test_random_bytes_survive(intake: Intake, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    captured = intake.run(PRINT_RANDOM.format(size=5 * MIB, copy=copy))
    assert captured == Captured("run", 5 * MIB, 0)
    assert intake.kept() == copy.read_bytes()


def test_random_bytes_survive_a_mask_that_does_not_turn_up(intake: Intake, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    intake.run(PRINT_RANDOM.format(size=MIB, copy=copy), hide=["a secret", "ütf-8", "\x00\x01\x02"])
    assert intake.kept() == copy.read_bytes()


def test_invalid_utf8_and_terminal_escapes_are_kept_as_they_are(intake: Intake) -> None:
    intake.run(r"printf '\377\376 \033[2J\033]0;title\007 \303 \000 end'")
    assert intake.kept() == b"\xff\xfe \x1b[2J\x1b]0;title\x07 \xc3 \x00 end"


def test_output_is_in_the_file_while_the_job_still_runs(intake: Intake) -> None:
    intake.start("echo soon; sleep 60")
    wait_for(lambda: intake.path().exists() and intake.kept() == b"soon\n", "the first line")


def test_a_retried_run_may_use_its_id_again(intake: Intake) -> None:
    for _ in range(3):
        intake.run("echo again")
    assert intake.kept() == b"again\n" * 3


def test_a_run_that_was_forgotten_is_not_heard_of(intake: Intake) -> None:
    os.close(intake.open("never"))
    intake.capture.forget("never")
    intake.run("echo other")
    assert "never" not in intake.captured
    assert not intake.path("never").exists()


# -- too much


@pytest.mark.slow
def test_of_ten_gigabytes_head_and_tail_are_kept_and_no_memory_is_used(intake: Intake) -> None:
    size = 10 * 1024 * MIB
    captured = intake.run(f"echo begin; head -c {size} /dev/zero; echo end")
    assert captured.kept + captured.discarded == size + len("begin\nend\n")
    content = intake.kept()
    assert content.startswith(b"begin\n\0")
    assert content.endswith(b"\0end\n")
    assert f"\n[stsd: {captured.discarded:,} bytes left out here]\n".encode() in content
    assert len(content) <= Output().max_size + 100
    assert peak_memory(intake.scribe()) < 16 * MIB


@pytest.mark.slow
def test_a_line_of_a_gigabyte_is_no_burden_even_if_lines_are_told_and_secrets_masked(
    intake: Intake,
) -> None:
    intake.run(
        "head -c 1G /dev/zero | tr '\\0' x; echo; echo next",
        Output(tee=True),
        hide=["xxxxxy", "hunter2"],
    )
    assert [(line.text[:10], len(line.text)) for line in intake.lines] == [
        ("x" * 10, 4097),
        ("next", 4),
    ]
    assert peak_memory(intake.scribe()) < 16 * MIB


def test_an_endless_printer_does_not_hold_up_the_others(intake: Intake) -> None:
    endless = [f"endless{number}" for number in range(4)]
    for run_id in endless:
        intake.start("exec yes", run_id)
    wait_for(
        lambda: all(
            intake.path(name).exists() and intake.path(name).stat().st_size > 9 * MIB
            for name in endless
        ),
        "too much output",
    )
    spans = []
    for number in range(50):
        begin = time.monotonic()
        intake.run(f"echo {number}")
        spans.append(time.monotonic() - begin)
    assert sorted(spans)[len(spans) // 2] < 0.2
    assert intake.kept() == b"".join(b"%d\n" % number for number in range(50))
    for run_id in endless:
        os.kill(intake.children[run_id].pid, signal.SIGKILL)
        assert intake.end(run_id).discarded > 0
    assert peak_memory(intake.scribe()) < 16 * MIB


def test_a_thousand_runs_at_once_leave_nothing_behind(intake: Intake) -> None:
    intake.run("true")
    scribe = intake.scribe()
    before = descriptors(os.getpid()), descriptors(scribe)
    ends = {f"run{number}": intake.open(f"run{number}") for number in range(1000)}
    for round_ in range(3):
        for run_id, end in ends.items():
            os.write(end, f"{run_id} {round_}\n".encode())
    for run_id, end in ends.items():
        os.close(end)
        intake.capture.cease(run_id)
    intake.hear_until(lambda: len(intake.captured) == 1000, "a thousand outputs")
    for run_id in ends:
        text = "".join(f"{run_id} {round_}\n" for round_ in range(3)).encode()
        assert intake.kept(run_id) == text
        assert intake.captured[run_id] == Captured(run_id, len(text), 0)
    assert (descriptors(os.getpid()), descriptors(scribe)) == before


# -- the end


def test_an_output_ends_with_the_job_even_if_that_is_told_late(intake: Intake) -> None:
    child = intake.start("echo x")
    child.wait()
    wait_for(lambda: intake.path().exists(), "its file")
    for _ in range(3):
        intake.hear(0.05)
    assert intake.captured == {}  # its main process may live on with its output closed
    intake.capture.cease("run")
    assert intake.result() == Captured("run", 2, 0)


def test_a_descendant_that_holds_the_output_is_waited_for_no_longer_than_patience_lasts(
    intake: Intake, tmp_path: Path
) -> None:
    go_on, gone_on = tmp_path / "go", tmp_path / "gone"
    os.mkfifo(go_on)
    begin = time.monotonic()
    captured = intake.run(
        f"(read line < {go_on}; head -c 1M /dev/zero; echo too late; touch {gone_on}) & echo soon"
    )
    assert captured == Captured("run", 5, 0)
    assert 0.3 <= time.monotonic() - begin < 5
    go_on.write_text("go\n")
    wait_for(gone_on.exists, "the descendant to print all it wants to")
    assert intake.kept() == b"soon\n"


def test_a_descendant_that_prints_soon_is_waited_for(tmp_path: Path) -> None:
    intake = Intake(tmp_path, patience_s=20.0)
    try:
        captured = intake.run("(sleep 0.2; echo later) & echo soon")
        assert captured == Captured("run", 11, 0)
        assert intake.kept() == b"soon\nlater\n"
    finally:
        intake.close()


def test_what_is_printed_after_the_end_goes_nowhere(intake: Intake) -> None:
    intake.start("yes & echo soon", "held")
    assert intake.end("held").kept > 0
    size = intake.path("held").stat().st_size
    assert intake.run("echo x") == Captured("run", 2, 0)
    assert intake.path("held").stat().st_size == size


# -- secrets


def test_secrets_are_masked_wherever_they_turn_up(intake: Intake) -> None:
    script = "printf hun; sleep 0.1; printf 'ter2 and hunter'; sleep 0.1; printf '22 hunt'"
    intake.run(script, hide=["hunter2"])
    assert intake.kept() == b"*** and ***2 hunt"


def test_a_prompt_is_not_held_back(intake: Intake) -> None:
    intake.start("printf 'Password: '; sleep 60", hide=["hunter2"])
    wait_for(
        lambda: intake.path().exists() and intake.kept() == b"Password: ", "an unfinished line"
    )


def test_outputs_that_the_scribe_is_told_of_together_are_told_apart(intake: Intake) -> None:
    secrets = {"a": "", "b": "hunter2", "c": "", "d": "swordfish"}
    ends = {
        run: intake.capture.open(run, output_name("job", run, 1), Output(tee=run == "c"), [secret])
        for run, secret in secrets.items()
    }
    intake.capture.flush()
    for run, end in ends.items():
        os.write(end, f"{run} hunter2 swordfish\n".encode())
        os.close(end)
        intake.capture.cease(run)
    assert [intake.result(run).kept for run in secrets] == [20, 16, 20, 14]
    assert intake.kept("a") == b"a hunter2 swordfish\n"
    assert intake.kept("b") == b"b *** swordfish\n"
    assert intake.kept("d") == b"d hunter2 ***\n"
    assert intake.lines == [Line("c", "c hunter2 swordfish")]


def test_another_scribe_knows_the_secrets_too(intake: Intake) -> None:
    end = intake.open("run", hide=["hunter2"])
    os.kill(intake.scribe(), signal.SIGKILL)
    intake.hear_until(lambda: bool(intake.troubles), "the death of the scribe")
    os.write(end, b"hunter2\n")
    os.close(end)
    intake.capture.cease("run")
    assert intake.result() == Captured("run", 4, 0)
    assert intake.kept() == b"***\n"


def test_an_output_that_cannot_be_reached_does_not_end_whoever_replaces_the_scribe(
    intake: Intake,
) -> None:
    end = intake.open()
    intake.path().parent.parent.mkdir(parents=True, exist_ok=True)
    intake.path().parent.write_text("no folder")
    os.kill(intake.scribe(), signal.SIGKILL)
    intake.hear_until(lambda: bool(intake.troubles), "the death of the scribe")
    os.write(end, b"lost\n")
    os.close(end)
    intake.capture.cease("run")
    assert intake.result() == Captured("run", 0, 5)


def test_many_and_large_secrets_are_masked(intake: Intake, tmp_path: Path) -> None:
    secrets = [f"{number:08x}" * 2000 for number in random.Random(1).sample(range(1 << 32), 30)]
    text = tmp_path / "text"
    text.write_text("-".join(secrets))
    intake.run(f"cat {text}", hide=secrets)
    assert intake.kept() == b"-".join([b"***"] * 30)


@pytest.mark.parametrize(
    ("secret", "hidden"),
    [
        ("hunter2", ["hunter2"]),
        ("hunter2\n", ["hunter2"]),
        ("abc", []),
        ("", []),
        ("äöü", []),
        ("äöüß", ["äöüß"]),
        ("first line\r\nab\nthird\n", ["first line\r\nab\nthird", "first line", "third"]),
        ("ab\ncd", ["ab\ncd"]),
    ],
)
def test_what_is_masked_of_a_secret(secret: str, hidden: list[str]) -> None:
    assert masked([secret]) == [part.encode() for part in hidden]


# -- lines for the log


def test_lines_are_told_in_their_order_and_before_the_end(intake: Intake) -> None:
    intake.run(r"printf 'one\ntwo \377\nlast'", Output(tee=True))
    assert [line.text for line in intake.lines] == ["one", "two �", "last"]
    assert {line.run_id for line in intake.lines} == {"run"}


def test_no_line_is_told_of_a_job_that_did_not_ask_for_it(intake: Intake) -> None:
    intake.run("echo line")
    assert intake.lines == []


def test_no_secret_is_told_in_a_line(intake: Intake) -> None:
    intake.run("echo my hunter2", Output(tee=True), hide=["hunter2"])
    assert [line.text for line in intake.lines] == ["my ***"]


def test_a_flood_of_lines_is_dammed(intake: Intake) -> None:
    begin = time.monotonic()
    intake.run("seq 1 1000000", Output(tee=True))
    seconds = int(time.monotonic() - begin) + 1
    told = [line for line in intake.lines if line.text.isdigit()]
    dropped = [
        int(found[1]) for line in intake.lines if (found := re.match(r"\[stsd: (\d+)", line.text))
    ]
    assert 100 <= len(told) <= 100 * (seconds + 1)
    assert len(told) + sum(dropped) == 1_000_000


def test_lines_do_not_hold_up_a_job_while_nobody_listens(intake: Intake, tmp_path: Path) -> None:
    done = [tmp_path / f"done{number}" for number in range(20)]
    line = "x" * 4000
    for number, path in enumerate(done):
        loop = f"i=0; while [ $i -lt 100 ]; do echo {line}; i=$((i+1)); done; touch {path}"
        intake.start(loop, f"run{number}", Output(tee=True))
    wait_for(lambda: all(path.exists() for path in done), "the jobs to print all they want to")
    for number in range(20):
        assert intake.end(f"run{number}") == Captured(f"run{number}", 400_100, 0)
    told = sum(line.text.startswith("xxxx") for line in intake.lines)
    dropped = sum(
        int(found[1]) for line in intake.lines if (found := re.match(r"\[stsd: (\d+)", line.text))
    )
    assert told + dropped == 2000


# -- when things fail


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = Disk(tmp_path, "4M")
    yield disk.mountpoint
    subprocess.run(["umount", "--lazy", disk.mountpoint], check=True)


@needs_ext4
def test_a_full_disk_costs_the_output_and_nothing_else(small_disk: Path) -> None:
    intake = Intake(small_disk)
    try:
        captured = intake.run("head -c 8M /dev/zero; echo end")
        assert captured.kept + captured.discarded == 8 * MIB + 4
        assert captured.discarded > 4 * MIB
        assert captured.kept <= intake.path().stat().st_size <= captured.kept + 60
        why = f"cannot write {intake.path()}: No space left on device"
        assert intake.troubles == [Trouble("output_not_written", "run", why)]
        intake.path().unlink()
        assert intake.run("echo there is space again") == Captured("run", 21, 0)
    finally:
        intake.close()


@needs_ext4
def test_an_output_goes_on_when_the_disk_has_space_again(small_disk: Path) -> None:
    intake = Intake(small_disk)
    filler = small_disk / "filler"
    try:
        end = intake.open()
        with filler.open("wb") as file:
            file.truncate(0)
            os.posix_fallocate(file.fileno(), 0, 2 * MIB)
        os.set_blocking(end, True)
        os.write(end, b"x" * 65536)
        wait_for(lambda: intake.path().exists(), "the file")
        for _ in range(32):
            os.write(end, b"x" * 65536)
        intake.hear_until(lambda: bool(intake.troubles), "trouble")
        filler.unlink()

        def more() -> bool:
            os.write(end, b"y" * 1000 + b"\n")
            intake.hear(0.1)
            return b"y\n" in intake.kept()

        wait_for(more, "more output in the file")
        os.close(end)
        intake.capture.cease("run")
        captured = intake.result()
        assert (
            captured.kept + captured.discarded
            == 33 * 65536 + intake.kept().count(b"y") // (1000) * 1001
        )
        assert b" bytes left out here]\n" in intake.kept()
    finally:
        intake.close()


def test_a_folder_that_cannot_be_made_costs_the_output_and_nothing_else(
    intake: Intake, tmp_path: Path
) -> None:
    (tmp_path / "output").write_text("in the way")
    assert intake.run("echo x; seq 1 100000") == Captured("run", 0, 588_897)
    why = f"cannot write {intake.path()}: Not a directory"
    assert intake.troubles == [Trouble("output_not_written", "run", why)]


def test_a_scribe_that_is_killed_is_replaced_and_the_jobs_do_not_notice(intake: Intake) -> None:
    fifo = intake.folder / "fifo"
    os.mkfifo(fifo)
    intake.start(f"echo before; read line < {fifo}; echo after")
    wait_for(lambda: intake.path().exists(), "the first line")
    first = intake.scribe()
    os.kill(first, signal.SIGKILL)
    intake.hear_until(lambda: bool(intake.troubles), "the death of the scribe")
    fifo.write_text("go\n")
    assert intake.end() == Captured("run", len("before\nafter\n"), 0)
    assert intake.children["run"].returncode == 0
    assert intake.kept() == b"before\nafter\n"
    assert intake.troubles == [Trouble("scribe_died", None, "it was killed")]
    assert intake.scribe() != first


def test_a_scribe_that_is_killed_without_runs_is_missed_by_the_next(intake: Intake) -> None:
    intake.run("echo x")
    os.kill(intake.scribe(), signal.SIGKILL)
    intake.hear_until(lambda: bool(intake.troubles), "the death of the scribe")
    assert intake.run("echo y") == Captured("run", 2, 0)
    assert intake.kept() == b"x\ny\n"


def test_a_scribe_that_dies_between_the_end_of_a_job_and_that_of_its_output(
    intake: Intake,
) -> None:
    intake.start("echo x; sleep 60 &")
    wait_for(lambda: intake.path().exists(), "the first line")
    intake.children["run"].wait()
    intake.capture.cease("run")
    os.kill(intake.scribe(), signal.SIGKILL)
    assert intake.result() == Captured("run", 2, 0)


def test_a_run_whose_scribes_all_die_gets_no_other(intake: Intake) -> None:
    intake.start("echo x; sleep 60")
    wait_for(lambda: intake.path().exists(), "the first line")
    for deaths in (1, 2, 3):
        os.kill(intake.scribe(), signal.SIGKILL)
        intake.hear_until(lambda n=deaths: len(intake.troubles) == n, "a death")
    intake.children["run"].kill()
    assert intake.end() == Captured("run", 2, 0)


def test_a_fault_of_the_scribe_is_told(intake: Intake) -> None:
    end = intake.open("run", Output(max_size=1000))
    scribe = intake.scribe()
    os.close(end)
    scribe_socket = intake.capture._scribe
    assert scribe_socket is not None
    scribe_socket.send(b"O\0nonsense")
    intake.hear_until(lambda: bool(intake.troubles), "the death of the scribe")
    assert intake.troubles[0].error.startswith("ValueError: not enough values to unpack")
    assert "_open:" in intake.troubles[0].error
    wait_for(lambda: has_gone(scribe), "its end")


def test_a_scribe_that_stands_still_does_not_hold_up_stsd(intake: Intake) -> None:
    intake.run("true")
    os.kill(intake.scribe(), signal.SIGSTOP)
    ends = {}
    begin = time.monotonic()
    secret = "".join(random.Random(2).choices("abcdefgh", k=12_000))
    for number in range(1500):
        run_id = f"run{number}"
        ends[run_id] = intake.open(run_id, hide=[secret])
        os.write(ends[run_id], run_id.encode())
    assert time.monotonic() - begin < 5
    for run_id, end in list(ends.items())[:100]:
        os.close(end)
        intake.capture.forget(run_id)
        del ends[run_id]
    for run_id, end in ends.items():
        os.close(end)
        intake.capture.cease(run_id)
    os.kill(intake.scribe(), signal.SIGCONT)
    intake.hear_until(lambda: len(intake.captured) == len(ends), "all outputs")
    assert all(intake.kept(run_id) == run_id.encode() for run_id in ends)


def test_not_a_byte_is_lost_of_what_fits_when_the_scribe_is_replaced(
    intake: Intake, tmp_path: Path
) -> None:
    fifo, copy = tmp_path / "fifo", tmp_path / "copy"
    os.mkfifo(fifo)
    random_bytes = PRINT_RANDOM.format(size=2 * MIB, copy=f"-a {copy}")
    intake.start(f"{random_bytes}; read line < {fifo}; {random_bytes}")
    wait_for(lambda: intake.path().exists() and intake.path().stat().st_size == 2 * MIB, "half")
    os.kill(intake.scribe(), signal.SIGKILL)
    intake.hear_until(lambda: bool(intake.troubles), "the death of the scribe")
    fifo.write_text("go\n")
    assert intake.end() == Captured("run", 4 * MIB, 0)
    assert intake.kept() == copy.read_bytes()
