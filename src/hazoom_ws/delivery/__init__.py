"""A turn, what it keeps, and what leaves at its end."""
