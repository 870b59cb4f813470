"""Compare hazoom_ws with socket.io on Node and with stock Flask-SocketIO: ``python scripts/bench.py [scenario] [options]``.

Scenarios: fanout, rooms, latency, connections, fairness, llm, live, cluster, beside, all (of these), and scale. Linux only;
needs two cores and a C compiler.

Method
- Each server runs alone, pinned to one core, as its user starts it: ``python -m hazoom_ws`` with its defaults, only the
  rate limit off and its file of messages a new one ("memory" is the same without a file, "redis" with a Redis on the load
  client's core); socket.io with its default options; Flask-SocketIO on eventlet as its documentation shows it, with the
  one option without which it goes silent at 1,024 connections. All get the same limit of open files. The peers know only
  join_room, message and llm_request: they tell nobody who joined and keep no history, which makes their joins cheaper.
- The load client (bench/load.c, bench/streams.c) runs on another core: WebSocket, Engine.IO and Socket.IO spoken directly,
  up to 20,000 clients in one thread. It reports its own CPU time as a share of the window; above 90 % the row says
  ``client-bound``, because then the load client may be what was measured. CPU time that others took from either core is
  shown too.
- Runs are interleaved: run 1 of every server, then run 2. Every run has a fresh server. Rows show the median of the runs,
  their range, and the ratio of the medians to Node's. Absolute values belong to the machine; ratios travel.
- A server's CPU time is read from its process clocks at both ends of the measured window, after joining has gone quiet and
  after a second of warm-up.
- In flight: a room's sender sends its next message when one has reached every member. With a window of 4 or 16 that many
  are under way. Messages have 200 bytes: a stamp and words, so that compressing them is honest work.
- Latency is one-way, on one clock, from the sender's write to each receiver's read.
- "Offering deflate" is what browsers do: the WebSocket handshake offers permessage-deflate, the server may accept.
- rooms, connections, fairness and llm run hazoom_ws without its default room: thousands of clients in one room would tell
  each other of every arrival, which is not what these scenarios are about.
- connections: memory is the resident memory after all are open and have idled, less that of the fresh server. Idle CPU
  is taken over one heartbeat interval. Then the client closes all sockets but one, polls ``GET /health`` until it says 1,
  and meanwhile sends acknowledged messages from the one that stays.
- fairness: the probe sends every 5 ms whatever the answers do, so a stall counts for every message that it delays.
- live: positions carry the time at which they were sent; each reader says how old they are. Node is socket.io with a plain
  broadcast of each, and y-socket.io's own server for documents, with LevelDB and without. More in bench/live.py.
- llm: the load client is the AI backend too, so that one clock measures what the relay adds to a token, from just before
  the backend's send() to the client's read. It pays for both ends, within its share. Everybody asks at once; when the last
  request has arrived the answers begin together, their tokens evenly spread. CPU time is read over the middle half, which
  opens and ends nothing; the added time is that of every token sent in it. Every token and every end is checked. A server
  with time to spare is woken for each token, a busy one takes several at once: 100 us per token are a core that is full.
  Flask-SocketIO relays with requests and iter_lines, Node with http and an Agent that keeps connections alive; hazoom_ws
  has its limits on answers raised.
- Opening a request: afterwards 8 clients ask for answers of 5 tokens, 5 ms apart, each one after the other, over the
  connections that the server has kept (new_connections in the JSON: those that it had to open); the CPU time of a
  request, less that of its tokens at the price just measured. So the end of an answer is in it, and what a token costs
  more on a server with little to do.
- beside: latency twice, alone and while 1,000 answers of 10 tokens a second each run; both load programs are on one core.
- cluster: 1, 2 and 4 processes on one Redis, and Node with its Redis adapter the same; clients take turns among them. The
  first process has the server's core, each further one a core of its own where there are more than two, else they take
  turns on both: then processes, the load client and Redis compete for them, the figures of throughput say little, and the
  CPU time of all processes per message or delivery says what a machine with more cores would do, which is calculated.
  Ratios are to one process on Redis ("redis"); "hazoom" is the one with its file. Redis is on the load client's core.
  One-way times are of those who are on another process than the sender.
- scale: what 1, 10 and 100 processes do to one Redis, simulated: no server is compared. More in bench/scale.py.
- The floor is a C program that does one recv() per message and one send() per delivery, and nothing else: what those
  system calls cost here, and so what is left to win.
"""

import sys


def main() -> int:
    if not sys.platform.startswith("linux"):
        print("bench: this runs on Linux only: it needs epoll, pinned cores and /proc", file=sys.stderr)
        return 2
    from bench import command  # its imports exist on Linux only

    return command.main(str(__doc__))


if __name__ == "__main__":
    sys.exit(main())
