"""Names for jobs, from what they run."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stsd.jobnames import name_for


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/usr/local/bin/backup.sh --all", "backup"),
        ("cd / && run-parts --report /etc/cron.hourly", "cron-hourly"),
        (
            "test -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.daily; }",
            "cron-daily",
        ),
        ("[ -x /usr/lib/x ] && if [ ! -d /run/systemd/system ]; then /usr/lib/x; fi", "x"),
        ("if [ $(date +%d) -le 7 ]; then /usr/share/mdadm/checkarray --all; fi", "checkarray"),
        ("test -x a && perl -e 'sleep int(rand(43200))' && certbot -q renew", "certbot"),
        ("command -v debian-sa1 > /dev/null && debian-sa1 1 1", "debian-sa1"),
        ("nice -n 19 ionice -c3 flock -n /tmp/l /opt/sync.py >/dev/null 2>&1", "sync"),
        ("timeout 5m curl -s https://example.com", "curl"),
        ("/usr/bin/php -f /var/www/cron.php", "cron"),
        ("python3 -m shop.rates", "shop-rates"),
        ("sh -c 'cd /srv; ./deploy.sh'", "deploy"),
        ("DISPLAY=:0 notify", "notify"),
        ("2>&1 >/dev/null poll", "poll"),
        ("a=$(cat x | sed 's/(.)/y/'); find . -delete", "find"),
        ("`which ls` -l", "job"),
        ("echo hello", "echo"),
        ("'", "job"),
        ("été", "t"),
    ],
)
def test_a_command_is_named_by_what_it_does(command: str, name: str) -> None:
    assert name_for(command, set()) == name


def test_a_name_that_is_taken_in_any_case_goes_on_with_an_argument() -> None:
    assert name_for("Mailman -q digests --now", {"mailman"}) == "Mailman-digests"


def test_then_the_file_and_then_numbers_tell_names_apart() -> None:
    assert name_for("run", {"run"}, "shop") == "shop-run"
    assert name_for("run", {"run", "shop-run"}, "shop") == "run-2"
    assert name_for("run", {"run", "run-2"}) == "run-3"


@given(st.text(max_size=200), st.text(max_size=20))
def test_any_command_gets_a_valid_name(command: str, prefix: str) -> None:
    taken: set[str] = set()
    for _ in range(4):
        name = name_for(command, taken, prefix)
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name)
        assert name.lower() not in taken
        taken.add(name.lower())
