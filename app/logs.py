"""Log lines: one JSON object each, or text to read."""

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

FLUSH_SECONDS = 2.0  # that the end of the process waits for somebody to read the last lines

# What could begin a new line, move a terminal's cursor or turn its text around.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class JsonFormatter(logging.Formatter):
    """One line of ASCII for a record: time, level, logger, message, request_id, its fields.

    Fields are what the record brings as `extra={"fields": {...}}`; they cannot take the place of
    the others. An exception, with its traceback, is the one string `exception`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
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
    """Time, level, logger, message, request id, fields; only a traceback has further lines."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        words = [_time(record), record.levelname, f"{record.name}:", _message(record)]
        if (id := request_id.get()) is not None:
            words.append(f"request_id={id}")
        words += [f"{name}={value}" for name, value in getattr(record, "fields", {}).items()]
        line = _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], " ".join(words))
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class Writer(logging.Handler):
    """Writes lines to a file descriptor in a thread of its own, so that no caller waits for it.

    While the file takes no more, up to `most` lines wait; further ones are dropped and counted,
    and a line says how many when writing is possible again.
    """

    def __init__(self, descriptor: int, most: int = 10_000) -> None:
        super().__init__()
        self.dropped = 0
        self._descriptor = descriptor
        self._waiting: queue.Queue[str] = queue.Queue(most)
        self._told = 0  # of the dropped lines
        threading.Thread(target=self._run, name="logs", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Let a line wait to be written, or drop it."""
        try:
            self._waiting.put_nowait(self.format(record))
        except queue.Full:
            self.dropped += 1  # under the handler's lock
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait until all lines are written, at most FLUSH_SECONDS."""
        with self._waiting.all_tasks_done:
            self._waiting.all_tasks_done.wait_for(
                lambda: not self._waiting.unfinished_tasks, FLUSH_SECONDS
            )

    def _run(self) -> None:
        while True:
            line = self._waiting.get()
            self._write(line)
            if (dropped := self.dropped) > self._told:
                message = f"{dropped - self._told} log lines were dropped: nobody read them"
                self._told = dropped
                arguments = __name__, logging.WARNING, __file__, 0, message, None, None
                self._write(self.format(logging.LogRecord(*arguments)))
            self._waiting.task_done()

    def _write(self, line: str) -> None:
        rest = f"{line}\n".encode(errors="backslashreplace")
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:  # nobody can read any more
            with self.lock or contextlib.nullcontext():
                self.dropped += 1


def dropped() -> int:
    """How many log lines of this process were dropped."""
    return sum(handler.dropped for handler in _writers())


def flush() -> None:
    """Wait until all log lines are written, at most FLUSH_SECONDS."""
    for handler in _writers():
        handler.flush()


def _writers() -> list[Writer]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, Writer)]


def configure(level: str, format: Literal["json", "text"]) -> None:
    """Write all log lines, warnings and uncaught exceptions of the process to stderr."""
    handler = Writer(sys.stderr.fileno())
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    log = logging.getLogger(__name__)

    def uncaught(type: Any, error: Any, traceback: Any) -> None:
        log.critical("uncaught", exc_info=(type, error, traceback))

    sys.excepthook = uncaught
    threading.excepthook = lambda told: uncaught(told.exc_type, told.exc_value, told.exc_traceback)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # arguments that do not fit must not cost the line
        return f"{record.msg} {record.args}"
