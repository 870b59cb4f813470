"""What one client, and what all together, may cost: memory, files, lines of the log."""
