"""The Dockerfile, the Compose file and the gateway, checked without a container engine."""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml

from app import __version__
from app.http.problems import MEDIA_TYPE, Problem
from app.http.server import KEEP_ALIVE
from app.settings import Settings
from tests.tools.error_codes import CODES
from tests.tools.gateway import command, gateway, needs_nginx, write_configuration
from tests.tools.repository import ROOT
from tests.tools.servers import ServerProcess, free_port
from tests.tools.stub import answering

DEVICES = ("cpu", "gpu")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions as (name, arguments), with continued lines joined."""
    lines = (line for line in read("Dockerfile").splitlines() if not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = (line.partition(" ") for line in joined.splitlines() if line.strip())
    return [(name, arguments.strip()) for name, _, arguments in pairs]


def arguments_of(name: str) -> list[str]:
    return [arguments for n, arguments in instructions() if n == name]


def test_the_image_has_a_stage_for_each_device() -> None:
    stages = [line.split(" AS ")[1] for line in arguments_of("FROM") if " AS " in line]
    last = arguments_of("FROM")[-1]
    for device in DEVICES:
        assert last.replace("${DEVICE}", device) in stages
    assert "DEVICE=cpu" in arguments_of("ARG")


def test_the_image_contains_neither_pytorch_nor_training() -> None:
    copied = " ".join(arguments_of("COPY"))
    assert "training" not in copied
    for device in DEVICES:
        names = re.findall(
            r"^([A-Za-z0-9_.-]+)==", read(f"requirements/{device}.txt"), re.MULTILINE
        )
        assert "onnxruntime" in " ".join(names)
        assert not {"torch", "torchvision", "onnx", "tensorboard"} & set(names)


def test_the_image_installs_locked_requirements_only() -> None:
    assert "--require-hashes" in read("Dockerfile")
    for device in DEVICES:
        lock = re.sub(r"\\\n\s*", "", read(f"requirements/{device}.txt"))
        packages = [line for line in lock.splitlines() if re.match(r"[A-Za-z0-9]", line)]
        assert packages
        assert [line for line in packages if "--hash=sha256:" not in line] == []


def test_the_image_runs_as_a_numeric_user_other_than_root() -> None:
    users = arguments_of("USER")
    assert users
    for user in users:
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_the_server_is_process_one_and_listens_on_all_addresses() -> None:
    entry = json.loads(arguments_of("ENTRYPOINT")[-1]) + json.loads(arguments_of("CMD")[-1])
    assert entry == ["python", "-m", "pastiche", "serve"]
    environment = " ".join(arguments_of("ENV"))
    assert "PASTICHE_HOST=0.0.0.0" in environment
    assert set(re.findall(r"PASTICHE_(\w+)=", environment)) <= {
        name.upper() for name in Settings.model_fields
    }


def test_the_build_context_holds_what_the_dockerfile_copies_and_nothing_else() -> None:
    included = {line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")}
    sources = {
        source.replace("${DEVICE}", device)
        for line in arguments_of("COPY")
        if not line.startswith("--from")
        for source in line.split()[:-1]
        for device in DEVICES
    }
    assert sources == included
    assert all((ROOT / source).exists() for source in sources)


def handler(status: int) -> type[BaseHTTPRequestHandler]:
    """A handler that answers probes with the status and everything else with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path in ("/healthz", "/readyz") else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def health_checks() -> list[str]:
    """The Python code of the health checks in the Dockerfile and the Compose file."""
    image = json.loads(arguments_of("HEALTHCHECK")[0].partition("CMD ")[2])
    composed = re.findall(r'^ +- "(import .+)"$', read("docker-compose.yml"), re.MULTILINE)
    assert image[:2] == ["python", "-c"]
    assert len(composed) == 1
    return [image[2], composed[0]]


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_health_checks_pass_only_on_a_healthy_server(status: int, healthy: bool) -> None:
    for code in health_checks():
        with answering(handler(status)) as port:
            environment = {
                **os.environ,
                "PASTICHE_PORT": str(port),
                "http_proxy": "http://127.0.0.1:1",  # must be ignored
            }
            done = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, timeout=30
            )
        assert (done.returncode == 0) is healthy


def services() -> dict[str, dict[str, Any]]:
    """The services of docker-compose.yml, with merged keys."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(read("docker-compose.yml"))["services"]
    return found


REPLICAS = ("pastiche", "pastiche-gpu")


PAGES = ["Dockerfile", "docker-compose.yml", "docs/operations.md"]


@pytest.mark.parametrize("page", PAGES)
def test_the_tag_of_the_image_is_the_version(page: str) -> None:
    tags = re.findall(r"\bpastiche:([\w.-]*\w)", read(page).replace("urn:pastiche:", ""))
    assert set(tags) == {__version__, f"{__version__}-gpu"}


def test_the_compose_file_builds_an_image_for_each_device() -> None:
    images = {s["build"]["args"]["DEVICE"]: s["image"] for s in map(services().get, REPLICAS) if s}
    assert images == {"cpu": f"pastiche:{__version__}", "gpu": f"pastiche:{__version__}-gpu"}


def test_the_compose_file_is_valid_by_its_schema() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*command, "docker-compose.yml"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_passes_the_linter() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_service_is_hardened() -> None:
    assert set(services()) == {*REPLICAS, "gateway"}
    for service in services().values():
        assert service["restart"] == "unless-stopped"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["tmpfs"][0].startswith("/tmp:size=")
        assert re.fullmatch(r"\d+g", service["mem_limit"])
        assert service["healthcheck"]["test"]
        assert "privileged" not in service


def test_the_grace_period_of_a_replica_is_longer_than_its_shutdown() -> None:
    for name in REPLICAS:
        environment = services()[name]["environment"]
        needed = sum(int(environment[f"PASTICHE_{s}"]) for s in ("SHUTDOWN_DELAY", "DRAIN_SECONDS"))
        grace = re.fullmatch(r"(\d+)s", services()[name]["stop_grace_period"])
        assert grace
        assert needed < int(grace[1])


def test_the_compose_file_sets_existing_settings_only() -> None:
    known = {f"PASTICHE_{name.upper()}" for name in Settings.model_fields}
    for name in REPLICAS:
        assert set(services()[name]["environment"]) <= known


def test_the_gpu_service_has_its_own_profile_and_reserves_a_gpu() -> None:
    service = services()["pastiche-gpu"]
    assert service["profiles"] == ["gpu"]
    assert service["build"]["args"] == {"DEVICE": "gpu"}
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert service["networks"]["inside"]["aliases"] == ["pastiche"]
    assert "profiles" not in services()["pastiche"]


def test_the_gateway_image_is_unprivileged_and_pinned() -> None:
    image = services()["gateway"]["image"]
    assert re.fullmatch(r"nginxinc/nginx-unprivileged:\d+\.\d+\.\d+-alpine", image)


def test_replicas_keep_idle_connections_longer_than_the_gateway() -> None:
    upstream = read("deploy/nginx.conf").split("upstream pastiche {")[1].partition("}")[0]
    kept = re.search(r"keepalive_timeout (\d+)s;", upstream)
    assert kept
    assert int(kept[1]) < KEEP_ALIVE


def test_the_gateway_and_the_server_have_the_same_body_limit() -> None:
    size = re.search(r"client_max_body_size (\d+)m;", read("deploy/nginx.conf"))
    assert size
    assert int(size[1]) * 2**20 == Settings.model_fields["max_body_bytes"].default


def test_the_gateway_retries_a_refused_request_on_another_replica() -> None:
    conf = read("deploy/nginx.conf")
    assert "fail_timeout=1s" in conf
    assert "proxy_next_upstream error timeout http_503 non_idempotent;" in conf
    assert "proxy_set_header X-Request-ID $pastiche_request_id;" in conf
    assert re.search(r"^\s+keepalive \d+;", conf, re.MULTILINE)
    assert 'proxy_set_header Connection "";' in conf


def test_the_gateways_own_errors_are_problem_documents() -> None:
    conf = read("deploy/nginx.conf")
    answers = re.findall(r"return (\d+) '(.+)';", conf)
    own = {400, 404, 405, 408, 413, 414, 500, 501, 503, 504, 505}
    assert {int(status) for status, _ in answers} == own
    for status, body in answers:
        problem = Problem.model_validate_json(body)
        assert problem.status == int(status)
        assert problem.type == f"urn:pastiche:{problem.code}"
        assert CODES.get(problem.code, problem.status) == problem.status
        assert f"`{problem.code}`" in read("docs/api.md")
    caught = re.findall(r"error_page ([\d ]+?)(?: =\d+)? [@/]", conf)
    handled = {int(status) for line in caught for status in line.split()}
    assert handled == own - {404} | {494, 495, 496, 497, 502}
    assert conf.count(f"default_type {MEDIA_TYPE};") == len(answers)


@needs_nginx
def test_nginx_accepts_the_configuration_without_warnings(tmp_path: Path) -> None:
    conf = write_configuration(tmp_path, free_port(), free_port())
    done = subprocess.run(command(tmp_path, conf, "-t"), capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


@needs_nginx
def test_without_a_replica_the_gateway_answers_503_with_retry_after(tmp_path: Path) -> None:
    with gateway(tmp_path, free_port()) as connection:
        connection.request("GET", "/readyz", headers={"X-Request-ID": "mine-1"})
        answer = connection.getresponse()
        problem = Problem.model_validate_json(answer.read())
    assert (answer.status, problem.code, problem.request_id) == (503, "not_ready", "mine-1")
    assert answer.headers["Content-Type"] == MEDIA_TYPE
    assert answer.headers["X-Request-ID"] == "mine-1"
    assert answer.headers["Retry-After"] == "1"


@needs_nginx
def test_the_gateway_refuses_an_oversized_body_before_it_is_sent(tmp_path: Path) -> None:
    with gateway(tmp_path, free_port()) as connection:
        connection.putrequest("POST", "/stylize")
        connection.putheader("Content-Length", str(32 * 2**20 + 1))
        connection.endheaders()
        answer = connection.getresponse()
        problem = Problem.model_validate_json(answer.read())
    assert (answer.status, problem.code) == (413, "body_too_large")
    assert answer.headers["Content-Type"] == MEDIA_TYPE


@needs_nginx
@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"\x16\x03\x01 a TLS hello\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 400, "bad_request"),
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "uri_too_long"),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method_not_allowed"),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            501,
            "not_implemented",
        ),
        (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505, "http_version_not_supported"),
    ],
    ids=["no host", "TLS", "header", "path", "TRACE", "encoding", "version"],
)
def test_the_gateway_answers_invalid_requests_with_problem_documents(
    tmp_path: Path, sent: bytes, status: int, code: str
) -> None:
    with (
        gateway(tmp_path, free_port()) as gate,
        socket.create_connection(("127.0.0.1", gate.port), timeout=20) as connection,
    ):
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        problem = Problem.model_validate_json(answer.read())
    assert (answer.status, problem.status, problem.code) == (status, status, code)
    assert answer.headers["Content-Type"] == MEDIA_TYPE
    assert answer.headers["X-Request-ID"] == problem.request_id


@needs_nginx
def test_the_gateway_passes_answers_through_but_hides_metrics(tmp_path: Path) -> None:
    with answering(handler(200)) as replica, gateway(tmp_path, replica) as connection:
        statuses = []
        for path in ("/healthz", "/nothing", "/metrics"):
            connection.request("GET", path)
            answer = connection.getresponse()
            statuses.append((answer.status, answer.headers.get("Content-Type")))
            answer.read()
    assert statuses == [(200, None), (404, None), (404, MEDIA_TYPE)]


@needs_nginx
def test_no_request_is_lost_while_two_servers_are_restarted_in_turn(
    tmp_path: Path, models: Path, jpeg: bytes
) -> None:
    # The delay is longer than nginx avoids a server that has restarted (fail_timeout).
    replicas = [
        ServerProcess(tmp_path / f"{i}.log", models=models, threads=1, shutdown_delay=3)
        for i in range(2)
    ]
    answers: list[tuple[int, bytes]] = []
    over = threading.Event()

    def call(port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while not over.is_set():
            connection.request("POST", "/stylize?style=warm", jpeg, {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            answers.append((answer.status, answer.read()))
        connection.close()

    try:
        for replica in replicas:
            replica.launch()
        for replica in replicas:
            replica.wait_for_status("ready")
        with gateway(tmp_path, *(replica.port for replica in replicas)) as connection:
            clients = [threading.Thread(target=call, args=[connection.port]) for _ in range(3)]
            for client in clients:
                client.start()
            for replica in replicas:
                replica.stop()
                replica.start()
            over.set()
            for client in clients:
                client.join()
    finally:
        over.set()
        for replica in replicas:
            replica.kill()
    assert len(answers) > 10
    assert [answer for answer in answers if answer[0] != 200] == []
