"""hazoom_ws: a real-time chat and AI-streaming server.

Importing this package imports nothing else: ``python -m hazoom_ws`` imports it before it patches the standard library,
and whatever were imported here would keep the unpatched parts.
"""

TYPE_CHECKING = False  # what type checkers take for true; the typing module would be an import
if TYPE_CHECKING:
    from hazoom_ws.app import create_app
    from hazoom_ws.version import __version__

__all__ = ["__version__", "create_app"]


def __getattr__(name: str) -> object:
    """Resolve ``create_app`` and ``__version__`` when they are first asked for (PEP 562)."""
    if name == "create_app":
        from hazoom_ws.app import create_app

        return create_app
    if name == "__version__":
        from hazoom_ws.version import __version__

        return __version__
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
