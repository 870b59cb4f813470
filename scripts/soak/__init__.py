"""Official clients that chat, ask, drop and come back, and what the server keeps of them; see scripts/soak.py."""
