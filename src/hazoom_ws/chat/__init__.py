"""What chat is: users, rooms, presence, limits. Plain calls; no Flask, no Socket.IO, no Redis, no eventlet."""
