"""What many look at and change at once: cursors, strokes, games. Plain calls; no Flask, no Socket.IO, no eventlet."""
