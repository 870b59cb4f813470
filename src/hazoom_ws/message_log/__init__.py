"""What was said: one total order (``seq``) over the messages of all rooms."""
