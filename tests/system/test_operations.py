"""Alerts, autoscaler's rule and dashboard use existing metrics; every alert has a runbook."""

import json
import re
from typing import Any

import pytest
import yaml

from app.metrics import Metrics
from tests.tools.markdown import anchors
from tests.tools.repository import ROOT

PAGE = ROOT / "docs" / "operations.md"
PROMETHEUS = ROOT / "deploy" / "prometheus"


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def known() -> set[str]:
    """The names of all series that a server can have."""
    found = {"pastiche_device_memory_bytes"}
    for family in re.findall(r"^# TYPE (\S+) (\S+)", Metrics().text().decode(), re.MULTILINE):
        name, kind = family
        ends = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        found |= {name + end for end in ends}
    return found


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_every_alert_uses_existing_metrics_and_has_a_runbook(alert: dict[str, Any]) -> None:
    assert set(alert) <= {"alert", "expr", "for", "labels", "annotations"}
    used = set(re.findall(r"\b(?:pastiche|process)_\w+", alert["expr"]))
    assert used <= known()
    assert used or "up{" in alert["expr"]
    assert alert["expr"].count("(") == alert["expr"].count(")")
    assert alert["labels"]["severity"] in ("page", "ticket")
    path, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert ROOT / path == PAGE
    assert anchor == alert["alert"].lower()
    assert anchor in anchors(PAGE)


def test_every_runbook_belongs_to_an_alert() -> None:
    runbooks = re.findall(r"^### (\w+)$", PAGE.read_text(), re.MULTILINE)
    assert runbooks == [alert["alert"] for alert in alerts()]


def panels() -> list[dict[str, Any]]:
    """The panels of the dashboard, without the rows that group them."""
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_every_panel_of_the_dashboard_queries_existing_metrics(panel: dict[str, Any]) -> None:
    assert panel["targets"]
    for target in panel["targets"]:
        expression = target["expr"]
        used = re.findall(r"\b(?:pastiche|process)_\w+", expression)
        assert used
        assert set(used) <= known()
        assert expression.count('job="$job"') == len(used)
        for opening, closing in ("()", "{}", "[]"):
            assert expression.count(opening) == expression.count(closing)


def test_the_dashboard_shows_every_metric_of_the_server() -> None:
    expressions = " ".join(t["expr"] for panel in panels() for t in panel["targets"])
    families = {re.sub(r"_(bucket|sum|count)$", "", n) for n in known() if "pastiche_" in n}
    assert [name for name in families if name not in expressions] == []


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels())
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


def test_the_adapter_queries_existing_metrics() -> None:
    (rule,) = yaml.safe_load((PROMETHEUS / "adapter.yml").read_text())["rules"]
    used = set(re.findall(r"\bpastiche_\w+", rule["metricsQuery"] + rule["seriesQuery"]))
    assert used
    assert used <= known()
