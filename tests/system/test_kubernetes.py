"""The Kubernetes manifests, validated by schema after a small stand-in for kustomize."""

import copy
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app import __version__
from app.http.routes import open_router, router
from app.http.tracing import UNTRACED
from app.settings import Settings
from tests.tools.repository import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
VERSION = "1.37"
LABELS = {"app.kubernetes.io/name": "pastiche"}

Object = dict[str, Any]


def load(path: Path) -> Object:
    found: Object = yaml.safe_load(path.read_text())
    return found


def merged(base: Any, patch: Any) -> Any:
    """A strategic merge of the kind used here: lists of named items merge by name."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return {k: merged(base.get(k), patch[k]) if k in patch else base[k] for k in base | patch}
    if isinstance(base, list) and all(isinstance(item, dict) and "name" in item for item in base):
        named = {item["name"]: item for item in base}
        for item in patch:
            named[item["name"]] = merged(named.get(item["name"]), item)
        return list(named.values())
    return copy.deepcopy(patch)


def objects(overlay: str) -> dict[str, Object]:
    """The objects that kustomize builds from the base or an overlay, by kind."""
    base = load(FOLDER / "base" / "kustomization.yaml")
    made = [load(FOLDER / "base" / name) for name in base["resources"]]
    found = {thing["kind"]: thing for thing in made}
    tag = base["images"][0]["newTag"]
    if overlay != "base":
        folder = FOLDER / "overlays" / overlay
        top = load(folder / "kustomization.yaml")
        assert top["resources"] == ["../../base"]
        tag = top["images"][0]["newTag"]
        for patch in top["patches"]:
            change = load(folder / patch["path"])
            found[change["kind"]] = merged(found[change["kind"]], change)
    container(found)["image"] += f":{tag}"
    return found


def container(found: dict[str, Object]) -> Object:
    (only,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


@pytest.fixture(params=["base", "gpu"])
def made(request: pytest.FixtureRequest) -> dict[str, Object]:
    return objects(request.param)


def test_every_object_is_valid_by_its_schema(made: dict[str, Object]) -> None:
    assert set(made) == {
        "Deployment",
        "Service",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "NetworkPolicy",
    }
    for thing in made.values():
        kubernetes_validate.validate(thing, VERSION, strict=True)
        assert thing["metadata"]["name"] == "pastiche"


def test_the_schemas_reject_an_unknown_key() -> None:
    deployment = objects("base")["Deployment"]
    deployment["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSION, strict=True)


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("kustomization.yaml")), ids=str)
def test_every_kustomization_names_all_files_of_its_folder(path: Path) -> None:
    kustomization = load(path)
    component = "components" in path.parts
    assert (kustomization["apiVersion"], kustomization["kind"]) == (
        f"kustomize.config.k8s.io/{'v1alpha1' if component else 'v1beta1'}",
        "Component" if component else "Kustomization",
    )
    assert set(kustomization) <= {"apiVersion", "kind", "resources", "patches", "images"}
    named = [
        *kustomization["resources"],
        *(patch["path"] for patch in kustomization.get("patches", [])),
    ]
    assert all((path.parent / name).exists() for name in named)
    files = {p.name for p in path.parent.glob("*.yaml")} - {"kustomization.yaml"}
    assert files <= set(named)
    assert component or kustomization["images"][0]["name"] == "pastiche"


def test_every_selector_matches_the_pods_of_the_deployment(made: dict[str, Object]) -> None:
    spec = made["Deployment"]["spec"]
    assert spec["template"]["metadata"]["labels"] == LABELS
    assert spec["selector"]["matchLabels"] == LABELS
    assert made["Service"]["spec"]["selector"] == LABELS
    assert made["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == LABELS
    assert made["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == LABELS
    assert made["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"] == {
        "apiVersion": made["Deployment"]["apiVersion"],
        "kind": "Deployment",
        "name": "pastiche",
    }


def test_the_container_has_no_privileges_and_a_memory_limit(made: dict[str, Object]) -> None:
    pod = made["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert container(made)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container(made)["resources"]["limits"]["memory"]
    (volume,) = pod["volumes"]
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "512Mi"}
    (mount,) = container(made)["volumeMounts"]
    assert (mount["name"], mount["mountPath"]) == (volume["name"], "/tmp")


def environment(made: dict[str, Object]) -> dict[str, str | None]:
    return {variable["name"]: variable.get("value") for variable in container(made)["env"]}


def test_the_manifests_set_existing_settings_only(made: dict[str, Object]) -> None:
    known = {f"PASTICHE_{name.upper()}" for name in Settings.model_fields}
    assert set(environment(made)) <= known
    threads = environment(made)["PASTICHE_THREADS"]
    assert threads == container(made)["resources"]["limits"]["cpu"]


def test_the_grace_period_of_a_pod_is_longer_than_its_shutdown(made: dict[str, Object]) -> None:
    values = environment(made)
    needed = sum(int(values[f"PASTICHE_{s}"] or 0) for s in ("SHUTDOWN_DELAY", "DRAIN_SECONDS"))
    pod = made["Deployment"]["spec"]["template"]["spec"]
    assert needed < pod["terminationGracePeriodSeconds"]
    # Endpoints must see the failing probe before the port closes.
    assert (
        int(values["PASTICHE_SHUTDOWN_DELAY"] or 0)
        > container(made)["readinessProbe"]["periodSeconds"]
    )


def test_probes_and_ports_point_to_the_server(made: dict[str, Object]) -> None:
    (port,) = container(made)["ports"]
    assert port == {"name": "http", "containerPort": Settings.model_fields["port"].default}
    probes = {name: container(made)[name]["httpGet"] for name in container(made) if "Probe" in name}
    assert probes == {
        "startupProbe": {"path": "/healthz", "port": "http"},
        "livenessProbe": {"path": "/healthz", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
    }
    assert made["Service"]["spec"]["ports"][0]["targetPort"] == "http"
    (rule,) = made["NetworkPolicy"]["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": "http"}]
    assert made["NetworkPolicy"]["spec"]["egress"] == []


def test_the_autoscaler_uses_the_metric_of_the_adapter(made: dict[str, Object]) -> None:
    (metric,) = made["HorizontalPodAutoscaler"]["spec"]["metrics"]
    (rule,) = load(FOLDER.parent / "prometheus" / "adapter.yml")["rules"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert made["HorizontalPodAutoscaler"]["spec"]["minReplicas"] >= 2


def test_the_gpu_overlay_requests_a_gpu_and_disables_the_fallback() -> None:
    made = objects("gpu")
    assert container(made)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container(made)["image"] == f"pastiche:{__version__}-gpu"
    assert environment(made)["PASTICHE_DEVICE"] == "cuda"
    assert "nvidia.com/gpu" not in container(objects("base"))["resources"]["limits"]
    assert container(objects("base"))["image"] == f"pastiche:{__version__}"


@pytest.fixture
def ingress() -> Object:
    return load(FOLDER / "components" / "ingress" / "ingress.yaml")


def test_the_ingress_is_valid_and_leads_to_the_service(ingress: Object) -> None:
    kubernetes_validate.validate(ingress, VERSION, strict=True)
    service = objects("base")["Service"]
    port = service["spec"]["ports"][0]["name"]
    (rule,) = ingress["spec"]["rules"]
    assert ingress["spec"]["tls"][0]["hosts"] == [rule["host"]]
    for path in rule["http"]["paths"]:
        backend = {"name": service["metadata"]["name"], "port": {"name": port}}
        assert path["backend"] == {"service": backend}


def test_the_ingress_exposes_every_route_but_metrics_and_probes(ingress: Object) -> None:
    (rule,) = ingress["spec"]["rules"]
    exposed = {path["path"]: path["pathType"] for path in rule["http"]["paths"]}

    def is_exposed(route: str) -> bool:
        first = "/" + route.split("/")[1]
        return exposed.get(route) == "Exact" or exposed.get(first) == "Prefix"

    routes = {getattr(route, "path", "") for route in (*router.routes, *open_router.routes)}
    assert {route for route in routes if not is_exposed(route)} == set(UNTRACED)
    assert is_exposed("/openapi.json")


def test_the_limits_of_the_ingress_are_those_of_the_gateway_and_the_server(ingress: Object) -> None:
    prefix = "nginx.ingress.kubernetes.io/"
    annotations = ingress["metadata"]["annotations"]
    limits = {name.removeprefix(prefix).replace("-", "_"): v for name, v in annotations.items()}
    assert limits.pop("proxy_body_size") == "32m"
    assert Settings.model_fields["max_body_bytes"].default == 32 * 2**20
    gateway = (FOLDER.parent / "nginx.conf").read_text()
    for name, value in limits.items():
        (found,) = re.findall(rf"^\s+{name} (.+);", gateway, re.MULTILINE)
        assert found in (value, f"{value}s")
    assert int(limits["proxy_send_timeout"]) == Settings.model_fields["body_seconds"].default
    assert (
        int(limits["proxy_read_timeout"]) > 2 * Settings.model_fields["deadline_seconds"].default
    )  # the longest wait for the device, and as long again for the painting


def test_the_monitor_scrapes_the_service_as_the_alerts_expect() -> None:
    monitor = load(FOLDER / "components" / "monitoring" / "service-monitor.yaml")
    service = objects("base")["Service"]
    assert (monitor["apiVersion"], monitor["kind"]) == (
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
    )
    assert monitor["spec"]["selector"]["matchLabels"] == service["metadata"]["labels"]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] == service["spec"]["ports"][0]["name"]
    assert endpoint["path"] == "/metrics"
    # Without a label of the service named here, `job` is the service's name.
    assert "jobLabel" not in monitor["spec"]
    alerts = (FOLDER.parent / "prometheus" / "alerts.yml").read_text()
    assert set(re.findall(r'job="(\w+)"', alerts)) == {service["metadata"]["name"]}
