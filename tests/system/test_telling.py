"""Telling people from inside the sandbox of the unit that stsd ships."""

from __future__ import annotations

import json
from functools import partial

import pytest

from tests.system.support import Container, wait_for

pytestmark = pytest.mark.system

TOLD = "/var/lib/stsd/told"
FETCH = (
    "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:9464/metrics').read()"
    ".decode())"
)
RECEIVE = """
import http.server
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        open("/tmp/hooked", "wb").write(body)
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", 8899), Receiver).handle_request()
"""
JOBS = f"""
[daemon]
metrics = {{ listen = "127.0.0.1:9464" }}
[jobs.bad]
command = "echo no space left; exit 3"
on_start = true
notify = {{ to = ["http://127.0.0.1:8899/hook", {{ command = "cat > {TOLD}" }}] }}
"""


def test_the_sandbox_lets_webhooks_and_commands_be_told_and_metrics_be_served(
    unit: Container,
) -> None:
    unit.write("/tmp/receive.py", RECEIVE)
    unit.run("rm", "-f", "/tmp/hooked")
    unit.run("systemd-run", "--quiet", "--collect", "/opt/stsd/bin/python", "/tmp/receive.py")
    unit.start(JOBS)
    for path in (TOLD, "/tmp/hooked"):
        read = partial(unit.run, "cat", path, check=False)
        text = wait_for(f"{path} to be written", lambda: read().stdout, 60.0)  # noqa: B023
        (notice,) = json.loads(text)["notices"]
        assert (notice["event"], notice["tail"]) == ("failed", ["no space left"])

    def metrics() -> str:
        return unit.run("/opt/stsd/bin/python", "-c", FETCH, check=False).stdout

    line = 'stsd_runs_total{job_name="bad",outcome="failed"} 1'
    wait_for("the metrics", lambda: line in metrics())
    users = unit.run("ps", "-ww", "-eo", "user=,args=").stdout.splitlines()
    (herald,) = [text for text in users if "'stsd herald'" in text]
    (server,) = [text for text in users if "metrics_server" in text]
    assert herald.startswith("root")
    assert not server.startswith("root")
    assert len(unit.processes()) >= 3
    unit.run("systemctl", "stop", "stsd")
    assert unit.property("Result") == "success"
