"""The tools of development: make targets, hooks, workflows and the list of slow tests."""

import re
import subprocess
import sys

import pytest
import yaml

from tests.tools import slow
from tests.tools.repository import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)
REPORT = """
0.70s call     tests/unit/app/test_cli.py::test_a[one]
0.60s call     tests/unit/app/test_cli.py::test_a[two]
9.00s setup    tests/unit/app/test_cli.py::test_b
0.90s call     tests/unit/app/test_cli.py::test_b
"""


def test_make_alone_prints_every_target_with_its_purpose() -> None:
    # Under `make test`, make would print the directory too.
    command = ["make", "--no-print-directory"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert list(printed) == TARGETS


def test_hooks_call_existing_make_targets() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    commands = [hook["entry"].split() for hook in repository["hooks"]]
    assert commands
    assert all(make == "make" and target in TARGETS for make, target in commands)


def test_the_workflow_and_the_local_script_run_the_same_target() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    steps = [step.get("run") for step in workflow["jobs"]["test"]["steps"]]
    assert steps[-1] == ".ci/run"
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "make test"


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("vendor.github-workflows", ".github/workflows/ci.yml"),
        ("vendor.dependabot", ".github/dependabot.yml"),
    ],
)
def test_the_configuration_of_the_forge_is_valid_by_its_schema(schema: str, file: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, file]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_slow_test_in_the_list_exists() -> None:
    missing = slow.stale(slow.read_list())
    assert missing == [], "remove these lines from tests/slow.txt, or measure anew"


def test_an_entry_that_names_no_test_is_stale() -> None:
    here = "tests/system/test_development.py"
    entries = [f"{here}::test_an_entry_that_names_no_test_is_stale", f"{here}::test_gone", "a::b"]
    assert slow.stale(entries) == ["a::b", f"{here}::test_gone"]


def test_a_test_is_slow_by_the_calls_of_all_its_parameters_without_its_set_up() -> None:
    assert slow.slow_tests(REPORT, 1.0) == ["tests/unit/app/test_cli.py::test_a"]
