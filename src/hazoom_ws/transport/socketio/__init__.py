"""Socket.IO v5: packets, their way to a namespace, and to everybody in a room."""
