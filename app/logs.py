"""Log lines: one JSON object each, or text to read."""

import json
import logging
import re
import sys
import threading
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

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


def configure(level: str, format: Literal["json", "text"]) -> None:
    """Write all log lines, warnings and uncaught exceptions of the process to stderr."""
    handler = logging.StreamHandler()
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
