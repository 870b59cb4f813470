"""What is said on the wire, in and out, and what of it is valid. For users: web/guides/events.md, which a test compares."""
