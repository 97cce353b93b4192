import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from app.engine import probe as probe_module
from app.engine.devices.device import CPU, Device
from app.engine.generator import Generator
from app.engine.network import Network
from app.engine.probe import Probe
from app.errors import InferenceFailed
from app.model_folder import read_folder
from tests.tools.sessions import Sessions


@pytest.fixture
def sessions() -> Sessions:
    return Sessions()


@pytest.fixture
def network(models: Path, sessions: Sessions) -> Network:
    device = Device("cpu", CPU, "float32", 1)
    return Network(read_folder(models / "tiny"), device, open_session=sessions.open)


def run(test: Callable[[Probe], Coroutine[Any, Any, None]]) -> None:
    async def run_and_close() -> None:
        probe = Probe()
        try:
            await test(probe)
        finally:
            probe.close()

    asyncio.run(run_and_close())


def test_networks_that_paint_have_no_fault(network: Network) -> None:
    async def test(probe: Probe) -> None:
        assert await probe.fault([network]) is None

    run(test)


def test_the_fault_names_a_network_that_cannot_paint_until_it_can(
    network: Network, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module, "CACHE_SECONDS", 0)

    async def test(probe: Probe) -> None:
        sessions.run_error = InferenceFailed("broken")
        assert await probe.fault([network]) == "tiny: broken"
        sessions.run_error = None
        assert await probe.fault([network]) is None

    run(test)


def test_calls_share_one_run_while_its_result_is_fresh(
    network: Network, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module, "CACHE_SECONDS", 3600)
    network.warm_up()
    once = sessions.runs

    async def test(probe: Probe) -> None:
        await asyncio.gather(*(probe.fault([network]) for _ in range(5)))
        await probe.fault([network])

    run(test)
    assert sessions.runs == 2 * once


def test_a_reported_fault_is_returned_until_the_next_run(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module, "CACHE_SECONDS", 3600)

    async def test(probe: Probe) -> None:
        assert await probe.fault([network]) is None
        probe.report("tiny: no memory")
        assert await probe.fault([network]) == "tiny: no memory"
        monkeypatch.setattr(probe_module, "CACHE_SECONDS", 0)
        assert await probe.fault([network]) is None

    run(test)


def test_an_unexpected_error_is_a_fault_whose_message_is_only_logged(
    network: Network, sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    sessions.run_error = RuntimeError("secret")

    async def test(probe: Probe) -> None:
        fault = await probe.fault([network])
        assert fault == "tiny: an unexpected error occurred; see the server's log"

    run(test)
    assert "secret" in caplog.text


def test_a_device_that_does_not_respond_is_a_fault(
    network: Network, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module, "TIMEOUT_SECONDS", 0.05)
    sessions.gate.clear()

    async def test(probe: Probe) -> None:
        try:
            fault = await probe.fault([network])
            assert fault is not None
            assert "has not painted" in fault
        finally:
            sessions.gate.set()

    run(test)


def test_a_generator_that_cannot_generate_is_a_fault(
    texture_models: Path, sessions: Sessions
) -> None:
    folder = read_folder(texture_models / "tiny")
    device = Device("cpu", CPU, "float32", 1)
    generator = Generator(folder, device, open_session=sessions.open)

    async def test(probe: Probe) -> None:
        assert await probe.fault([generator]) is None
        probe.report("other")
        sessions.run_error = InferenceFailed("broken")
        assert await Probe().fault([generator]) == "tiny (generator): broken"

    run(test)
