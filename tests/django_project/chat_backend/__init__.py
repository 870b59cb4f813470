"""A real Django chat API, as contract.md describes it, whose behaviour each message selects."""
