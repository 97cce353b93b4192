"""Every alert uses existing metrics and has a runbook; so does the autoscaler's rule."""

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


def test_the_adapter_queries_existing_metrics() -> None:
    (rule,) = yaml.safe_load((PROMETHEUS / "adapter.yml").read_text())["rules"]
    used = set(re.findall(r"\bpastiche_\w+", rule["metricsQuery"] + rule["seriesQuery"]))
    assert used
    assert used <= known()
