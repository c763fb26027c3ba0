"""Logs: text for people, JSON lines for machines, and passwords in neither."""

import json
import logging
import re
import sys
from datetime import UTC, datetime

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_ADDRESS = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*://)[^\s/@'\"]*:[^\s@'\"]*@")
_KEY = re.compile(r"\b(cardea_[A-Za-z0-9]{4})[A-Za-z0-9_-]{8,}")


class JsonLines(logging.Formatter):
    """One JSON object a line: at, level, logger, thread, message, and with a traceback error."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class WithoutSecrets(logging.Formatter):
    """Hides passwords in addresses and keys of ours, wherever a library or a traceback may have put them."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of the inner formatter, masked."""
        return _KEY.sub(r"\1***", _ADDRESS.sub(r"\1***@", self._inner.format(record)))


def log_to_stderr(level: str, form: str = "text") -> None:
    """Log from this level on, as ``text`` or ``json``; libraries only speak when something is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(WithoutSecrets(JsonLines() if form == "json" else logging.Formatter(TEXT)))
    logging.basicConfig(level="WARNING", handlers=[handler])
    for ours in ("app", "workers"):
        logging.getLogger(ours).setLevel(level)
