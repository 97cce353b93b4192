import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from app.http.disconnect import cancel_on_disconnect


class Client:
    """A client whose request body has been read."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.request = Request({"type": "http"}, self.messages.get)

    def send_nothing(self) -> None:
        self.messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})

    def disconnect(self) -> None:
        self.send_nothing()
        self.messages.put_nowait({"type": "http.disconnect"})


async def endless_work(cancelled: list[str]) -> None:
    """Work forever, and record the cancellation."""
    try:
        await asyncio.sleep(3600)
    finally:
        cancelled.append("work")


def run(test: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
    async def check() -> None:
        await test(Client())
        assert asyncio.all_tasks() == {asyncio.current_task()}  # no task is left

    asyncio.run(check())


def test_the_result_of_the_work_is_returned() -> None:
    async def work() -> int:
        await asyncio.sleep(0.05)
        return 3

    async def test(client: Client) -> None:
        client.send_nothing()  # which is not a disconnect
        assert await cancel_on_disconnect(client.request, work()) == 3

    run(test)


def test_an_exception_of_the_work_is_raised() -> None:
    async def work() -> int:
        raise ValueError("of the work")

    async def test(client: Client) -> None:
        with pytest.raises(ValueError, match="of the work"):
            await cancel_on_disconnect(client.request, work())

    run(test)


def test_the_work_is_cancelled_when_the_client_disconnects() -> None:
    cancelled: list[str] = []

    async def test(client: Client) -> None:
        asyncio.get_running_loop().call_later(0.01, client.disconnect)
        with pytest.raises(ClientDisconnect):
            await cancel_on_disconnect(client.request, endless_work(cancelled))
        assert cancelled == ["work"]

    run(test)


def test_the_work_is_cancelled_when_its_caller_is() -> None:
    cancelled: list[str] = []

    async def test(client: Client) -> None:
        waiting = asyncio.create_task(cancel_on_disconnect(client.request, endless_work(cancelled)))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert cancelled == ["work"]

    run(test)
