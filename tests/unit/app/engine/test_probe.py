import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.engine import probe
from app.engine.device import CPU, Device
from app.engine.network import Network
from app.engine.probe import Probe
from app.model_folder import read_folder


@pytest.fixture
def network(models: Path) -> Network:
    return Network(read_folder(models / "tiny"), Device("cpu", CPU, "float32", 1), 1_000_000)


def run(test: Callable[[Probe], Coroutine[Any, Any, None]]) -> None:
    async def closed() -> None:
        made = Probe()
        try:
            await test(made)
        finally:
            made.close()

    asyncio.run(closed())


def test_networks_that_paint_have_no_fault(network: Network) -> None:
    async def test(made: Probe) -> None:
        assert await made.fault([network]) is None

    run(test)


def test_a_network_that_cannot_paint_is_named_and_may_recover(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "FRESH", 0)

    async def test(made: Probe) -> None:
        apply = network._sessions.pop("apply")
        fault = await made.fault([network])
        assert fault is not None
        assert fault.startswith("tiny: ")
        network._sessions["apply"] = apply
        assert await made.fault([network]) is None

    run(test)


def test_an_answer_is_good_for_a_while_and_shared(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "FRESH", 3600)
    runs: list[str] = []
    monkeypatch.setattr(network, "warm_up", lambda: runs.append("once"))

    async def test(made: Probe) -> None:
        await asyncio.gather(*(made.fault([network]) for _ in range(5)))
        await made.fault([network])

    run(test)
    assert runs == ["once"]


def test_what_callers_have_met_is_the_answer_until_the_next_inference(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "FRESH", 3600)

    async def test(made: Probe) -> None:
        assert await made.fault([network]) is None
        made.doubt("tiny: no memory")
        assert await made.fault([network]) == "tiny: no memory"
        monkeypatch.setattr(probe, "FRESH", 0)
        assert await made.fault([network]) is None

    run(test)


def test_what_was_not_foreseen_is_a_fault_without_its_words(
    network: Network, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> np.ndarray:
        raise RuntimeError("secret")

    monkeypatch.setattr(network, "_painted", fail)

    async def test(made: Probe) -> None:
        assert await made.fault([network]) == "tiny: something went wrong on our side"

    run(test)
    assert "secret" in caplog.text


def test_a_device_that_does_not_answer_is_a_fault(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    monkeypatch.setattr(probe, "PATIENCE", 0.05)
    monkeypatch.setattr(network, "warm_up", lambda: gate.wait(60))

    async def test(made: Probe) -> None:
        try:
            fault = await made.fault([network])
            assert fault is not None
            assert "has not painted" in fault
        finally:
            gate.set()

    run(test)
