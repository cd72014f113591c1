"""What becomes of a crontab: jobs, and what is said of the rest."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stsd.conversion import Conversion, Machine, Source, convert
from stsd.crontab import Dialect, read
from stsd.importtext import document
from stsd.jobfile import load
from stsd.model import Job, ShellTask
from stsd.notices import Event
from stsd.units import format_duration
from tests.support import DEADLINE_S

HOMES = {"": "/home/ann", "root": "/root", "nobody": "/nonexistent", "daemon": "/usr/sbin"}
FOLDERS = {"/home/ann", "/root", "/usr/sbin", "/srv"}
HERE = Machine(HOMES.get, FOLDERS.__contains__)


def converted(text: str, *, cronie: bool = False, system: bool = False, **more: str) -> Conversion:
    dialect = Dialect.CRONIE if cronie else Dialect.DEBIAN
    source = Source("tab", read(text.encode(), dialect, system=system), **more)
    return convert([source], dialect, HERE, disabled="off" in text)


def written(conversion: Conversion, folder: Path) -> dict[str, Job]:
    """The jobs of the jobfile, as the daemon reads it."""
    path = folder / "jobs.toml"
    path.write_text(document(conversion, ["tab"]))
    path.chmod(0o600)
    return dict(load(path, local_zone="UTC").jobs)


def jobs(text: str, folder: Path, *, cronie: bool = False, system: bool = False) -> dict[str, Job]:
    return written(converted(text, cronie=cronie, system=system), folder)


def job(text: str, folder: Path, *, cronie: bool = False, system: bool = False) -> Job:
    (only,) = jobs(text, folder, cronie=cronie, system=system).values()
    return only


def remarks(text: str, *, cronie: bool = False, system: bool = False) -> list[str]:
    return [str(each) for each in converted(text, cronie=cronie, system=system).remarks]


# -- commands and times


def test_an_entry_becomes_a_job_of_the_same_times_and_command(tmp_path: Path) -> None:
    made = job("5 4 * * sun /opt/backup.sh --all\n", tmp_path)
    assert made.name == "backup"
    assert made.when.cron == ("5 4 * * sun",)
    assert made.task == ShellTask("/opt/backup.sh --all")


def test_reboot_becomes_on_start_and_is_remarked_on(tmp_path: Path) -> None:
    assert job("@reboot hello\n", tmp_path).when.on_start
    (said,) = remarks("@reboot hello\n")
    assert said.startswith("tab:1: @reboot runs at each start of stsd")


def test_a_day_that_never_comes_makes_a_job_for_the_hand_alone(tmp_path: Path) -> None:
    made = job("0 0 30 2 * hello\n", tmp_path)
    assert not made.enabled
    assert made.when.cron == ()
    assert "never comes" in remarks("0 0 30 2 * hello\n")[0]


@pytest.mark.parametrize(
    "line",
    [
        "cat%one%two",
        "cat; echo done%one",
        "cat # and a comment%STDIN%x",
        "read a; echo \"<$a>\"%100\\% 'of' $HOME `date`",
        "exit 3%unread",
        "(cat) && cat%x",
    ],
)
def test_what_follows_a_percent_reaches_the_command_as_under_cron(
    line: str, tmp_path: Path
) -> None:
    (entry,) = [part.entry for part in converted(f"* * * * * {line}\n").jobs]
    task = job(f"* * * * * {line}\n", tmp_path).task
    assert isinstance(task, ShellTask)
    under_cron = subprocess.run(
        ["/bin/sh", "-c", entry.command], input=entry.stdin, capture_output=True, text=True
    )
    under_stsd = subprocess.run(
        ["/bin/sh", "-c", task.command], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert under_stsd.stdout == under_cron.stdout
    assert under_stsd.returncode == under_cron.returncode


def test_a_shell_without_here_documents_loses_the_job_and_says_so() -> None:
    made = converted("SHELL=/usr/bin/fish\n* * * * * cat%x\n")
    assert made.jobs == []
    (remark,) = made.remarks
    assert remark.lost
    assert (remark.line, remark.message) == (
        2,
        "not carried over: /usr/bin/fish has no way to be given what follows the %",
    )


# -- settings


def test_a_job_has_the_variables_that_cron_gives_it(tmp_path: Path) -> None:
    made = job("A=1\n* * * * * run\n", tmp_path)
    assert dict(made.env) == {"A": "1", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}
    assert made.cwd == str(Path.home())


def test_a_setting_is_in_force_below_its_line_alone(tmp_path: Path) -> None:
    made = jobs("* * * * * a\nX=1\n* * * * * b\nX=2\n* * * * * c\n", tmp_path)
    assert [dict(each.env).get("X") for each in made.values()] == [None, "1", "2"]


def test_the_shell_of_the_crontab_runs_the_commands(tmp_path: Path) -> None:
    made = job("SHELL=/bin/bash\n* * * * * run\n", tmp_path)
    assert made.task == ShellTask("run", "/bin/bash")
    assert dict(made.env)["SHELL"] == "/bin/bash"


def test_a_shell_that_is_no_path_is_remarked_on(tmp_path: Path) -> None:
    assert job("SHELL=bash\n* * * * * run\n", tmp_path).task == ShellTask("run", "/bin/sh")
    assert "no absolute path" in remarks("SHELL=bash\n")[0]


def test_home_is_where_a_job_starts(tmp_path: Path) -> None:
    made = job("HOME=/srv\n* * * * * run\n", tmp_path)
    assert made.cwd == "/srv"
    assert dict(made.env)["HOME"] == "/srv"


def test_who_was_mailed_is_mailed_of_failures_and_the_difference_is_told(tmp_path: Path) -> None:
    text = "MAILTO=ann@example.com\n* * * * * run\n"
    made = job(text, tmp_path)
    assert "MAILTO" not in dict(made.env)
    assert made.notify is not None
    assert made.notify.on == {Event.FAILED, Event.RECOVERED}
    assert "# MAILTO=ann@example.com: cron mailed all" in document(converted(text), ["tab"])
    assert remarks(text) == [
        "tab:1: cron mailed all output to ann@example.com; stsd mails when a job fails, and keeps"
        " it (stsd logs JOB)"
    ]


@pytest.mark.parametrize("mail_to", ["ann@example.com", "ann, bob", 'it\'s $HOME `id` \\ "me"'])
def test_the_mail_goes_to_whom_cron_sent_it(mail_to: str, tmp_path: Path) -> None:
    made = job(f"MAILTO={mail_to}\n* * * * * run\n", tmp_path)
    assert made.notify is not None
    (target,) = made.notify.to
    subject, text = "a failed", "exit code 2\n$HOME\nMAIL\n`id` \N{SNOWMAN}"
    sent = subprocess.run(
        ["/bin/sh", "-c", target.shell.replace("/usr/sbin/sendmail -i -t", "cat")],
        env={"STSD_SUBJECT": subject, "STSD_TEXT": text, "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=DEADLINE_S,
    )
    head, _, body = sent.stdout.partition("\n\n")
    assert head.splitlines()[:2] == [f"To: {mail_to}", f"Subject: {subject}"]
    assert body == f"{text}\n"


def test_each_job_mails_whom_its_part_of_the_crontab_names(tmp_path: Path) -> None:
    text = '* * * * * run\nMAILTO=ann\n* * * * * walk\nMAILTO=bob\n* * * * * sit\nMAILTO=""\n'
    told = {
        name: made.notify.to[0].shell.splitlines()[1] if made.notify else ""
        for name, made in jobs(f"{text}* * * * * lie\n", tmp_path).items()
    }
    assert told == {"run": "", "walk": "To: ann", "sit": "To: bob", "lie": ""}


def test_a_command_that_names_mailto_gets_it(tmp_path: Path) -> None:
    made = job('MAILTO=ann\n* * * * * report "$MAILTO"\n', tmp_path)
    assert dict(made.env)["MAILTO"] == "ann"


def test_no_mail_is_no_loss() -> None:
    assert remarks('MAILTO=""\n* * * * * run\n') == []


def test_a_bare_setting_is_taken_though_debians_cron_ignores_the_file() -> None:
    assert "Debian's cron ignores the file" in remarks("MAILTO=\n* * * * * run\n")[0]
    assert remarks("MAILTO=\n* * * * * run\n", cronie=True) == []


def test_a_zone_counts_for_cronie_alone(tmp_path: Path) -> None:
    text = "CRON_TZ=Asia/Tokyo\n* * * * * run\n"
    assert job(text, tmp_path).when.timezone == "UTC"
    assert "--cronie" in remarks(text)[0]
    assert job(text, tmp_path, cronie=True).when.timezone == "Asia/Tokyo"
    assert remarks(text, cronie=True) == []


def test_a_zone_that_is_none_loses_its_jobs() -> None:
    made = converted("CRON_TZ=Japan/Tokio\n* * * * * run\n", cronie=True)
    assert made.jobs == []
    assert made.remarks[0].lost


def test_a_random_delay_becomes_a_splay_with_cronie(tmp_path: Path) -> None:
    text = "RANDOM_DELAY=45\n0 3 * * * run\n"
    assert format_duration(job(text, tmp_path, cronie=True).when.splay) == "45m"
    assert job(text, tmp_path).when.splay == 0
    assert "RANDOM_DELAY" in remarks(text)[0]


def test_what_anacron_reads_is_said_to_be_left_out() -> None:
    assert "anacron" in remarks("START_HOURS_RANGE=3-22\n", cronie=True)[0]


def test_a_dollar_that_nobody_expands_is_remarked_on() -> None:
    assert "neither cron nor stsd expands" in remarks("PATH=$HOME/bin:/bin\n")[0]


def test_a_line_that_is_lost_leaves_a_comment_in_its_place() -> None:
    text = document(converted("* * * * * a\n61 * * * * b\n* * * * * c\n"), ["tab"])
    told = "# tab:2: not carried over: the minute `61` is not valid (0-59)\n"
    assert text.index("[jobs.a]") < text.index(told) < text.index("[jobs.c]")


def test_a_variable_of_stsds_own_is_lost_and_told() -> None:
    assert "STSD_JOB is no variable" in remarks("STSD_JOB=x\n")[0]


# -- users


def test_the_user_column_is_the_jobs_user(tmp_path: Path) -> None:
    made = job("* * * * * daemon run\n", tmp_path, system=True)
    assert made.user == "daemon"
    assert made.cwd == "/usr/sbin"


def test_the_owner_of_a_crontab_is_the_user_of_its_jobs(tmp_path: Path) -> None:
    made = written(converted("* * * * * run\n", owner="daemon"), tmp_path)
    assert made["run"].user == "daemon"


def test_a_job_of_an_unknown_user_never_runs_as_somebody_else(tmp_path: Path) -> None:
    text = "* * * * * ghost run\n* * * * * ghost walk\n"
    made = jobs(text, tmp_path, system=True)
    assert [each.enabled for each in made.values()] == [False, False]
    (said,) = remarks(text, system=True)
    assert "there is no user ghost here" in said
    assert '# user = "ghost"' in document(converted(text, system=True), ["tab"])


def test_a_home_that_is_not_there_is_told_once(tmp_path: Path) -> None:
    text = "* * * * * nobody run\n* * * * * nobody walk\n"
    assert {each.cwd for each in jobs(text, tmp_path, system=True).values()} == {"/"}
    (said,) = remarks(text, system=True)
    assert "/nonexistent is not there" in said


# -- comments


def test_the_comment_above_an_entry_describes_it(tmp_path: Path) -> None:
    made = job("# Nightly dump\n# of the shop\n* * * * * run\n", tmp_path)
    assert made.description == "Nightly dump of the shop"


def test_a_comment_with_an_empty_line_below_stays_a_comment(tmp_path: Path) -> None:
    text = "# All of them.\n\n* * * * * run\n"
    assert job(text, tmp_path).description == ""
    assert "\n# All of them.\n" in document(converted(text), ["tab"])


def test_the_legend_of_the_fields_describes_nothing(tmp_path: Path) -> None:
    assert job("# m h dom mon dow command\n* * * * * run\n", tmp_path).description == ""


def test_the_head_that_crontab_writes_is_left_out() -> None:
    text = "# DO NOT EDIT THIS FILE - edit the master and reinstall.\n\n* * * * * run\n"
    assert "EDIT" not in document(converted(text), ["tab"])


def test_a_job_that_is_commented_out_stays_a_comment_unless_asked_for(tmp_path: Path) -> None:
    assert converted("#5 4 * * * run\n").jobs == []
    assert "\n# 5 4 * * * run\n" in document(converted("#5 4 * * * run\n"), ["tab"])
    made = job("#5 4 * * * run off\n", tmp_path)
    assert not made.enabled
    assert made.when.cron == ("5 4 * * *",)


# -- the text


def test_what_jobs_share_stands_in_the_defaults_once() -> None:
    text = document(converted("A=1\n* * * * * b\n* * * * * c\n"), ["tab"])
    assert text.count('A = "1"') == 1
    assert text.index("[defaults]") < text.index('A = "1"') < text.index("[jobs.b]")


def test_jobs_overlap_and_forget_as_under_cron(tmp_path: Path) -> None:
    made = job("* * * * * run\n", tmp_path)
    assert (made.overlap, made.catch_up) == ("allow", "none")


def test_names_that_differ_in_case_only_are_told_apart(tmp_path: Path) -> None:
    assert list(jobs("* * * * * Run\n* * * * * run\n", tmp_path)) == ["Run", "run-2"]


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n%\\"))))
def test_any_command_is_carried_over_to_the_letter(endings: list[str]) -> None:
    commands = [f"run {ending}" for ending in endings]
    made = converted("".join(f"* * * * * {each}\n" for each in commands))
    with tempfile.TemporaryDirectory() as folder:
        tasks = [each.task for each in written(made, Path(folder)).values()]
    assert tasks == [ShellTask(each) for each in commands]
