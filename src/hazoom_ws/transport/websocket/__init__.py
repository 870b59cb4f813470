"""WebSockets: frames and the opening handshake, without I/O."""
