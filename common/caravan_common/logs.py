"""How a process logs: structlog to standard error, one event name and its facts a line."""

import logging
import sys

import structlog

from caravan_common.config import LogSection


def configure_logs(section: LogSection, service: str) -> None:
    """Set up logging for the whole process. Call once, before the first line is logged."""
    level = logging.getLevelNamesMapping()[section.level.upper()]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if section.format == "json" else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(
        stream=sys.stderr, level=max(level, logging.WARNING), format="%(levelname)s %(name)s %(message)s"
    )
