"""From a jobfile to its jobs, through real files."""

from __future__ import annotations

import gc
import os
import textwrap
import time
from datetime import date
from pathlib import Path

import pytest
import tomli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stsd.errors import JobfileError
from stsd.jobfile import examine, load, load_settings, machine_zone
from stsd.keys import DAEMON_KEYS, JOB_KEYS
from stsd.model import (
    ArgvTask,
    Backoff,
    Fold,
    Gap,
    Job,
    Outcome,
    Overlap,
    PythonTask,
    Retry,
    ShellTask,
    When,
)
from stsd.settings import Jobfile, Settings

COMMAND = '[jobs.a]\ncommand = "true"\n'


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "jobs.toml") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    path.chmod(0o644)
    return path


def loaded(text: str, zone: str = "Europe/Berlin") -> Jobfile:
    return load(write(text), local_zone=zone)


def job(lines: str) -> Job:
    """The job of which these are the lines besides its command."""
    return loaded(f"{COMMAND}{lines}\n").jobs["a"]


def problems(text: str) -> list[str]:
    with pytest.raises(JobfileError) as raised:
        loaded(text)
    return [str(problem) for problem in raised.value.problems]


def test_a_job_that_says_only_its_command_has_the_models_defaults() -> None:
    expected = Job(
        name="a", task=ShellTask("true"), when=When(timezone="Europe/Berlin"), cwd=os.getcwd()
    )
    assert job("") == expected


def test_every_key_of_a_job_arrives() -> None:
    made = loaded(
        """
        [jobs.a]
        description = "All of it"
        command = "echo $X"
        shell = "/bin/bash"
        cron = "30 2 * * *"
        every = "90s"
        anchor = 2026-01-01T00:00:30Z
        at = ["10:30", "sunday 18:00"]
        on_start = true
        timezone = "America/New_York"
        splay = "5m"
        start = 2026-12-01
        end = "2099-12-31"
        skip_dates = [2026-12-24, "2026-12-31"]
        dst = { gap = "skip", fold = "both" }
        cwd = "/"
        env = { X = "1", A = "" }
        umask = "077"
        timeout = "1h30m"
        stop_signal = "SIGINT"
        stop_grace = 3
        retry = { max = 3, delay = "20s", backoff = "linear", max_delay = "10m", jitter = 0.1,
                  on = ["failed", "interrupted"], within = "2h" }
        overlap = "queue"
        priority = -5
        success_codes = [0, 3]
        enabled = false
        tags = ["db", "night"]
        """
    ).jobs["a"]
    assert made == Job(
        name="a",
        task=ShellTask("echo $X", "/bin/bash"),
        when=When(
            cron=("30 2 * * *",),
            every=90,
            at=("10:30", "sunday 18:00"),
            on_start=True,
            timezone="America/New_York",
            anchor=1767225630,
            splay=300,
            start=date(2026, 12, 1),
            end=date(2099, 12, 31),
            skip_dates=(date(2026, 12, 24), date(2026, 12, 31)),
            gap=Gap.SKIP,
            fold=Fold.BOTH,
        ),
        description="All of it",
        cwd="/",
        env=(("A", ""), ("X", "1")),
        umask=0o077,
        timeout=5400.0,
        stop_signal="INT",
        stop_grace=3.0,
        retry=Retry(
            3,
            20.0,
            Backoff.LINEAR,
            600.0,
            0.1,
            frozenset({Outcome.FAILED, Outcome.INTERRUPTED}),
            7200.0,
        ),
        overlap=Overlap.QUEUE,
        priority=-5,
        success_codes=frozenset({0, 3}),
        enabled=False,
        tags=("db", "night"),
    )


def test_an_array_is_a_program_with_its_arguments() -> None:
    made = loaded('[jobs.a]\ncommand = ["echo", "a b", ""]\n').jobs["a"]
    assert made.task == ArgvTask(("echo", "a b", ""))


def test_a_python_job_has_its_arguments_as_json_and_its_paths_absolute() -> None:
    made = loaded(
        """
        [jobs.a]
        python = "shop.rates:Rates.refresh"
        args = ["ä", 1, [true]]
        kwargs = { base = "USD" }
        path = ["lib", "/opt/x"]
        interpreter = "venv/bin/python"
        """
    ).jobs["a"]
    here = os.getcwd()
    assert made.task == PythonTask(
        "shop.rates:Rates.refresh",
        '["\\u00e4", 1, [true]]',
        '{"base": "USD"}',
        (f"{here}/lib", "/opt/x"),
        f"{here}/venv/bin/python",
    )


def test_the_zone_is_the_jobs_else_the_defaults_else_the_daemons_else_the_machines() -> None:
    text = '[jobs.a]\ncommand = "x"\ntimezone = "UTC"\n[jobs.b]\ncommand = "x"\n'
    daemon = '[daemon]\ntimezone = "Asia/Tokyo"\n'
    zones = [
        [made.when.timezone for made in loaded(head + text).jobs.values()]
        for head in ("", daemon, f'{daemon}[defaults]\ntimezone = "Asia/Kathmandu"\n')
    ]
    assert zones == [["UTC", "Europe/Berlin"], ["UTC", "Asia/Tokyo"], ["UTC", "Asia/Kathmandu"]]


def test_the_daemons_table_becomes_the_settings() -> None:
    text = """
        [daemon]
        timezone = "Asia/Tokyo"
        log_dir = "log"
        state_dir = "/var/lib/stsd"
        max_running = 4
        stop_timeout = "2m"
        """
    expected = Settings(
        "Asia/Tokyo", Path.cwd() / "log", Path("/var/lib/stsd"), 4, stop_timeout=120.0
    )
    assert loaded(text).settings == expected


def test_the_settings_alone_are_read_whatever_is_wrong_with_the_jobs() -> None:
    path = write("[daemon]\nmax_running = 4\n[jobs.a]\n")
    assert load_settings(path).max_running == 4


def test_a_macro_for_the_start_of_the_daemon_is_a_key_of_its_own() -> None:
    assert job('cron = "@reboot"').when == When(on_start=True, timezone="Europe/Berlin")


def test_a_job_overrides_the_defaults_key_by_key_and_within_tables() -> None:
    made = loaded(
        """
        [defaults]
        timeout = "1h"
        retry = { max = 1, delay = "20s" }
        dst = { gap = "skip" }
        env = { A = "1", B = "2" }
        [jobs.a]
        command = "true"
        retry = { max = 5 }
        dst = { fold = "both" }
        env = { B = "3" }
        [jobs.b]
        command = "true"
        timeout = "2h"
        """
    ).jobs
    assert made["a"].timeout == 3600
    assert made["a"].retry == Retry(max=5, delay=20.0)
    assert (made["a"].when.gap, made["a"].when.fold) == (Gap.SKIP, Fold.BOTH)
    assert made["a"].env == (("A", "1"), ("B", "3"))
    assert (made["b"].timeout, made["b"].retry.max) == (7200, 1)


def test_a_longest_delay_that_is_not_told_is_no_shorter_than_the_delay() -> None:
    assert job('retry = { max = 1, delay = "3h" }').retry.max_delay == 3 * 3600


def test_included_files_are_read_in_order_with_their_own_defaults_and_folders() -> None:
    write('[defaults]\ncwd = "work"\n[jobs.b]\ncommand = "true"\n', "conf/d/b.toml")
    write('[jobs.a]\ncommand = "true"\ncwd = ".."\n', "conf/d/a.toml")
    path = write(
        '[daemon]\ninclude = ["d/*.toml", "d/a.toml", "none/*.toml"]\n'
        '[defaults]\ntimeout = 9\n[jobs.z]\ncommand = "true"\n',
        "conf/jobs.toml",
    )
    jobfile = load(path, local_zone="UTC")
    conf = Path.cwd() / "conf"
    assert list(jobfile.jobs) == ["z", "a", "b"]
    assert [made.timeout for made in jobfile.jobs.values()] == [9, 9, 9]
    assert [made.cwd for made in jobfile.jobs.values()] == [
        str(conf),
        f"{conf}/d/..",
        f"{conf}/d/work",
    ]
    assert jobfile.files == (conf / "jobs.toml", conf / "d/a.toml", conf / "d/b.toml")


def test_a_file_that_includes_itself_is_read_once() -> None:
    text = f'[daemon]\ninclude = ["*.toml"]\n{COMMAND}'
    assert list(loaded(text).jobs) == ["a"]


def test_an_included_file_includes_nothing() -> None:
    write('[daemon]\ninclude = ["x.toml"]\n', "b.toml")
    text = f'[daemon]\ninclude = ["b.toml"]\n{COMMAND}'
    assert problems(text) == [
        "b.toml:1:2: daemon: an included file holds [jobs.NAME] and [defaults] only"
        " (move it to jobs.toml)"
    ]


def test_a_job_of_the_same_name_in_two_files_is_refused_with_the_other_place() -> None:
    write('[jobs.a]\ncommand = "x"\n', "b.toml")
    text = f'[daemon]\ninclude = ["b.toml"]\n{COMMAND}'
    assert problems(text) == [
        "b.toml:1:7: jobs.a: is there already, at jobs.toml:3:7 (choose another name)"
    ]


def test_all_problems_come_at_once_in_the_order_of_the_lines() -> None:
    text = '[jobs.b]\ncommand = ""\n[daemon]\nmax_running = 0\n[jobs.a]\ntimout = 3\nevery = 0\n'
    places = [problem.split(": ")[0] for problem in problems(text)]
    assert places == ["jobs.toml:2:11", "jobs.toml:4:15", "jobs.toml:6:1", "jobs.toml:7:9"]


def test_of_more_than_fifty_problems_the_rest_are_counted() -> None:
    text = "[jobs.a]\n" + "".join(f"x{number} = 1\n" for number in range(60))
    with pytest.raises(JobfileError) as raised:
        loaded(text)
    assert len(raised.value.problems) == 50
    assert str(raised.value).splitlines()[-1] == "and 10 more"


def test_a_place_within_an_expression_is_told() -> None:
    (problem,) = problems(f'{COMMAND}cron = "0 25 * * *"\n')
    assert problem.startswith("jobs.toml:3:11: jobs.a.cron: ")


def test_each_wrong_expression_of_several_is_told() -> None:
    text = f'{COMMAND}cron = ["0 25 * * *", "0 1 * * *", "61 * * * *"]\n'
    places = [problem.split(": ")[0] for problem in problems(text)]
    assert places == ["jobs.toml:3:12", "jobs.toml:3:37"]


def test_a_zone_that_defaults_give_is_blamed_on_them() -> None:
    (problem,) = problems(f'[defaults]\ncron = "* *"\n{COMMAND}')
    assert problem.startswith("jobs.toml:2:")


def test_equal_schedules_and_retries_are_one_value() -> None:
    lines = 'command = "true"\ncron = "@daily"\nretry = { max = 2 }\nenv = { A = "1" }\n'
    made = loaded(f"[jobs.a]\n{lines}[jobs.b]\n{lines}").jobs
    assert made["a"].when is made["b"].when
    assert made["a"].retry is made["b"].retry
    assert made["a"].env is made["b"].env


def test_equal_values_of_any_key_are_one_and_so_are_the_words_in_them() -> None:
    lines = 'command = ["prog", "{0}", "same"]\nenv = {{ NAME = "{0}" }}\ntags = ["{0}", "{0}"]\n'
    made = loaded("".join(f"[jobs.{name}]\n{lines.format('xyz')}" for name in "ab")).jobs
    assert made["a"].task is made["b"].task
    assert made["a"].tags is made["b"].tags
    assert made["a"].tags[0] is made["a"].tags[1] is made["a"].env[0][1]
    assert isinstance(made["a"].task, ArgvTask)
    assert made["a"].task.argv[1] is made["a"].tags[0]


def test_equal_numbers_of_two_types_stay_what_they_are() -> None:
    made = loaded(f"{COMMAND}user = 0\n[jobs.b]\ncommand = 'true'\nenabled = false\n").jobs
    assert made["a"].user == 0
    assert made["a"].user is not False
    assert made["b"].enabled is False


def test_the_garbage_collector_is_left_as_it_was_found() -> None:
    loaded(COMMAND)
    assert gc.isenabled()
    with pytest.raises(JobfileError):
        loaded("[jobs.a]\n")
    assert gc.isenabled()


def test_what_is_not_there_is_warned_of_once() -> None:
    lines = 'cwd = "/nowhere"\n'
    jobfile = loaded(
        f'{COMMAND}{lines}[jobs.b]\ncommand = "true"\n{lines}'
        '[jobs.c]\ncommand = ["no-such-program"]\n'
    )
    assert jobfile.warnings == (
        'jobs.toml:3:7: jobs.a.cwd: there is no folder "/nowhere"',
        'jobs.toml:8:11: jobs.c.command: there is no program "no-such-program"',
    )


def test_a_jobfile_without_jobs_is_valid_with_a_warning() -> None:
    assert loaded("").warnings == ("jobs.toml: has no jobs (add a [jobs.NAME] table)",)


def test_a_file_that_others_may_write_is_warned_of() -> None:
    path = write(COMMAND)
    path.chmod(0o664)
    warnings = load(path, local_zone="UTC", trusted_uid=os.geteuid() or 12345).warnings
    assert warnings == (
        "jobs.toml: may be written by others than its owner (chmod go-w jobs.toml)",
    )


def test_root_refuses_a_file_that_others_may_write() -> None:
    path = write(COMMAND)
    path.chmod(0o646)
    with pytest.raises(JobfileError, match="may be written by others than its owner"):
        load(path, local_zone="UTC", trusted_uid=0)


def test_root_refuses_a_folder_where_others_may_write_unless_it_is_sticky() -> None:
    path = write(COMMAND, "d/jobs.toml")
    Path("d").chmod(0o777)
    with pytest.raises(JobfileError, match="where others than its owner may write"):
        load(path, local_zone="UTC", trusted_uid=0)
    if os.geteuid() == 0:
        Path("d").chmod(0o1777)
        assert load(path, local_zone="UTC", trusted_uid=0).warnings == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files away takes root")
def test_root_refuses_a_file_of_another_user() -> None:
    path = write(COMMAND)
    os.chown(path, 12345, 0)
    with pytest.raises(JobfileError, match="belongs to user 12345"):
        load(path, local_zone="UTC", trusted_uid=0)
    assert load(path, local_zone="UTC", trusted_uid=12345).warnings == ()


def test_a_folder_of_the_own_home_may_be_written_with_a_tilde(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert job('cwd = "~/x/./y"').cwd == "/home/ann/x/y"


def test_a_place_can_be_given_to_what_is_found_out_later() -> None:
    examined = examine(write(f'{COMMAND}cron = "@daily"\n'), local_zone="UTC")
    (told,) = examined.problems([(("a", "cron"), "moves", "stay")])
    assert str(told) == "jobs.toml:3:8: jobs.a.cron: moves (stay)"


def test_the_machines_zone_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    assert machine_zone() == "Asia/Kathmandu"
    monkeypatch.setenv("TZ", "../../etc/passwd")
    assert machine_zone() != "../../etc/passwd"


@pytest.mark.slow
def test_ten_thousand_jobs_cost_a_small_multiple_of_their_parsing() -> None:
    text = "[defaults]\ntimeout = 60\n" + "".join(
        f'[jobs.job{number}]\ncommand = "echo {number}"\n'
        f'cron = "{number % 60} {number % 24} * * *"\nretry = {{ max = 2, delay = "10s" }}\n'
        for number in range(10_000)
    )
    path = write(text)
    parsing, loading = [], []
    for _ in range(3):
        start = time.process_time()
        tomli.loads(text)
        parsed = time.process_time()
        assert len(load(path, local_zone="UTC").jobs) == 10_000
        parsing.append(parsed - start)
        loading.append(time.process_time() - parsed)
    assert min(loading) < 6 * min(parsing)


_LITERALS = st.sampled_from(
    [
        "0", "-1", "1", "255", "0xffffffffffffffffffffffff", "0.5", "1e999", "nan", "-inf", "true",
        '""', '" "', '"x"', '"5m"', '"@daily"', '"* * * * *"', '"H H * * *"', '"10:30"', '"a:b"',
        '"\\u0000"', '"\\u001b[1m"', '"UTC"', '"../x"', '"~nobody-at-all/x"', '"2026-02-30"',
        "2026-11-21", "07:32:00", "1979-05-27T07:32:00", "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59.5-23:59", '"9999-12-31T23:59:59-23:59"', "[]", "{}",
    ]
)  # fmt: skip
_VALUES = st.recursive(
    _LITERALS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(
            st.sampled_from(["max", "delay", "on", "gap", "PATH", "x", '""', '"a=b"']),
            inner,
            max_size=3,
        ).map(lambda pairs: f"{{{', '.join(f'{key} = {text}' for key, text in pairs.items())}}}")
    ),
    max_leaves=5,
)
_SECTIONS = st.sampled_from(["daemon", "defaults", "jobs.a", "jobs.b", "jobs", '"x y"'])
_KEYS = st.sampled_from([*JOB_KEYS, *DAEMON_KEYS, "comand"])


@pytest.mark.slow
@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.dictionaries(_SECTIONS, st.dictionaries(_KEYS, _VALUES, max_size=5), max_size=4))
def test_whatever_stands_in_a_jobfile_it_is_read_or_refused_with_places(
    sections: dict[str, dict[str, str]],
) -> None:
    text = "".join(
        f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in pairs.items())
        for section, pairs in sections.items()
    )
    path = write(text)
    try:
        load(path, local_zone="UTC")
    except JobfileError as error:
        for problem in error.problems:
            assert problem.file != "jobs.toml" or problem.line > 0
            assert problem.message.isprintable()
