"""Why something could not be reached, in words that repeat no URL."""


def reason_of(error: BaseException) -> str:
    """Return why something could not be reached, as the system says it: libraries repeat URLs, and keys may be in those."""
    found: BaseException | None = error
    reason = "no answer in time" if "Timeout" in type(error).__name__ else type(error).__name__
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            reason = str(found.strerror)
        inner = found.args[0] if found.args and isinstance(found.args[0], BaseException) else None
        found = inner or getattr(found, "reason", None) or found.__cause__ or found.__context__
        found = found if isinstance(found, BaseException) else None
    return reason
