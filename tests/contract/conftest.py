"""What the contract tests need of a Redis."""

from redis_server import databases

__all__ = ["databases"]
