"""Attacks on a running server, and what a quiet client and the system see meanwhile; see scripts/hostile.py."""
