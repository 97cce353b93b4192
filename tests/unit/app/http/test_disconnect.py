import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from app.http.disconnect import while_waiting


class Caller:
    """The receiving end of a request whose body has been read."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.request = Request({"type": "http"}, self.messages.get)

    def say_nothing(self) -> None:
        self.messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})

    def leave(self) -> None:
        self.say_nothing()
        self.messages.put_nowait({"type": "http.disconnect"})


async def work_on(ended: list[str]) -> None:
    """Without end; says when it is ended."""
    try:
        await asyncio.sleep(3600)
    finally:
        ended.append("at once")


def run(test: Callable[[Caller], Coroutine[Any, Any, None]]) -> None:
    async def quiet() -> None:
        await test(Caller())
        assert asyncio.all_tasks() == {asyncio.current_task()}  # nothing is left behind

    asyncio.run(quiet())


def test_what_the_work_returns_comes_back() -> None:
    async def work() -> int:
        await asyncio.sleep(0.05)
        return 3

    async def test(caller: Caller) -> None:
        caller.say_nothing()  # which is not leaving
        assert await while_waiting(caller.request, work()) == 3

    run(test)


def test_what_the_work_raises_comes_back() -> None:
    async def work() -> int:
        raise ValueError("of the work")

    async def test(caller: Caller) -> None:
        with pytest.raises(ValueError, match="of the work"):
            await while_waiting(caller.request, work())

    run(test)


def test_the_work_is_cancelled_when_the_caller_leaves() -> None:
    ended: list[str] = []

    async def test(caller: Caller) -> None:
        asyncio.get_running_loop().call_later(0.01, caller.leave)
        with pytest.raises(ClientDisconnect):
            await while_waiting(caller.request, work_on(ended))
        assert ended == ["at once"]

    run(test)


def test_the_work_is_cancelled_with_whoever_waits_for_it() -> None:
    ended: list[str] = []

    async def test(caller: Caller) -> None:
        waiting = asyncio.create_task(while_waiting(caller.request, work_on(ended)))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert ended == ["at once"]

    run(test)
