"""A real Prometheus (Debian's package) scrapes the endpoint, evaluates the alert rules and answers
what the dashboard asks."""

from __future__ import annotations

import contextlib
import json
import re
import selectors
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from stsd.endpoint import Endpoint
from stsd.exposition import render
from stsd.metrics import OF_STSD, PER_JOB, Gauges
from stsd.tallies import Tallies
from stsd.units import rfc3339
from tests.support import Stsd, wait_for

DOCS = Path(__file__).parent.parent / "docs"
RULES = DOCS / "prometheus" / "stsd.rules.yml"
DASHBOARD = DOCS / "grafana" / "stsd.json"
PATIENT_S = 60.0

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="needs prometheus (Debian's package)"
)
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool (Debian's prometheus)"
)


class Told:
    """An endpoint that is handed what these tallies and gauges say, as the herald does it."""

    def __init__(self) -> None:
        self.tallies = Tallies({})
        self.tallies.reload(["backup", "report"])
        self.gauges = Gauges(at=time.time(), version="1.0", jobs=2, started=time.time())
        self.address = ""
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._endpoint = Endpoint(self._selector, None, ("127.0.0.1", 0))
        self._over = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Told:
        self._thread.start()
        wait_for(lambda: self.address, "the endpoint listens", PATIENT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join(PATIENT_S)
        self._endpoint.close()
        self._selector.close()

    def end(self, job: str, outcome: str) -> None:
        """A run of a job has ended so."""
        at = rfc3339(time.time())
        record = {"event": "finished", "job": job, "outcome": outcome, "at": at, "duration_s": 2.5}
        with self._lock:
            self.tallies.take({"event": "started", "job": job, "late_s": 0.01})
            self.tallies.take(record)

    def _run(self) -> None:
        while not self._over:
            if not self._selector.select(0.05):
                continue
            heard = self._endpoint.hear()
            self.address = self.address or "".join(heard.listening)
            if heard.wanted:
                with self._lock:
                    gauges = replace(self.gauges, at=time.time())
                    self._endpoint.publish(render(self.tallies, gauges))


class Prometheus:
    """A server of its own that scrapes one address each second."""

    def __init__(self, folder: Path, scraped: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._at = f"127.0.0.1:{free.getsockname()[1]}"
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "stsd", "static_configs": [{"targets": [scraped]}]}],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))  # which is YAML, too
        self._argv = [
            "prometheus",
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={self._at}",
            "--log.level=warn",
        ]
        self._log = folder / "prometheus.log"

    def __enter__(self) -> Prometheus:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._argv, stdout=log, stderr=log)
        wait_for(self._is_ready, f"Prometheus is ready: {self._log}", PATIENT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def ask(self, path: str, **query: str) -> Any:
        """The data of an answer of its HTTP API."""
        url = f"http://{self._at}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENT_S) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{query}: {error.read().decode()}") from error

    def query(self, expression: str) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return result

    def firing(self) -> dict[str, str]:
        """The alerts that fire, and the jobs they are about."""
        alerts = self.ask("alerts")["alerts"]
        return {
            alert["labels"]["alertname"]: alert["labels"].get("job_name", "")
            for alert in alerts
            if alert["state"] == "firing"
        }

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://{self._at}/-/ready", timeout=PATIENT_S).close()
            return True
        return False


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    with Told() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def prometheus(told: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with Prometheus(tmp_path_factory.mktemp("prometheus"), told.address) as server:
        yield server


@pytest.mark.slow
@needs_prometheus
def test_prometheus_finds_the_target_up(prometheus: Prometheus) -> None:
    def target() -> dict[str, Any]:
        found = prometheus.ask("targets")["activeTargets"]
        return dict(found[0]) if found and found[0]["health"] != "unknown" else {}

    scraped = wait_for(target, "a scrape", PATIENT_S)
    assert (scraped["health"], scraped["lastError"]) == ("up", "")


@pytest.mark.slow
@needs_prometheus
def test_an_alert_fires_for_a_job_that_fails_and_ends_with_its_next_success(
    told: Told, prometheus: Prometheus
) -> None:
    told.end("report", "succeeded")
    told.end("backup", "timed_out")
    wait_for(
        lambda: prometheus.firing().get("StsdJobFailed") == "backup", "the alert fires", PATIENT_S
    )
    (alert,) = (
        alert
        for alert in prometheus.ask("alerts")["alerts"]
        if alert["labels"]["alertname"] == "StsdJobFailed"
    )
    assert alert["annotations"]["summary"] == f"backup has failed on {told.address}"
    assert "`stsd logs backup`" in alert["annotations"]["description"]
    told.end("backup", "succeeded")
    wait_for(lambda: "StsdJobFailed" not in prometheus.firing(), "the alert ends", PATIENT_S)


@pytest.mark.slow
@needs_prometheus
def test_a_counter_grows_from_its_first_event_on(told: Told, prometheus: Prometheus) -> None:
    def missed() -> float:
        found = prometheus.query('stsd_missed_total{job_name="report", reason="slept"}')
        return float(found[0]["value"][1]) if found else -1

    wait_for(lambda: missed() == 0, "the series begins at zero", PATIENT_S)
    told.tallies.take({"event": "missed", "job": "report", "reason": "slept", "count": 4})
    wait_for(lambda: prometheus.firing().get("StsdJobMissed") == "report", "the alert", PATIENT_S)


@pytest.mark.slow
@needs_prometheus
def test_what_has_ended_is_told_no_longer(told: Told, prometheus: Prometheus) -> None:
    told.gauges = replace(told.gauges, conditions={"backup": ["late"]})
    wait_for(lambda: prometheus.firing().get("StsdJobLate") == "backup", "the alert", PATIENT_S)
    told.gauges = replace(told.gauges, conditions={})
    wait_for(lambda: "StsdJobLate" not in prometheus.firing(), "the alert ends", PATIENT_S)


@pytest.mark.slow
@needs_prometheus
def test_prometheus_answers_all_that_the_dashboard_asks(told: Told, prometheus: Prometheus) -> None:
    told.end("backup", "succeeded")
    for expression in expressions():
        prometheus.query(filled(expression))  # fails where it is not understood
    counted = 'count(stsd_last_run_successful{instance=~"$instance", job_name=~"$job_name"})'
    wait_for(lambda: prometheus.query(filled(counted)), "the variables find the jobs", PATIENT_S)


@pytest.mark.slow
@needs_prometheus
def test_a_daemon_that_is_killed_is_noticed_and_its_counters_go_on(
    stsd: Stsd, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    file = tmp_path / "stsd.prom"
    stsd.write(
        f'metrics = {{ listen = "{address}", file = "{file}" }}\n'
        '[jobs.good]\ncommand = "true"\nevery = "1s"\n'
        '[jobs.bad]\ncommand = "exit 3"\nevery = "1s"\n'
    )
    (tmp_path / "prometheus").mkdir()
    with Prometheus(tmp_path / "prometheus", address) as prometheus:

        def runs(outcome: str) -> float:
            expression = f'stsd_runs_total{{outcome="{outcome}"}} > 0'
            found = prometheus.query(expression)
            return float(found[0]["value"][1]) if found else 0

        stsd.start()
        wait_for(lambda: runs("succeeded") >= 2, "runs are counted", PATIENT_S)
        wait_for(lambda: prometheus.firing().get("StsdJobFailed") == "bad", "alert", PATIENT_S)
        assert "stsd_jobs 2\n" in wait_for(
            lambda: file.exists() and file.read_text(), "the file", PATIENT_S
        )
        stsd.signal(signal.SIGKILL)
        wait_for(lambda: prometheus.query('up{job="stsd"} == 0'), "it is down", PATIENT_S)
        stsd.start()
        wait_for(lambda: runs("failed"), "it is scraped again", PATIENT_S)
        records = stsd.records("finished", "good")
        wait_for(lambda: runs("succeeded") >= len(records), "none is forgotten", PATIENT_S)


@needs_promtool
def test_promtool_finds_no_fault_with_the_rules() -> None:
    done = promtool("check", "rules", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr


JOB = 'instance="host:9464", job="stsd", job_name="backup"'
STSD = 'instance="host:9464", job="stsd"'
OTHER = 'instance="host:9100", job="node"'
FILE_LEFT = f"stsd_exposed_timestamp_seconds{{{OTHER}}}"
ENDPOINT = f"stsd_exposed_timestamp_seconds{{{STSD}}}"
MINUTES = 21
# What a series is, minute by minute (in promtool's notation: `_` nothing, `0+60x20` 0 and twenty
# more, each 60 above the one before), and in which minutes which alerts fire because of it.
CASES = [
    (f"stsd_last_run_successful{{{JOB}}}", "1 1 0 0 1 1", {"StsdJobFailed": [2, 3]}),
    (f'stsd_job_condition{{{JOB}, condition="silent"}}', "_ 1 1 stale", {"StsdJobSilent": [1, 2]}),
    (f'stsd_job_condition{{{JOB}, condition="late"}}', "_ 1 1 stale", {"StsdJobLate": [1, 2]}),
    (f'stsd_job_condition{{{JOB}, condition="slow"}}', "_ 1 1 stale", {"StsdJobSlow": [1, 2]}),
    (f'stsd_job_condition{{{JOB}, condition="failed"}}', "_ 1 1 stale", {}),
    (f'stsd_missed_total{{{JOB}, reason="down"}}', "0 0 3x18", {"StsdJobMissed": range(2, 17)}),
    (f"up{{{STSD}}}", "1 0x5 1 1 1", {"StsdDown": [3, 4, 5, 6]}),
    (f"up{{{OTHER}}}", "0x20", {}),
    (FILE_LEFT, "0x20", {"StsdDown": range(5, MINUTES)}),
    (ENDPOINT, "0+60x20", {"StsdAbsent": []}),
    (f"stsd_held{{{STSD}}}", "0 1 1 1 0", {"StsdHeld": [2, 3]}),
    (
        f"stsd_disk_free_bytes{{{STSD}}}",
        "6 4x13 6",
        {"StsdDiskAlmostFull": range(11, 15)},
    ),
    (f"stsd_loop_delay_seconds{{{STSD}}}", "0.1 3 0.1 3x10 0.1", {"StsdLoopDelay": range(8, 14)}),
    (
        f"stsd_config_last_reload_successful{{{STSD}}}",
        "1 0x8 1",
        {"StsdReloadFailed": range(6, 10)},
    ),
    (f"stsd_start_timestamp_seconds{{{STSD}}}", "1 2 3 4 4x20", {}),
    (
        f"stsd_start_timestamp_seconds{{{STSD}}}",
        "1 2 3 4 5x20",
        {"StsdRestarts": range(4, MINUTES)},
    ),
    (
        f'stsd_notifications_total{{{STSD}, result="failed"}}',
        "0+1x20",
        {"StsdCannotTell": range(6, MINUTES)},
    ),
    (f'stsd_notifications_total{{{STSD}, result="told"}}', "0+9x20", {}),
    (
        f"stsd_notices_lost_total{{{STSD}}}",
        "0 0 7x18",
        {"StsdNoticesLost": range(2, MINUTES)},
    ),
]


@needs_promtool
@pytest.mark.parametrize(("series", "values", "firing"), CASES)
def test_alerts_fire_in_their_time_and_at_no_other(
    tmp_path: Path, series: str, values: str, firing: dict[str, list[int]]
) -> None:
    """All of them, in each minute; nothing tells of stsd in most cases, so that that one fires."""
    absent = {"StsdAbsent": range(15, MINUTES)} if "exposed" not in series else {}
    expected = {**absent, **firing}
    tests = [
        {
            "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)',
            "eval_time": f"{minute}m",
            "exp_samples": [{"labels": "{}", "value": int(minute in expected.get(alert, []))}],
        }
        for alert in alerts()
        for minute in range(MINUTES)
    ]
    case = {
        "interval": "1m",
        "input_series": [
            {"series": series, "values": values},
            {"series": f"stsd_disk_size_bytes{{{STSD}}}", "values": f"100x{MINUTES}"},
        ],
        "promql_expr_test": tests,
    }
    config = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [case]}
    (tmp_path / "rules.test.yml").write_text(json.dumps(config))
    done = promtool("test", "rules", str(tmp_path / "rules.test.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_a_case_for_each_alert() -> None:
    assert {"StsdAbsent"}.union(*(case[2] for case in CASES)) == set(alerts())


def test_rules_and_dashboard_name_metrics_that_exist_and_no_others() -> None:
    metrics = {metric.name: metric.kind for metric in (*OF_STSD, *PER_JOB)}
    known = {name for name, kind in metrics.items() if kind != "histogram"}
    for name, kind in metrics.items():
        if kind == "histogram":
            known |= {f"{name}{suffix}" for suffix in ("_bucket", "_sum", "_count")}
    asked = "\n".join([RULES.read_text(), *expressions()])
    assert set(re.findall(r"stsd_\w+", asked)) <= known


def test_the_panels_of_the_dashboard_lie_side_by_side() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        beside = one["x"] >= other["x"] + other["w"] or other["x"] >= one["x"] + one["w"]
        below = one["y"] >= other["y"] + other["h"] or other["y"] >= one["y"] + one["h"]
        assert beside or below


def test_each_panel_of_the_dashboard_has_a_unit_and_the_source_that_is_chosen() -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in dashboard()["panels"]:
        if panel["type"] == "row":
            continue
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert [panel["datasource"], *(it["datasource"] for it in panel["targets"])] == [chosen] * (
            1 + len(panel["targets"])
        )
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


def test_the_dashboard_uses_no_variable_that_it_does_not_have() -> None:
    own = {variable["name"] for variable in dashboard()["templating"]["list"]}
    of_grafana = {"__rate_interval", "__range"}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard())))
    assert used - {"__all"} == own | of_grafana


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    argv = ["promtool", *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENT_S, check=False)


def alerts() -> list[str]:
    """The names of all alerts in the rules."""
    return re.findall(r"- alert: (\w+)", RULES.read_text())


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    read: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return read


def expressions() -> list[str]:
    """All that the dashboard asks Prometheus."""
    panels = dashboard()["panels"]
    asked = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    return asked + [it["expr"] for it in dashboard()["annotations"]["list"] if "expr" in it]


def filled(expression: str) -> str:
    """What Grafana makes of an expression when all machines and jobs are chosen."""
    chosen = {"$__rate_interval": "5m", "$__range": "1h", "$instance": ".*", "$job_name": ".*"}
    for variable, value in chosen.items():
        expression = expression.replace(variable, value)
    return expression
