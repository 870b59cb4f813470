"""What python-socketio and python-engineio may log."""

import logging


def quiet_logger(name: str) -> logging.Logger:
    """Return the logger ``hazoom_ws.<name>`` for a library, which passes on crashes only.

    Below that level the libraries log whole packets, which hold messages and tokens; their refused requests are ours to
    report (`hazoom_ws.access.origins.OriginCheck`) or nobody's concern.
    """
    logger = logging.getLogger(f"hazoom_ws.{name}")
    logger.setLevel(logging.ERROR)
    if not logger.filters:
        logger.addFilter(lambda record: record.exc_info is not None)
    return logger
