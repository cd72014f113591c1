"""`stsd init`: the first jobfile, and the unit that runs it."""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
from pathlib import Path

import pytest
import tomli

from stsd.cli import init, main
from stsd.errors import StsdError
from stsd.unitfile import Variant, first_jobfile, reload_drop_in, unit
from tests.support import Stsd, wait_for

UNIT = Path("etc/systemd/system/stsd.service")
DROP_IN = Path("etc/systemd/system/stsd.service.d/notify-reload.conf")
PROGRAM = (sys.executable, "-m", "stsd")
CHECK_REACH = init._check_reach


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ada")
    for name in ("STSD_CONFIG", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(init, "_version_of_systemd", lambda: 252)
    monkeypatch.setattr(init, "_check_reach", lambda plan: None)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """The exit code of `stsd init WORDS`, and all that it printed."""
    capsys.readouterr()
    code = main(["init", *words])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


# -- the jobfile


def test_the_first_jobfile_passes_the_check_without_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, text = said(capsys)
    assert code == 0
    assert "wrote jobs.toml; next:\n  stsd check " in text
    assert main(["check"]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("jobs.toml: 2 jobs, no problems\n", "")


def test_the_lines_that_are_commented_out_are_valid_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = first_jobfile("run/log", "run/state")
    text = re.sub(r"^# (\w+ = |\[jobs\.)", r"\1", text, flags=re.M)
    if os.geteuid() != 0:  # others are warned that they cannot become somebody else
        text = re.sub(r"^user = .*", "", text, flags=re.M)
    Path("jobs.toml").write_text(text)
    Path("shop.py").write_text("def refresh(base): ...")
    assert len(tomli.loads(text)["jobs"]) == 3
    assert main(["check"]) == 0
    assert "warning" not in capsys.readouterr().err


def test_the_first_jobfile_runs_as_it_is(stsd: Stsd, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "-c", str(stsd.jobfile), "--force")[0] == 0
    stsd.start()
    place = stsd.folder / "run" / "log" / "history"
    wait_for(
        lambda: [p for p in place.glob("*.jsonl") if '"finished"' in p.read_text()],
        "a finished run of the job `hello`",
    )
    assert stsd.stop() == 0
    assert re.search(r"Hello, it is \d\d:\d\d\.", stsd.run("logs", "hello").stdout)


def test_a_jobfile_is_not_overwritten_unless_told(capsys: pytest.CaptureFixture[str]) -> None:
    Path("jobs.toml").write_text("# mine\n")
    code, text = said(capsys)
    assert (code, text) == (1, "stsd: jobs.toml is there already (--force overwrites it)\n")
    assert Path("jobs.toml").read_text() == "# mine\n"
    assert said(capsys, "--force")[0] == 0
    assert Path("jobs.toml").read_text() == first_jobfile("run/log", "run/state")


def test_a_link_that_leads_nowhere_is_not_followed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("jobs.toml").symlink_to("elsewhere")
    assert said(capsys)[0] == 1
    assert said(capsys, "--force")[0] == 0
    assert not Path("elsewhere").exists()
    assert not Path("jobs.toml").is_symlink()


def test_a_jobfile_may_have_another_name(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = said(capsys, "-c", "deep/down.toml")
    assert code == 0
    assert "stsd check -c deep/down.toml" in text
    assert main(["check", "-c", "deep/down.toml"]) == 0


def test_print_shows_the_jobfile_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "--print") == (0, first_jobfile("run/log", "run/state"))
    assert list(Path().iterdir()) == []


def test_what_is_written_is_readable_by_all_and_writable_by_its_owner_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    old = os.umask(0)
    try:
        said(capsys)
    finally:
        os.umask(old)
    assert stat.S_IMODE(Path("jobs.toml").stat().st_mode) == 0o644
    assert os.listdir() == ["jobs.toml"]


def test_a_folder_that_cannot_be_written_is_told_and_nothing_is_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("file").write_text("")
    code, text = said(capsys, "-c", "file/jobs.toml")
    assert code == 1
    assert text == "stsd: file/jobs.toml cannot be written: one of its folders is a file\n"
    assert os.listdir() == ["file"]


@pytest.mark.parametrize("option", ["--user", "--unprivileged", "--root=x"])
def test_options_of_the_unit_need_systemd(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = said(capsys, option)
    assert code == 2
    assert text == f"stsd: {option.partition('=')[0]} goes with --systemd\n"


# -- the unit


def test_the_systems_unit_comes_with_a_first_jobfile(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = said(capsys, "--systemd", "--root", "r")
    assert code == 0
    assert "  systemctl daemon-reload\n  systemctl enable --now stsd\n" in text
    assert Path("r", UNIT).read_text() == unit(Variant.SYSTEM, PROGRAM)
    jobfile = Path("r/etc/stsd/jobs.toml")
    assert jobfile.read_text() == first_jobfile("/var/log/stsd", "/var/lib/stsd")
    assert stat.S_IMODE(jobfile.parent.stat().st_mode) & 0o007 == 0
    assert main(["check", "-c", str(jobfile)]) == 0


def test_a_jobfile_that_is_there_stays_even_if_the_unit_is_forced(
    capsys: pytest.CaptureFixture[str],
) -> None:
    jobfile = Path("r/etc/stsd/jobs.toml")
    jobfile.parent.mkdir(parents=True)
    jobfile.write_text("# mine\n")
    for force in ([], ["--force"]):
        code, text = said(capsys, "--systemd", "--root", "r", *force)
        assert code == 0
        assert "kept r/etc/stsd/jobs.toml, which is there already\n" in text
    assert jobfile.read_text() == "# mine\n"


def test_a_unit_is_not_overwritten_unless_told(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "--systemd", "--root", "r")
    code, text = said(capsys, "--systemd", "--root", "r")
    assert (code, text) == (1, f"stsd: r/{UNIT} is there already (--force overwrites it)\n")


def test_the_unprivileged_unit_leaves_the_jobfile_open_to_its_user(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert said(capsys, "--systemd", "--unprivileged", "--root", "r")[0] == 0
    assert Path("r", UNIT).read_text() == unit(Variant.UNPRIVILEGED, PROGRAM)
    folder = Path("r/etc/stsd")
    assert stat.S_IMODE(folder.stat().st_mode) & 0o005 == 0o005
    assert stat.S_IMODE((folder / "jobs.toml").stat().st_mode) == 0o644


def test_the_users_unit_is_at_home(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = said(capsys, "--systemd", "--user", "--root", "r")
    assert code == 0
    assert "systemctl --user enable --now stsd\n" in text
    assert "export STSD_CONFIG=/home/ada/.config/stsd/jobs.toml" in text
    home = Path("r/home/ada/.config")
    assert (home / "systemd/user/stsd.service").read_text() == unit(Variant.USER, PROGRAM)
    jobfile = tomli.loads((home / "stsd/jobs.toml").read_text())
    assert jobfile["daemon"]["log_dir"] == "~/.local/state/stsd/log"


def test_a_unit_for_another_jobfile_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "--systemd", "--root", "r", "-c", "/srv/jobs.toml")[0] == 0
    assert Path("r", UNIT).read_text() == unit(Variant.SYSTEM, PROGRAM, "/srv/jobs.toml")
    assert Path("r/srv/jobs.toml").exists()


def test_a_newer_systemd_gets_the_drop_in_that_waits_for_a_reload(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init, "_version_of_systemd", lambda: 253)
    assert said(capsys, "--systemd", "--root", "r")[0] == 0
    assert Path("r", DROP_IN).read_text() == reload_drop_in(unit(Variant.SYSTEM, PROGRAM))


def test_print_shows_the_unit_with_its_path(capsys: pytest.CaptureFixture[str]) -> None:
    code, text = said(capsys, "--systemd", "--print")
    assert (code, text) == (0, f"# /{UNIT}\n{unit(Variant.SYSTEM, PROGRAM)}")
    assert os.listdir() == []


def test_the_program_is_the_one_that_was_called(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("stsd").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "argv", ["./stsd", "init"])
    text = said(capsys, "--systemd", "--print")[1]
    assert f"ExecStart={Path.cwd()}/stsd run --config /etc/stsd/jobs.toml\n" in text


def test_where_others_may_not_write_it_says_who_may(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*words: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    code, text = said(capsys, "--systemd", "--root", "r")
    assert code == 1
    remedy = "(call it as root, or with --user)"
    assert text == f"stsd: r/{UNIT} cannot be written: permission denied {remedy}\n"
    remedy = "(name another place with -c)"
    denied = f"stsd: jobs.toml cannot be written: permission denied {remedy}\n"
    assert said(capsys) == (1, denied)


def plan(variant: Variant, program: Path) -> init._Plan:
    return init._Plan(variant, (str(program),), (), Path("/etc/stsd/jobs.toml"), "")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in a folder of its own, which stands for a whole installation."""
    program = tmp_path / "opt" / "stsd"
    program.parent.mkdir(mode=0o755)
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "prefix", str(program.parent))
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(init.stsd, "__file__", str(program))
    return program


@pytest.mark.parametrize("variant", [Variant.SYSTEM, Variant.UNPRIVILEGED])
def test_an_installation_that_the_service_would_not_see_is_refused(
    variant: Variant, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = {variant: (str(installed.parent),), Variant.USER: ()}
    monkeypatch.setattr(init, "_HIDDEN", hidden)
    with pytest.raises(StsdError, match=r"is hidden from this service \(install stsd elsewhere"):
        CHECK_REACH(plan(variant, installed))
    CHECK_REACH(plan(Variant.USER, installed))


def test_an_installation_that_is_closed_to_others_is_refused_without_roots_rights(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init, "_HIDDEN", dict.fromkeys(Variant, ()))
    installed.parent.chmod(0o750)
    with pytest.raises(StsdError, match=r"opt is closed to others"):
        CHECK_REACH(plan(Variant.UNPRIVILEGED, installed))
    CHECK_REACH(plan(Variant.SYSTEM, installed))


def test_whoever_could_change_what_root_runs_is_named(
    installed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(init, "_HIDDEN", dict.fromkeys(Variant, ()))
    if os.geteuid() == 0:
        os.chown(installed, 12345, -1)
    CHECK_REACH(plan(Variant.SYSTEM, installed))
    owner = installed.stat().st_uid
    assert f"warning: {installed} belongs to user {owner}" in capsys.readouterr().err


def test_the_version_of_systemd_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    if shutil.which("systemctl") is not None:
        assert init._version_of_systemd() > 200
    monkeypatch.setenv("PATH", "/nowhere")
    assert init._version_of_systemd() == 0
