import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from app.logs import JsonFormatter, TextFormatter, Writer, request_id

HOSTILE = 'a\nb\r\x00\x1b[2J\u2028\u202e"}, {"level": "critical" ' + "é" + "x" * 10_000


def record(message: object = "hello", *args: object, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("app.test", logging.WARNING, "test.py", 1, message, args, None)
    made.__dict__.update(more)
    return made


@pytest.fixture
def current_request() -> Iterator[str]:
    token = request_id.set("request-1")
    yield "request-1"
    request_id.reset(token)


def test_a_line_is_a_json_object_with_the_records_fields(current_request: str) -> None:
    line = JsonFormatter().format(record("%s of %d", "one", 2, fields={"route": "/styles"}))
    found = json.loads(line)
    assert found.pop("time").endswith("+00:00")
    assert found == {
        "level": "warning",
        "logger": "app.test",
        "message": "one of 2",
        "request_id": current_request,
        "route": "/styles",
    }


@pytest.mark.parametrize(
    "made", [record(HOSTILE), record("%s", HOSTILE), record(fields={"x": HOSTILE})]
)
def test_no_message_or_field_can_break_a_line(made: logging.LogRecord) -> None:
    line = JsonFormatter().format(made)
    assert line.isascii()
    assert line.isprintable()
    found = json.loads(line)
    assert found["level"] == "warning"
    assert HOSTILE in (found["message"], found.get("x"))
    text = TextFormatter().format(made)
    assert len(text.splitlines()) == 1
    assert not {"\x00", "\x1b", "\u202e"} & set(text)


def test_a_field_cannot_override_the_standard_keys(current_request: str) -> None:
    fields = {"level": "info", "message": "other", "request_id": "other", "time": "never"}
    found = json.loads(JsonFormatter().format(record(fields=fields)))
    assert (found["level"], found["message"], found["request_id"]) == (
        "warning",
        "hello",
        current_request,
    )
    assert found["time"] != "never"


def test_an_exception_is_a_single_string() -> None:
    try:
        raise RuntimeError("first\nsecond")
    except RuntimeError:
        made = record(exc_info=sys.exc_info())
    line = JsonFormatter().format(made)
    assert "\n" not in line
    assert "RuntimeError: first\nsecond" in json.loads(line)["exception"]
    assert "Traceback" in TextFormatter().format(made)


def test_a_line_is_kept_if_its_arguments_do_not_match_the_format_string() -> None:
    found = json.loads(JsonFormatter().format(record("%d things", "three")))
    assert found["message"] == "%d things ('three',)"


def test_logging_does_not_block_on_a_full_pipe_and_counts_dropped_lines() -> None:
    reader, writer = os.pipe()
    handler = Writer(writer, max_waiting=10)
    handler.setFormatter(JsonFormatter())
    for number in range(1000):  # far more than a pipe holds
        handler.handle(record(f"{number} " + "x" * 1000))
    dropped = handler.dropped
    assert 0 < dropped < 1000
    with open(reader, "rb") as pipe:
        reported = written = 0
        while reported < dropped:
            message = json.loads(pipe.readline())["message"]
            found = re.fullmatch(
                r"(\d+) log lines were dropped because stderr was not read", message
            )
            reported += int(found[1]) if found else 0
            written += not found
    assert reported == dropped
    assert 0 < written <= 1000 - dropped
    os.close(writer)


def test_flush_waits_until_every_line_is_written() -> None:
    reader, writer = os.pipe()
    handler = Writer(writer)
    handler.setFormatter(JsonFormatter())
    for number in range(200):  # less than a pipe holds
        handler.handle(record(str(number)))
    handler.flush()
    os.close(writer)
    with open(reader, "rb") as pipe:
        assert [json.loads(line)["message"] for line in pipe] == [str(n) for n in range(200)]


@pytest.mark.parametrize(("format", "objects"), [("json", 4), ("text", 0)])
def test_every_line_of_a_process_has_the_configured_format(format: str, objects: int) -> None:
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
    objects_read = [json.loads(line) for line in lines if line.startswith("{")]
    assert len(objects_read) == objects
    if objects:
        assert len(lines) == objects
        assert [line["logger"] for line in objects_read[:2]] == ["uvicorn.error", "py.warnings"]
        assert "in a thread" in objects_read[2]["exception"]
        assert "at the end" in objects_read[3]["exception"]
    else:
        assert " INFO uvicorn.error: up" in lines[0]
    assert "too fine" not in done.stderr
