"""A real Django chat API, as the events guide describes it, whose behaviour each message selects."""
