"""The log in one SQLite file, with what belongs to it."""
