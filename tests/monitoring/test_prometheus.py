"""Rules and dashboards against the real programs: promtool, amtool, and Prometheus scraping a real exporter."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from roman_assets.monitoring.exporter import Exporter
from roman_assets.monitoring.poll import Poller
from roman_assets.platform.workspace import Workspace
from roman_assets.survey.model import Calendar, Season
from tests.dagster_server import free_port
from tests.monitoring import scene
from tests.processes import end

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
DASHBOARDS = sorted((MONITORING / "dashboards").glob("*.json"))
#: Metrics of kube-state-metrics and cAdvisor, which only a cluster has.
CLUSTER = re.compile(r"\b(kube|container)_[a-z_]+")
VARIABLES = {"group": ".*", "asset": ".*", "kind": ".*", "namespace": ".*"}


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        package = "prometheus-alertmanager" if name == "amtool" else "prometheus"
        pytest.skip(f"{name} is not installed (Debian package {package})")
    return found


def queries() -> list[tuple[str, str, str]]:
    """(dashboard, panel, query) of every panel and every template variable."""
    found = []
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        found += [(path.stem, p["title"], t["expr"]) for p in board["panels"] for t in p["targets"]]
        for item in board["templating"]["list"]:
            if item["type"] == "query":
                match = re.fullmatch(r"label_values\((.+), (\w+)\)", item["query"]["query"])
                assert match, item
                found.append((path.stem, f"variable {item['name']}", f"count by ({match[2]}) ({match[1]})"))
    return found


def test_dashboards_are_four() -> None:
    """Tests of every dashboard would be none if their folder were empty."""
    assert {path.stem for path in DASHBOARDS} == {"operations", "freshness", "products", "kubernetes"}


def test_rules_behave_as_their_tests_say() -> None:
    promtool = program("promtool")
    done = subprocess.run(
        [promtool, "test", "rules", "rules.test.yaml"], cwd=MONITORING, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tested = (MONITORING / "rules.test.yaml").read_text()
    for group in yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                assert f"alertname: {rule['alert']}" in tested, f"{rule['alert']} has no test"
                assert rule["labels"]["severity"] in ("page", "ticket")
                assert {"summary", "description"} <= rule["annotations"].keys()


def test_example_of_alertmanager_is_valid() -> None:
    done = subprocess.run(
        [program("amtool"), "check-config", "alertmanager.example.yaml"],
        cwd=MONITORING,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_made_files_are_up_to_date() -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location("make_monitoring", MONITORING / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for path, text in module.files().items():
        assert path.read_text() == text, f"{path.name} is out of date: make monitoring"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_are_importable(path: Path) -> None:
    board = json.loads(path.read_text())
    assert {"uid", "title", "panels", "templating", "schemaVersion"} <= board.keys()
    assert len({p["id"] for p in board["panels"]}) == len(board["panels"])
    cells: set[tuple[int, int]] = set()
    names = {item["name"] for item in board["templating"]["list"]}
    for panel in board["panels"]:
        place = panel["gridPos"]
        across, down = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        own = {(x, y) for x in across for y in down}
        assert place["x"] + place["w"] <= 24
        assert not own & cells, f"{panel['title']} lies on another panel"
        cells |= own
        for target in panel["targets"]:
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= names
            assert target["datasource"]["uid"] == "${datasource}"


class Prometheus:
    """A real server and its query interface."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Samples of an instant query."""
        address = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(address, timeout=60) as answer:
            document = json.load(answer)
        assert document["status"] == "success", document
        return list(document["data"]["result"])

    def wait(self, query: str, seconds: float = 180) -> None:
        """Until a query gives something."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if self.ask(query):
                    return
            except OSError:
                pass
            time.sleep(0.2)
        raise AssertionError(f"{query} gave nothing in {seconds} s")


@pytest.fixture
def prometheus(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[int], Prometheus]]:
    """Starts Prometheus on an exporter's port, with the rules evaluated every second."""
    binary = program("prometheus")
    started: list[subprocess.Popen[bytes]] = []

    def start(target: int) -> Prometheus:
        rules = yaml.safe_load((MONITORING / "rules.yaml").read_text())
        for group in rules["groups"]:
            group["interval"] = "1s"
        (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
        scrape = {"job_name": "roman-exporter", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
        settings = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [scrape],
        }
        (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(settings))
        port = free_port()
        with (tmp_path / "prometheus.log").open("wb") as log:
            started.append(
                subprocess.Popen(
                    [
                        binary,
                        f"--config.file={tmp_path}/prometheus.yaml",
                        f"--storage.tsdb.path={tmp_path}/tsdb",
                        f"--web.listen-address=127.0.0.1:{port}",
                    ],
                    stdout=log,
                    stderr=log,
                )
            )
        return Prometheus(f"http://127.0.0.1:{port}")

    yield start
    for process in started:
        end(process)


def test_every_query_of_the_dashboards_has_data(
    workspace: Workspace, instance: dg.DagsterInstance, prometheus: Callable[[int], Prometheus]
) -> None:
    """A real Prometheus scrapes a real exporter of a real instance; queries that need a cluster are known by name."""
    today = dt.datetime.now(dt.UTC).date()
    days = tuple(str(today - dt.timedelta(days=n)) for n in (40, 39, 38))
    calendar = Calendar("test", (Season("s01", days),), ("WFI01", "WFI02"))
    poller = Poller(instance, workspace.index, workspace.registry, calendar)
    scene.fill(workspace, instance, days)
    exporter = Exporter(poller, host="127.0.0.1", port=0)
    exporter.serve()
    try:
        server = prometheus(exporter.port)
        server.wait("roman_queue_depth")
        exporter.poller.poll()
        server.wait("roman_products_made_total")
        scene.measure(instance, days[1])
        scene.fail(instance)
        scene.succeed(instance)
        scene.product(workspace, 2)
        exporter.poller.poll()
        server.wait('roman_runs_ended_total{status="SUCCESS", dagster_job="process_day"} > 0')
        server.wait("increase(roman_work_total[1m]) > 0")
        server.wait('ALERTS{alertname="RomanPartitionsLate"}')
        for query in ("roman:throughput:6h", "roman:run_failures:share_1h", "roman:product_bytes:per_day"):
            server.wait(query)
        empty = []
        for board, panel, query in queries():
            for name, value in VARIABLES.items():
                query = query.replace(f"${name}", value)
            found = server.ask(query)  # also those of a cluster: they must parse
            if not found and not CLUSTER.search(query):
                empty.append(f"{board} / {panel}: {query}")
        assert empty == []
    finally:
        exporter.close()


def test_cluster_queries_are_on_one_dashboard_only() -> None:
    boards = {board for board, _, query in queries() if CLUSTER.search(query)}
    assert boards == {"kubernetes"}
    known = {
        "kube_pod_status_phase",
        "kube_node_labels",
        "kube_job_status_failed",
        "kube_job_status_active",
        "container_cpu_usage_seconds_total",
        "container_memory_working_set_bytes",
        "kube_pod_container_resource_requests",
        "kube_pod_container_resource_limits",
        "kube_pod_container_status_last_terminated_reason",
        "kube_pod_container_status_restarts_total",
        "kube_pod_info",
    }
    used = {name for _, _, query in queries() for name in re.findall(r"\b(?:kube|container)_[a-z_]+", query)}
    assert used == known
