"""Writes what follows from rules.yaml and the metrics: Grafana dashboards, and the rules as Helm values.

    python deploy/monitoring/make.py        (make monitoring)

Dashboards are JSON that Grafana 10 and later import; queries go to the data source chosen in the page.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RULES_VALUES = ROOT / "helm_values" / "prometheus-rules.yaml"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
HEADER = """\
# Made by `make monitoring` from deploy/monitoring/rules.yaml: the rules as values of kube-prometheus-stack. Do not edit.
"""


def panel(
    title: str, *queries: tuple[str, str], kind: str = "timeseries", unit: str = "short", wide: int = 12, text: str = ""
) -> dict[str, Any]:
    """A panel of queries with their legends; `wide` of 24 columns."""
    targets = [
        {
            "datasource": SOURCE,
            "expr": expr,
            "legendFormat": legend,
            "refId": chr(ord("A") + number),
            **({"format": "table", "instant": True} if kind in ("table", "stat", "bargauge") else {}),
        }
        for number, (expr, legend) in enumerate(queries)
    ]
    made: dict[str, Any] = {
        "title": title,
        "type": kind,
        "datasource": SOURCE,
        "targets": targets,
        "description": text,
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "options": {},
        "gridPos": {"w": wide, "h": 4 if kind == "stat" else 8},
    }
    if kind in ("stat", "bargauge"):
        for target in targets:
            target["format"] = "time_series"
        made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "value_and_name"}
        if kind == "bargauge":
            made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "orientation": "horizontal"}
    return made


def variable(name: str, query: str) -> dict[str, Any]:
    """A choice of label values, all at first."""
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "sort": 1,
    }


def dashboard(uid: str, title: str, panels: list[dict[str, Any]], variables: list[dict[str, Any]]) -> dict[str, Any]:
    """A dashboard with its panels laid out in rows from left to right."""
    x = y = height = 0
    for number, item in enumerate(panels, 1):
        place = item["gridPos"]
        if x + place["w"] > 24:
            x, y, height = 0, y + height, 0
        place |= {"x": x, "y": y}
        x, height = x + place["w"], max(height, place["h"])
        item["id"] = number
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "current": {}, "hide": 0}
    return {
        "uid": uid,
        "title": title,
        "tags": ["roman"],
        "schemaVersion": 38,
        "version": 1,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": [source, *variables]},
        "annotations": {"list": []},
        "panels": panels,
        "links": [{"type": "dashboards", "tags": ["roman"], "asDropdown": True, "title": "Roman"}],
    }


def operations() -> dict[str, Any]:
    """What an operator looks at first."""
    runs = 'roman_runs{group=~"$group"}'
    ended = 'roman_runs_ended_total{group=~"$group"}'
    return dashboard(
        "roman-operations",
        "Roman: operations",
        [
            panel("Running", ('sum(roman_runs{status="STARTED"}) or vector(0)', "running"), kind="stat", wide=4),
            panel("Queued", ("roman_queue_depth", "queued"), kind="stat", wide=4),
            panel("Oldest in the queue", ("roman_queue_oldest_age_seconds", "age"), kind="stat", unit="s", wide=4),
            panel("Failed in 24 h", ('sum(roman_runs{status="FAILURE"}) or vector(0)', "failed"), kind="stat", wide=4),
            panel("Partitions late", ('sum(roman_partitions_late{cause="unprocessed"})', "late"), kind="stat", wide=4),
            panel("Files in quarantine", ("sum(roman_quarantined_files) or vector(0)", "files"), kind="stat", wide=4),
            panel(
                "Alerts",
                ('ALERTS{alertname=~"Roman.*"}', "{{alertname}} {{asset}}{{sensor}}{{group}}"),
                kind="table",
                wide=24,
                text="Pending and firing. What to do: docs/operations.md.",
            ),
            panel("Runs by status", (f"sum by (status) ({runs})", "{{status}}")),
            panel("Runs by group", (f"sum by (group, status) ({runs})", "{{group}} {{status}}")),
            panel(
                "Ends per hour", (f"sum by (dagster_job, status) (increase({ended}[1h]))", "{{dagster_job}} {{status}}")
            ),
            panel(
                "Share that fails", ('roman:run_failures:share_1h{group=~"$group"}', "{{group}}"), unit="percentunit"
            ),
            panel(
                "Mean duration of runs",
                (
                    'sum by (dagster_job) (increase(roman_run_seconds_total{status="SUCCESS"}[6h])) / '
                    '(sum by (dagster_job) (increase(roman_runs_ended_total{status="SUCCESS"}[6h])) > 0)',
                    "{{dagster_job}}",
                ),
                unit="s",
            ),
            panel("Queue", ("roman_queue_depth", "queued"), ("roman_queue_oldest_age_seconds / 60", "oldest [min]")),
            panel(
                "Since the latest tick", ("time() - roman_sensor_last_tick_timestamp_seconds", "{{sensor}}"), unit="s"
            ),
            panel(
                "Sensors",
                ("roman_sensor_running", "{{sensor}}"),
                ("roman_sensor_failures", "{{sensor}} failures"),
                kind="bargauge",
            ),
            panel(
                "Status of the latest tick", ("roman_sensor_last_tick_status", "{{sensor}} {{status}}"), kind="table"
            ),
            panel("Age of the daemons' heartbeats", ("roman_daemon_heartbeat_age_seconds", "{{daemon}}"), unit="s"),
            panel("Exporter: a poll", ("roman_exporter_poll_duration_seconds", "seconds"), unit="s", wide=8),
            panel("Exporter: age of readings", ("roman_exporter_reading_age_seconds", "{{part}}"), unit="s", wide=8),
            panel("Exporter: errors", ("increase(roman_exporter_errors_total[1h])", "{{part}}"), wide=8),
        ],
        [variable("group", "label_values(roman_partitions, group)")],
    )


def freshness() -> dict[str, Any]:
    """Partitions against their promises."""
    chosen = '{asset=~"$asset"}'
    return dashboard(
        "roman-freshness",
        "Roman: partitions and freshness",
        [
            panel(
                "Promises kept",
                (f"roman:promises_kept:share{chosen}", "{{asset}}"),
                kind="bargauge",
                unit="percentunit",
            ),
            panel(
                "Materialized of the calendar",
                (f"roman_partitions_materialized{chosen} / (roman_partitions{chosen} > 0)", "{{asset}}"),
                kind="bargauge",
                unit="percentunit",
            ),
            panel(
                "Past the promise",
                (f"roman_lag_seconds{chosen}", "{{asset}} {{cause}}"),
                unit="s",
                text="Since when the oldest late partition is due; 0: none is late.",
            ),
            panel("Late partitions", (f"roman_partitions_late{chosen}", "{{asset}} {{cause}}")),
            panel(
                "Due and there",
                (f"roman_partitions_met{chosen}", "{{asset}} there"),
                (f"roman_partitions_due{chosen}", "{{asset}} due"),
            ),
            panel(
                "Newest day materialized",
                (f"roman_newest_day_timestamp_seconds{chosen} * 1000", "{{asset}}"),
                unit="dateTimeAsIso",
                kind="table",
            ),
            panel(
                "Since the latest materialization",
                (f"time() - roman_last_materialization_timestamp_seconds{chosen}", "{{asset}}"),
                unit="s",
            ),
            panel("Promise", (f"roman_promise_seconds{chosen}", "{{asset}}"), unit="s", kind="bargauge"),
        ],
        [variable("asset", "label_values(roman_partitions, asset)")],
    )


def products() -> dict[str, Any]:
    """What is made, and how fast."""
    kind, asset = '{kind=~"$kind"}', '{asset=~"$asset"}'
    return dashboard(
        "roman-products",
        "Roman: products and throughput",
        [
            panel("Registered exposures", ("roman_exposures", "exposures"), kind="stat", wide=6),
            panel("Products ever made", ("sum(roman_products_made_total)", "products"), kind="stat", wide=6),
            panel("Their bytes", ("sum(roman_product_bytes_made_total)", "bytes"), kind="stat", unit="bytes", wide=6),
            panel("Incidents", ("roman_product_incidents", "same inputs, other bytes"), kind="stat", wide=6),
            panel("Products a day", (f"roman:products:per_day{kind}", "{{kind}}")),
            panel("Bytes a day", (f"roman:product_bytes:per_day{kind}", "{{kind}}"), unit="bytes"),
            panel("Exposures registered an hour", ("delta(roman_exposures[1h])", "exposures")),
            panel("Quarantine", ("sum by (outcome, reason) (roman_quarantined_files)", "{{reason}} {{outcome}}")),
            panel(
                "Throughput, 6 h",
                (f"roman:throughput:6h{asset}", "{{asset}} [{{unit}}/s]"),
                text="What steps made anew over their seconds, reading and writing included.",
            ),
            panel("Throughput, latest step", (f"roman_throughput{asset}", "{{asset}} [{{unit}}/s]")),
            panel(
                "Work a day", (f"sum by (asset, unit) (increase(roman_work_total{asset}[1d]))", "{{asset}} [{{unit}}]")
            ),
            panel(
                "Hours of steps a day",
                (f"sum by (asset) (increase(roman_work_seconds_total{asset}[1d])) / 3600", "{{asset}}"),
                unit="h",
            ),
        ],
        [
            variable("kind", "label_values(roman_products_made_total, kind)"),
            variable("asset", "label_values(roman_partitions, asset)"),
        ],
    )


def kubernetes() -> dict[str, Any]:
    """Pods and what they use: kube-state-metrics, cAdvisor and the exporter's own process."""
    kind = "label_node_kubernetes_io_instance_type"
    here = '{namespace=~"$namespace"}'
    cell = 'namespace=~"$namespace", container!="", container!="POD"'
    return dashboard(
        "roman-kubernetes",
        "Roman: Kubernetes",
        [
            panel("Pods by phase", (f"sum by (phase) (kube_pod_status_phase{here})", "{{phase}}"), wide=8),
            panel("Nodes by instance type", (f"count by ({kind}) (kube_node_labels)", "{{" + kind + "}}"), wide=8),
            panel(
                "Failed Jobs",
                (f"sum(kube_job_status_failed{here})", "failed"),
                (f"sum(kube_job_status_active{here})", "active"),
                wide=8,
            ),
            panel(
                "CPU used and requested",
                (f"sum(rate(container_cpu_usage_seconds_total{{{cell}}}[5m]))", "used"),
                ('sum(kube_pod_container_resource_requests{namespace=~"$namespace", resource="cpu"})', "requested"),
            ),
            panel(
                "Memory used and requested",
                (f"sum(container_memory_working_set_bytes{{{cell}}})", "used"),
                ('sum(kube_pod_container_resource_requests{namespace=~"$namespace", resource="memory"})', "requested"),
                unit="bytes",
            ),
            panel(
                "Memory over its limit",
                (
                    f"max by (pod) (container_memory_working_set_bytes{{{cell}}}) / on (pod) max by (pod) "
                    '(kube_pod_container_resource_limits{namespace=~"$namespace", resource="memory"})',
                    "{{pod}}",
                ),
                unit="percentunit",
            ),
            panel(
                "Killed for memory",
                (
                    "sum by (pod) (kube_pod_container_status_last_terminated_reason"
                    '{namespace=~"$namespace", reason="OOMKilled"})',
                    "{{pod}}",
                ),
            ),
            panel(
                "Restarts an hour",
                (f"sum by (pod) (increase(kube_pod_container_status_restarts_total{here}[1h]))", "{{pod}}"),
            ),
            panel(
                "Pending pods",
                ('sum by (pod) (kube_pod_status_phase{namespace=~"$namespace", phase="Pending"} > 0)', "{{pod}}"),
            ),
            panel(
                "Exporter: memory", ('process_resident_memory_bytes{job="roman-exporter"}', "resident"), unit="bytes"
            ),
            panel(
                "Exporter: CPU",
                ('rate(process_cpu_seconds_total{job="roman-exporter"}[5m])', "cores"),
                unit="percentunit",
            ),
        ],
        [variable("namespace", "label_values(kube_pod_info, namespace)")],
    )


def files() -> dict[Path, str]:
    """Every file with its text."""
    made = {"operations": operations(), "freshness": freshness(), "products": products(), "kubernetes": kubernetes()}
    texts = {HERE / "dashboards" / f"{name}.json": json.dumps(board, indent=1) + "\n" for name, board in made.items()}
    rules = yaml.safe_load((HERE / "rules.yaml").read_text())
    values = {"additionalPrometheusRulesMap": {"roman": rules}}
    texts[RULES_VALUES] = HEADER + yaml.safe_dump(values, sort_keys=False, width=120, allow_unicode=True)
    return texts


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
        print(path.relative_to(ROOT))
