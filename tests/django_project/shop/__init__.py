"""A Django site whose pages use hazoom_ws, as the guide django.md shows it: users, tokens, sessions, orders."""
