"""The built-in page in a real browser. A package, so that its browser can end with it (conftest.py)."""
