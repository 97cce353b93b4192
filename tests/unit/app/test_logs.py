import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from app.logs import JsonFormatter, TextFormatter, Writer, request_id

NASTY = 'a\nb\r\x00\x1b[2J\u2028\u202e"}, {"level": "critical" ' + "é" + "x" * 10_000


def record(message: object = "hello", *args: object, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("app.test", logging.WARNING, "test.py", 1, message, args, None)
    made.__dict__.update(more)
    return made


@pytest.fixture
def named() -> Iterator[str]:
    token = request_id.set("mine-1")
    yield "mine-1"
    request_id.reset(token)


def test_a_line_is_one_object_with_time_level_logger_message_and_fields(named: str) -> None:
    line = JsonFormatter().format(record("%s of %d", "one", 2, fields={"route": "/styles"}))
    told = json.loads(line)
    assert told.pop("time").endswith("+00:00")
    assert told == {
        "level": "warning",
        "logger": "app.test",
        "message": "one of 2",
        "request_id": named,
        "route": "/styles",
    }


@pytest.mark.parametrize("made", [record(NASTY), record("%s", NASTY), record(fields={"x": NASTY})])
def test_nothing_in_a_message_or_field_breaks_the_line(made: logging.LogRecord) -> None:
    line = JsonFormatter().format(made)
    assert line.isascii()
    assert line.isprintable()
    told = json.loads(line)
    assert told["level"] == "warning"
    assert NASTY in (told["message"], told.get("x"))
    text = TextFormatter().format(made)
    assert len(text.splitlines()) == 1
    assert not {"\x00", "\x1b", "\u202e"} & set(text)


def test_a_field_cannot_take_the_place_of_what_every_line_has(named: str) -> None:
    fields = {"level": "info", "message": "other", "request_id": "other", "time": "never"}
    told = json.loads(JsonFormatter().format(record(fields=fields)))
    assert (told["level"], told["message"], told["request_id"]) == ("warning", "hello", named)
    assert told["time"] != "never"


def test_an_exception_is_one_string() -> None:
    try:
        raise RuntimeError("first\nsecond")
    except RuntimeError:
        made = record(exc_info=sys.exc_info())
    line = JsonFormatter().format(made)
    assert "\n" not in line
    assert "RuntimeError: first\nsecond" in json.loads(line)["exception"]
    assert "Traceback" in TextFormatter().format(made)


def test_arguments_that_do_not_fit_do_not_cost_the_line() -> None:
    told = json.loads(JsonFormatter().format(record("%d things", "three")))
    assert told["message"] == "%d things ('three',)"


def test_a_pipe_that_nobody_reads_holds_up_nobody_and_dropped_lines_are_counted() -> None:
    reader, writer = os.pipe()
    handler = Writer(writer, most=10)
    handler.setFormatter(JsonFormatter())
    for number in range(1000):  # far more than a pipe holds
        handler.handle(record(f"{number} " + "x" * 1000))
    dropped = handler.dropped
    assert 0 < dropped < 1000
    with open(reader, "rb") as pipe:
        told = written = 0
        while told < dropped:
            message = json.loads(pipe.readline())["message"]
            found = re.fullmatch(r"(\d+) log lines were dropped: nobody read them", message)
            told += int(found[1]) if found else 0
            written += not found
    assert told == dropped
    assert 0 < written <= 1000 - dropped
    os.close(writer)


def test_a_flush_waits_for_the_last_line() -> None:
    reader, writer = os.pipe()
    handler = Writer(writer)
    handler.setFormatter(JsonFormatter())
    for number in range(500):
        handler.handle(record(str(number)))
    handler.flush()
    os.close(writer)
    with open(reader, "rb") as pipe:
        assert [json.loads(line)["message"] for line in pipe] == [str(n) for n in range(500)]


@pytest.mark.parametrize(("format", "objects"), [("json", 4), ("text", 0)])
def test_every_line_of_a_process_has_the_format_that_was_asked_for(
    format: str, objects: int
) -> None:
    code = (
        "import logging, threading, warnings; from app import logs\n"
        f"logs.configure('info', {format!r})\n"
        "logging.getLogger('uvicorn.error').info('up')\n"
        "logging.getLogger('app.x').debug('too fine')\n"
        "warnings.warn('careful', stacklevel=1)\n"
        "def fail(): raise RuntimeError('in a thread')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
        "raise RuntimeError('at the end')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    lines = done.stderr.splitlines()
    told = [json.loads(line) for line in lines if line.startswith("{")]
    assert len(told) == objects
    if objects:
        assert len(lines) == objects
        assert [line["logger"] for line in told[:2]] == ["uvicorn.error", "py.warnings"]
        assert "in a thread" in told[2]["exception"]
        assert "at the end" in told[3]["exception"]
    else:
        assert " INFO uvicorn.error: up" in lines[0]
    assert "too fine" not in done.stderr
