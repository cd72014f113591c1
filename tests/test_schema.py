"""The JSON Schema, as taplo uses it on jobfiles: what editors will mark, and what not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from stsd.cli import main
from stsd.key import Group, Key
from stsd.keys import DAEMON_KEYS, JOB_KEYS
from stsd.schema import of, schema
from stsd.unitfile import first_jobfile
from stsd.values import Text
from tests.support import DEADLINE_S
from tests.test_broken_jobfiles import BROKEN, job
from tests.test_docs import PAGES, TOML
from tests.test_keys import jobfile_with

REPOSITORY = Path(__file__).parent.parent
COPY = REPOSITORY / "docs" / "jobs.schema.json"
TAPLO = Path(sys.executable).with_name("taplo")
KEYS = [*DAEMON_KEYS.values(), *JOB_KEYS.values()]

# Broken in a way that stsd alone can tell: what schedules, zones, names and dates mean, what jobs
# have to do with each other and with the machine, and what TOML is in bytes.
BEYOND_A_SCHEMA = {
    "February 30 as a text",
    "February 30 in cron",
    "a NUL escape in a command",
    "a NUL escape in an argument",
    "a NUL escape in the environment",
    "a NUL escape in a folder",
    "3 MB of environment",
    "a bad one of several",
    "a bad schedule by default",
    "a bad time of day",
    "a circle of jobs",
    "a cron value out of range",
    "a job after itself",
    "a job after nobody",
    "a long variable",
    "a quiet time that never ends",
    "a zone that is a folder",
    "an anchor alone",
    "an argument that is no number",
    "an empty program",
    "an end before the start",
    "an included file that is not there",
    "an unknown group",
    "an unknown user",
    "an unknown zone",
    "arguments that are no JSON",
    "case twins",
    "delays that shrink",
    "nobody to tell",
    "parts of a second",
    "too few cron fields",
}
# taplo takes minutes over these, ends with a signal, or says no more than that they are not UTF-8:
# its parser's business, not the schema's.
BEYOND_TAPLO = {
    "UTF-16",
    "invalid UTF-8",
    "deep arrays",
    "deep tables",
    "deep keys",
    "deep keys of a variable",
    "a huge number",
    "a number of 5,000 digits",
    "a circle of 30,000 jobs",
    "100,000 tables",
}


@pytest.fixture(scope="session")
def schema_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("schema") / "jobs.schema.json"
    path.write_text(json.dumps(schema()))
    return path


def lint(jobfiles: Sequence[Path], schema_file: Path | None = None) -> dict[Path, str]:
    """What taplo has against each jobfile, by a schema or by the one that its first line names;
    those that are right are left out."""
    by = ["--schema", schema_file.as_uri()] if schema_file else []
    done = subprocess.run(
        [TAPLO, "lint", "--no-auto-config", "--colors", "never", *by, *jobfiles],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    # Not by its log, whose last lines it may lose when it ends.
    found = set(map(Path, re.findall(r"┌─ (.*):\d+:\d+$", done.stderr, re.MULTILINE)))
    assert done.returncode == (1 if found else 0), done.stderr
    assert found <= set(jobfiles)
    return dict.fromkeys(found, done.stderr)


def marked(jobfile: Path, schema_file: Path | None = None) -> str:
    """What taplo has against one jobfile; nothing if it is right."""
    return lint([jobfile], schema_file).get(jobfile, "")


@pytest.fixture(scope="session")
def judged(schema_file: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Which of the broken jobfiles and of the keys are marked, all looked at in one go."""
    folder = tmp_path_factory.mktemp("judged")
    texts = {kind: BROKEN[kind][0] for kind in BROKEN.keys() - BEYOND_TAPLO}
    texts |= {named(key): jobfile_with(key) for key in KEYS}
    files = {folder / f"{number}.toml": name for number, name in enumerate(texts)}
    for path, name in files.items():
        path.write_bytes(content if isinstance(content := texts[name], bytes) else content.encode())
    return {files[path] for path in lint(list(files), schema_file)}


def written(folder: Path, text: str) -> Path:
    path = folder / "jobs.toml"
    path.write_text(text)
    return path


def named(key: Key) -> str:
    return f"{key.group.name}-{key.name}"


def test_the_copy_in_the_repository_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["schema"]) == 0
    assert COPY.read_text() == capsys.readouterr().out, "run make generate"


def test_the_example_names_the_schema_and_is_right_by_it(tmp_path: Path) -> None:
    example = REPOSITORY / "jobs.example.toml"
    first, _, rest = example.read_text().partition("\n")
    assert (REPOSITORY / first.removeprefix("#:schema ")).samefile(COPY)
    assert marked(example) == ""
    # And it is looked at by that schema: what is wrong is told.
    (tmp_path / "docs").symlink_to(COPY.parent)
    broken = written(tmp_path, f"{first}\n{rest}\n[jobs.broken]\n")
    assert "oneOf" in marked(broken)


def test_no_jobfile_of_the_pages_is_marked(tmp_path: Path, schema_file: Path) -> None:
    blocks = [block for page in PAGES for block in TOML.findall(page.read_text())]
    assert len(blocks) > 10
    files = [tmp_path / f"{number}.toml" for number in range(len(blocks))]
    for path, block in zip(files, blocks, strict=True):
        path.write_text(block)
    assert lint(files, schema_file) == {}


def test_the_first_jobfile_is_not_marked(tmp_path: Path, schema_file: Path) -> None:
    text = re.sub(r"^# (\w+ = |\[jobs\.)", r"\1", first_jobfile("log", "state"), flags=re.M)
    assert marked(written(tmp_path, text), schema_file) == ""


@pytest.mark.parametrize("key", [named(key) for key in KEYS])
def test_every_key_is_accepted(key: str, judged: set[str]) -> None:
    assert key not in judged


def test_every_key_is_told_what_it_means() -> None:
    made = schema()
    for key in KEYS:
        home = made["properties"]["daemon"]["properties"]
        if key.group is not Group.DAEMON:
            home = made["definitions"]
            assert made["definitions"]["job"]["properties"][key.name]["$ref"].endswith(key.name)
            assert (key.name in made["properties"]["defaults"]["properties"]) == key.in_defaults
        assert home[key.name]["description"].startswith(key.says)


def test_the_known_keys_are_no_more_than_those() -> None:
    made = schema()
    names = {*made["properties"]["daemon"]["properties"], *made["definitions"]} - {"job"}
    assert names == {key.name for key in KEYS}


@pytest.mark.parametrize("kind", sorted(BROKEN.keys() - BEYOND_TAPLO))
def test_a_broken_jobfile_is_marked_where_a_schema_can_tell(kind: str, judged: set[str]) -> None:
    assert (kind in judged) == (kind not in BEYOND_A_SCHEMA)


def test_what_the_schema_cannot_tell_is_in_the_list_of_broken_jobfiles() -> None:
    assert BROKEN.keys() >= BEYOND_A_SCHEMA | BEYOND_TAPLO


@pytest.mark.parametrize(
    "lines",
    [
        'timeout = "1w2d3h4m5s6ms"',
        'timeout = " 90s "',
        "timeout = 0.5",
        'output = { max_size = "1.5GiB" }',
        'stop_signal = "sigusr1"',
        'umask = "0077"',
        'cron = ["@daily", "0 0 * * *"]',
        "start = 2026-12-01",
        'start = "2026-12-01"',
        'every = 60\nanchor = "2026-01-01 06:00:00+01:00"',
        "every = 60\nanchor = 2026-01-01 06:00:00-02:00",
        'env = { "a.b" = "", PATH = "/bin" }',
        'user = 0\ngroup = "root"',
        'after = "b"\n[jobs.b]\ncommand = "x"',
        'after = [{ job = "b", outcome = "any" }]\n[jobs.b]\ncommand = ["x", ""]',
        'timezone = "America/Argentina/Buenos_Aires"',
        'timezone = "Etc/GMT+3"',
        'cwd = "~"',
        "deadline = 06:00:00",
        'deadline = "6:00"\nmax_age = 3600\nslow = "1.5x"\nmin_output = "1K"',
        'slow = "20m"\nping = { failure = "${FAILED}" }',
        "notify = false\nping = false\ndeadline = false\nslow = false\nmin_output = false",
        'notify = { to = { command = ["sh", "-c", "cat"] }, quiet = "22:00 - 24:00" }',
        'notify = { to = ["${CHAT}", { webhook = "https://h/", secret = "${KEY}" }] }',
    ],
)
def test_what_stsd_accepts_is_never_marked(
    lines: str, tmp_path: Path, schema_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobfile = written(tmp_path, job(lines))
    assert main(["check", "-c", str(jobfile)]) == 0, capsys.readouterr()
    assert marked(jobfile, schema_file) == ""


@pytest.mark.parametrize(
    "url",
    ["HTTPS://example.com", "${URL}", "http://[::1]:80/?a=${A}", "https://h/$${not}", "http://h/$"],
)
def test_addresses_that_stsd_accepts_are_never_marked(
    url: str, tmp_path: Path, schema_file: Path
) -> None:
    jobfile = written(tmp_path, f"[jobs.a]\nhttp = {{ url = '{url}' }}\n")
    assert main(["check", "-c", str(jobfile)]) == 0
    assert marked(jobfile, schema_file) == ""


@pytest.mark.parametrize("url", ["http:example.com", "https://h/${", "https://h/${1}"])
def test_addresses_that_stsd_refuses_are_marked(
    url: str, tmp_path: Path, schema_file: Path
) -> None:
    jobfile = written(tmp_path, f"[jobs.a]\nhttp = {{ url = '{url}' }}\n")
    assert main(["check", "-c", str(jobfile)]) == 2
    assert marked(jobfile, schema_file) != ""


def test_patterns_mean_the_same_in_every_dialect() -> None:
    """Classes such as \\w hold other letters in other languages; inline flags are Python's own."""
    patterns = re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', json.dumps(schema()))
    assert len(patterns) > 50
    for pattern in map(json.loads, patterns):
        assert not re.search(r"\\[wWdDbBAZ]|\(\?[a-zA-Z]", pattern), pattern


def test_a_kind_of_value_without_a_place_in_the_schema_is_an_error() -> None:
    class Unheard:
        def read(self, value: object, folder: str) -> object:
            return value

    with pytest.raises(KeyError):
        of(Unheard())
    assert of(Text(pattern="a|b"))["pattern"] == "^(?:a|b)$"
