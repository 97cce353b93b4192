"""Logging to stderr, as JSON objects or plain text."""

import contextlib
import json
import logging
import os
import queue
import re
import sys
import threading
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

FLUSH_SECONDS = 2.0  # how long to wait for the last lines to be written

# Characters that start a new line, control a terminal or change the direction of text.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of ASCII: time, level, logger, message, request_id and fields.

    A record's fields are given as `extra={"fields": {...}}` and cannot override the other keys. An
    exception and its traceback are one string, `exception`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without a line break at its end."""
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if (id := request_id.get()) is not None:
            line["request_id"] = id
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        for name, value in getattr(record, "fields", {}).items():
            line.setdefault(name, value)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """Formats a record as one line of text; a traceback follows on further lines."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without a line break at its end."""
        words = [_time(record), record.levelname, f"{record.name}:", _message(record)]
        if (id := request_id.get()) is not None:
            words.append(f"request_id={id}")
        words += [f"{name}={value}" for name, value in getattr(record, "fields", {}).items()]
        line = _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], " ".join(words))
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class Writer(logging.Handler):
    """Writes lines to a file descriptor in a separate thread, so that logging never blocks.

    While writing blocks, up to `max_waiting` lines are kept. Further lines are dropped and counted,
    and their number is logged once writing is possible again.
    """

    def __init__(self, descriptor: int, max_waiting: int = 10_000) -> None:
        super().__init__()
        self.dropped = 0  # lines
        self._descriptor = descriptor
        self._waiting: queue.Queue[str] = queue.Queue(max_waiting)
        self._reported = 0  # dropped lines that have been logged
        threading.Thread(target=self._run, name="logs", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line to be written, or drop it if too many are waiting."""
        try:
            self._waiting.put_nowait(self.format(record))
        except queue.Full:
            self.dropped += 1  # the caller holds the handler's lock
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait until all lines are written, for at most FLUSH_SECONDS."""
        with self._waiting.all_tasks_done:
            self._waiting.all_tasks_done.wait_for(
                lambda: not self._waiting.unfinished_tasks, FLUSH_SECONDS
            )

    def _run(self) -> None:
        while True:
            line = self._waiting.get()
            self._write(line)
            if (dropped := self.dropped) > self._reported:
                count, self._reported = dropped - self._reported, dropped
                message = f"{count} log lines were dropped because stderr was not read"
                arguments = __name__, logging.WARNING, __file__, 0, message, None, None
                self._write(self.format(logging.LogRecord(*arguments)))
            self._waiting.task_done()

    def _write(self, line: str) -> None:
        rest = f"{line}\n".encode(errors="backslashreplace")
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:  # the reader has closed the pipe
            with self.lock or contextlib.nullcontext():
                self.dropped += 1


def dropped() -> int:
    """Return how many log lines of this process were dropped."""
    return sum(handler.dropped for handler in _writers())


def flush() -> None:
    """Wait until all log lines are written, for at most FLUSH_SECONDS."""
    for handler in _writers():
        handler.flush()


def _writers() -> list[Writer]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, Writer)]


def configure(level: str, format: Literal["json", "text"]) -> None:
    """Log to stderr, including warnings and uncaught exceptions."""
    handler = Writer(sys.stderr.fileno())
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    log = logging.getLogger(__name__)

    def uncaught(type: Any, error: Any, traceback: Any) -> None:
        log.critical("uncaught exception", exc_info=(type, error, traceback))

    sys.excepthook = uncaught
    threading.excepthook = lambda e: uncaught(e.exc_type, e.exc_value, e.exc_traceback)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # the arguments do not match the format string
        return f"{record.msg} {record.args}"
