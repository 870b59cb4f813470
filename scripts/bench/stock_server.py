"""Flask-SocketIO on eventlet as its documentation shows it, speaking what the benchmark needs of our events.

``python stock_server.py PORT``. One option is not as it comes: ``max_size``, without which eventlet serves 1,024
connections and then goes silent.
"""

import sys
from collections import defaultdict
from itertools import count

import eventlet


def main() -> None:
    eventlet.monkey_patch()

    import time

    from flask import Flask, request
    from flask_socketio import SocketIO, emit, join_room
    from stock_relay import relay

    app = Flask(__name__)
    socketio = SocketIO(app, async_mode="eventlet")
    users: dict[str, str] = {}
    rooms: dict[str, set[str]] = defaultdict(set)  # by sid
    sizes: dict[str, int] = defaultdict(int)  # by room
    numbers = count(1)

    @app.get("/health")
    def health():
        return {"status": "healthy", "active_connections": len(users)}

    @socketio.on("connect")
    def connect(auth):
        users[request.sid] = (auth or {}).get("user_name") or f"Guest-{request.sid[:4]}"
        emit("status", {"connected": True, "message": "Connected", "sid": request.sid, "user": users[request.sid]})

    @socketio.on("disconnect")
    def disconnect(_reason):
        users.pop(request.sid, None)
        for room in rooms.pop(request.sid, ()):
            sizes[room] -= 1

    @socketio.on("join_room")
    def on_join_room(data):
        room = data.get("room", "general")
        join_room(room)
        if room not in rooms[request.sid]:
            rooms[request.sid].add(room)
            sizes[room] += 1
        return {"ok": True, "room": room, "user_count": sizes[room]}

    @socketio.on("message")
    def on_message(data):
        room, seq = data.get("room", "general"), next(numbers)
        entry = {"message": data["message"], "timestamp": time.time(), "room": room, "id": f"stock-{seq}", "seq": seq}
        emit("new_message", {"user": users[request.sid], **entry}, to=room)
        return {"ok": True, "id": entry["id"], "seq": seq, "timestamp": entry["timestamp"], "duplicate": False}

    @socketio.on("llm_request")
    def llm_request(data):
        socketio.start_background_task(relay, socketio, request.sid, users[request.sid], data)

    port = int(sys.argv[1])
    print(f"stock ready on http://127.0.0.1:{port}", flush=True)
    socketio.run(app, host="127.0.0.1", port=port, max_size=1_000_000)


if __name__ == "__main__":
    main()
