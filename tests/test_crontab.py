"""The lines of a crontab, as Debian's cron and cronie read them."""

from __future__ import annotations

import subprocess

import pytest

from stsd.crontab import Blank, Comment, CrontabError, Dialect, Entry, Setting, read


def meaning(line: str, dialect: Dialect = Dialect.DEBIAN, *, system: bool = False) -> object:
    (only,) = read(f"{line}\n".encode(), dialect, system=system).lines
    return only.meaning


def entry(line: str, dialect: Dialect = Dialect.DEBIAN, *, system: bool = False) -> Entry:
    found = meaning(line, dialect, system=system)
    assert isinstance(found, Entry), found
    return found


def refusal(line: str, dialect: Dialect = Dialect.DEBIAN, *, system: bool = False) -> str:
    found = meaning(line, dialect, system=system)
    assert isinstance(found, CrontabError), found
    return str(found)


# -- settings


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("MAILTO=root", "MAILTO", "root"),
        ("  A =  b c  ", "A", "b c"),
        ('A="b c "', "A", "b c "),
        ("A=' b'", "A", " b"),
        ('MAILTO=""', "MAILTO", ""),
        ('"A B" = c', "A B", "c"),
        ("A=b # no comment here", "A", "b # no comment here"),
        ("PATH=$PATH:/x", "PATH", "$PATH:/x"),
        ("A=b=c", "A", "b=c"),
    ],
)
def test_a_setting_has_its_blanks_and_quotes_taken_off(line: str, name: str, value: str) -> None:
    assert meaning(line) == Setting(name, value)


def test_a_setting_with_nothing_behind_it_is_told_apart_from_an_empty_one() -> None:
    assert meaning("MAILTO=") == Setting("MAILTO", "", bare=True)


def test_quotes_within_quotes_are_taken_off_by_debians_cron_alone() -> None:
    assert meaning("""A="'x'" """) == Setting("A", "x")
    assert meaning("""A="'x'" """, Dialect.CRONIE) == Setting("A", "'x'")


def test_an_entry_whose_command_sets_a_variable_is_no_setting() -> None:
    assert entry("*/5 * * * * FOO=bar run").command == "FOO=bar run"


# -- entries


def test_tabs_and_many_blanks_stand_between_fields() -> None:
    found = entry(" 5\t4   * * sun  run  it ")
    assert (found.when, found.command) == ("5 4 * * sun", "run  it ")


def test_a_nickname_stands_for_the_fields() -> None:
    assert entry("@reboot run").when == "@reboot"
    assert entry("@daily\trun").when == "@daily"


def test_in_a_system_crontab_the_user_stands_before_the_command() -> None:
    found = entry("17 * * * *\troot\tcd / && run", system=True)
    assert (found.user, found.command) == ("root", "cd / && run")
    assert entry("@daily root run", system=True).user == "root"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("hello", "neither NAME=value nor five fields"),
        ("* * * * *", "there is no command"),
        ("@daily", "there is no command"),
        ("* * * * * * run", "more than five fields"),
        ("@Daily run", "write @daily"),
        ("@every 5m run", "cron knows @reboot, @yearly"),
        ("60 * * * * run", "the minute `60` is not valid (0-59)"),
        ("5/15 * * * * run", "write 5-59/15"),
        ("0 22-2 * * * run", "write 22-23,0-2"),
        ("0 0 * * fri-mon run", "write 5-7,0-1"),
        ("0 0 * * sat-sun run", "write 6-7)"),
        ("5. * * * * run", "the minute `5.` is not valid"),
        ("0 0 L * * run", "day of month `L`"),
        ("0 0 * * mon#1 run", "day of week `mon#1`"),
        ("0 0 * 13 * run", "month `13` is not valid (1-12 or jan-dec)"),
        ("0 0 * * 8 run", "0-7 or sun-sat"),
        ("*/0 * * * * run", "a step that is no number from 1"),
        ("1,,2 * * * * run", "minute"),
        ("\u0665 * * * * run", "neither"),
        ('A="b" c', "neither"),
    ],
)
def test_what_cron_does_not_take_is_told_with_what_would_be_right(line: str, said: str) -> None:
    assert said in refusal(line)


def test_a_system_entry_without_a_command_is_refused() -> None:
    assert "no command after the user" in refusal("* * * * * root", system=True)


def test_a_byte_that_is_not_utf8_is_told_in_its_own_line_alone() -> None:
    lines = read(b"* * * * * caf\xe9\n* * * * * tea\n", Dialect.DEBIAN, system=False).lines
    assert isinstance(lines[0].meaning, CrontabError)
    assert isinstance(lines[1].meaning, Entry)


def test_the_dash_that_keeps_out_of_the_syslog_is_cronies() -> None:
    assert entry("-* * * * * run", Dialect.CRONIE) == entry("* * * * * run")
    assert "neither" in refusal("-* * * * * run")


# -- the percent sign


@pytest.mark.parametrize(
    ("text", "command", "stdin"),
    [
        ("run", "run", ""),
        ("date +\\%F", "date +%F", ""),
        ("cat%a%b", "cat", "a\nb\n"),
        ("cat%a%b%", "cat", "a\nb\n"),
        ("cat%100\\% of \\it", "cat", "100% of \\it\n"),
        ("cat%", "cat", ""),
        ("cat%%", "cat", "\n"),
        (r"echo \x", r"echo \x", ""),
        (r"echo a\\b", r"echo a\b", ""),
        (r"echo \\%in", "echo \\", "in\n"),
    ],
)
def test_percent_ends_the_command_unless_a_backslash_is_before_it(
    text: str, command: str, stdin: str
) -> None:
    found = entry(f"* * * * * {text}")
    assert (found.command, found.stdin) == (command, stdin)


def test_cronie_leaves_a_doubled_backslash_alone() -> None:
    assert entry(r"* * * * * echo a\\b", Dialect.CRONIE).command == r"echo a\\b"


# -- comments and ends


def test_comments_and_empty_lines_are_kept_apart() -> None:
    assert meaning("  ## Backup #") == Comment("Backup")
    assert meaning(" \t") == Blank()


def test_an_entry_that_is_commented_out_is_known() -> None:
    found = meaning("#5 4 * * * run")
    assert isinstance(found, Comment)
    assert found.entry == Entry("5 4 * * *", "", "run")
    legend = meaning("# m h dom mon dow command")
    assert isinstance(legend, Comment)
    assert legend.entry is None


def test_lines_are_counted_from_one() -> None:
    crontab = read(b"# a\n\n* * * * * b\n", Dialect.DEBIAN, system=False)
    assert [line.number for line in crontab.lines] == [1, 2, 3]
    assert crontab.ended


def test_a_last_line_without_its_end_and_windows_ends_are_noticed() -> None:
    crontab = read(b"* * * * * b\r\n* * * * * c", Dialect.DEBIAN, system=False)
    assert not crontab.ended
    assert crontab.carriage
    assert [line.meaning.command for line in crontab.lines if isinstance(line.meaning, Entry)] == [
        "b",
        "c",
    ]


def test_nothing_at_all_is_an_empty_crontab() -> None:
    assert read(b"", Dialect.DEBIAN, system=False).lines == ()


def test_the_percent_rule_gives_what_a_shell_then_prints() -> None:
    found = entry("* * * * * printf '\\%s|' $(cat)%one%two")
    done = subprocess.run(
        ["/bin/sh", "-c", found.command], input=found.stdin, capture_output=True, text=True
    )
    assert done.stdout == "one|two|"
