"""What is wrong with what clients say of documents."""


class MalformedUpdate(Exception):
    """An update that cannot be read; the text says why, for the log."""
