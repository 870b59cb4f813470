"""The Socket.IO face: payload in, one verb of chat, acknowledgement out."""
