"""The table keeps to Prometheus' conventions; what the dashboard and the alerts ask for is in it."""

import json
import os
import re
import shutil
import subprocess
from typing import Any

import pytest

from hazoom_ws.metrics.table import METRICS
from servers import ROOT, program

DASHBOARD, ALERTS = ROOT / "config" / "grafana-dashboard.json", ROOT / "config" / "alerts.yml"
GUIDE = ROOT / "src" / "hazoom_ws" / "web" / "guides" / "operating.md"
OF_PROMETHEUS = {"up"}  # which it makes itself for each scrape


def series() -> set[str]:
    """Return the names that queries may use."""
    histograms = [metric.name for metric in METRICS if metric.kind == "histogram"]
    names = {metric.name for metric in METRICS if metric.kind != "histogram"} | OF_PROMETHEUS
    return names | {f"{name}_{part}" for name in histograms for part in ("bucket", "count", "sum")}


def labels() -> set[str]:
    return {label for metric in METRICS for label in metric.labels} | {"job", "instance", "worker", "le"}


def asked_for(expression: str) -> set[str]:
    """Return the metrics that a query names."""
    return set(re.findall(r"\b(?:hazoom|process)_\w+|\bup\b", re.sub(r'"[^"]*"', "", expression)))


def labels_in(expression: str) -> set[str]:
    by = re.findall(r"(?:by|on) \(([^)]*)\)", expression)
    return set(re.findall(r"(\w+)=", expression)) | {label.strip() for one in by for label in one.split(",")}


def tells_workers_apart(expression: str) -> bool:
    """Return whether what a query finds has one value for each worker, where there are workers."""
    by = re.search(r"(?:sum|min|max)(?: by \(([^)]*)\))? ?\(", expression)
    return by is None or "worker" in (by[1] or "")


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    """The alert rules, read by a parser of YAML."""
    code = "console.log(JSON.stringify(require('js-yaml').load(require('fs').readFileSync(process.argv[1], 'utf8'))))"
    env = os.environ | {"NODE_PATH": str(ROOT / "scripts" / "npm" / "node_modules")}
    output = subprocess.run(
        [program("TEST_NODE", "node"), "-e", code, str(ALERTS)], env=env, capture_output=True, text=True, check=True
    ).stdout
    [group] = json.loads(output)["groups"]
    return group["rules"]


def test_names_say_the_kind_and_the_unit() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert re.fullmatch(r"(?:hazoom|process)(?:_[a-z]+)+", metric.name), metric.name
        assert metric.name.endswith("_total") is (metric.kind == "counter"), metric.name
        base = metric.name.removesuffix("_total")
        assert base.endswith(("_seconds", "_bytes")) is bool(metric.unit), metric.name
        assert base.endswith(f"_{metric.unit}") or not metric.unit, metric.name
        assert not metric.help.endswith(".")
        assert "|" not in metric.help, "it is in a table"


def test_no_label_names_a_room_or_a_user() -> None:
    known = {"version", "transport", "reason", "result", "code", "end", "state"}
    assert {label for metric in METRICS for label in metric.labels} == known


def test_the_dashboard_asks_for_what_there_is() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = dashboard["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    assert len(queries) > 30
    for query in queries:
        assert asked_for(query), query
        assert asked_for(query) <= series(), query
        assert labels_in(query) <= labels(), query
    shown = set().union(*map(asked_for, queries))
    for metric in METRICS:
        assert any(name.startswith(metric.name) for name in shown), f"{metric.name} is on no panel"
    for target in [target for panel in panels for target in panel.get("targets", [])]:
        is_told = "{{worker}}" in target["legendFormat"]
        assert tells_workers_apart(target["expr"]) is is_told, f"lines without a name of their own: {target['expr']}"
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_the_alerts_ask_for_what_there_is_and_say_what_to_do(rules: list[dict[str, Any]]) -> None:
    guide = GUIDE.read_text(encoding="utf-8").partition("## Alerts")[2]
    for rule in rules:
        assert asked_for(rule["expr"]), rule
        assert asked_for(rule["expr"]) <= series(), rule["expr"]
        assert labels_in(rule["expr"]) <= labels(), rule["expr"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
        summary = rule["annotations"]["summary"]
        assert "{{ $labels.instance }}" in summary
        # Prometheus makes the first of the two, the other is only there with a file, which workers cannot share.
        is_for_each = tells_workers_apart(rule["expr"]) and rule["alert"] not in ("HazoomDown", "HazoomDiskFills")
        assert ("{{ with $labels.worker }} (worker {{ . }}){{ end }}" in summary) is is_for_each, rule["alert"]
        assert rule["annotations"]["runbook"] == f"operating.md#alerts, {rule['alert']}"
    assert re.findall(r"^\| `(Hazoom\w+)` \|", guide, re.MULTILINE) == [rule["alert"] for rule in rules]


def test_prometheus_takes_the_alerts_where_it_is_installed() -> None:
    promtool = shutil.which("promtool")
    if promtool is not None:
        subprocess.run([promtool, "check", "rules", str(ALERTS)], check=True)
