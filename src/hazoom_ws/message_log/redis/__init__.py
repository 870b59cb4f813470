"""The log in Redis; `log` is its face."""
