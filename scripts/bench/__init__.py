"""The parts of scripts/bench.py: the servers, the load client in C, the scenarios, the report."""
