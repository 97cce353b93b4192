"""nginx with deploy/nginx.conf, adapted to run on this machine."""

import http.client
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.tools.repository import ROOT
from tests.tools.servers import free_port

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


def write_configuration(folder: Path, port: int, *replicas: int) -> Path:
    """Write deploy/nginx.conf for the loopback interface, with all its files in `folder`."""
    conf = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    name = re.search(r"server pastiche:8000(.*)\n", conf)
    assert name
    servers = "\n".join(f"server 127.0.0.1:{replica}{name[1]}" for replica in replicas)
    for old, new in {
        "/tmp/": f"{folder}/",
        "/dev/stderr": f"{folder}/errors.log",
        "/dev/stdout": f"{folder}/access.log",
        "listen 8080": f"listen 127.0.0.1:{port}",
        name[0]: f"{servers}\n",
    }.items():
        assert old in conf
        conf = conf.replace(old, new)
    path = folder / "nginx.conf"
    path.write_text(conf)
    return path


def command(folder: Path, conf: Path, *arguments: str) -> list[str]:
    """Return the command that runs nginx with a configuration."""
    errors = str(folder / "start.log")
    return [str(NGINX), "-p", str(folder), "-c", str(conf), "-e", errors, *arguments]


@contextmanager
def gateway(folder: Path, *replicas: int) -> Iterator[http.client.HTTPConnection]:
    """Run nginx in front of replicas, given by their ports, and yield a connection to it."""
    port = free_port()
    conf = write_configuration(folder, port, *replicas)
    with subprocess.Popen(command(folder, conf, "-g", "daemon off;")) as process:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            for _ in range(500):
                try:
                    connection.connect()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.02)
            yield connection
        finally:
            connection.close()
            process.terminate()
            process.wait(timeout=20)
