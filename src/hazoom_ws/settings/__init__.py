"""Every tunable: its unit, its default and the reason for it.

What a value must be beside its type and range is in `checks`, where values come from in `sources`. Knows
nothing about Flask or sockets. It is long because it is one table: who looks for a setting reads it from top to bottom.
"""

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

CHAT_PATH = "/quantum-goose-app/api/llm/chat/"
# Sockets take no time-out that is longer, in milliseconds, than 2 ** 31: for ever is not a number of seconds.
_LONGEST_S = 2_000_000.0
_LARGEST = 2**53  # SQLite and JavaScript know no larger numbers, or not exactly
API_KEY_LENGTH_CHARS = 16  # what is shorter can be guessed
API_KEYS_LIMIT_COUNT = 100  # each is compared, for every request that brings one
SECRET = frozenset(
    {"api_keys", "api_keys_file", "auth_url", "jwt_jwks_url", "jwt_secret", "llm_url", "log_url"}
)  # may hold passwords and keys: nothing shows them
_MOST_STREAMS = 65_536  # each needs a file; the pool of connections makes a slot for each when it begins


class SettingsError(ValueError):
    """A setting that cannot be used; the text names it, its source and what to do, in one line and without passwords."""

    def __init__(self, text: str) -> None:
        # Here and not where texts are made: a URL with a password may stand in any variable, also by mistake.
        super().__init__(re.sub("//.*@", "//***@", " ".join(text.splitlines())))


def _seconds(text: str, *, longest_s: float = _LONGEST_S) -> Meta:
    return Meta(gt=0, le=longest_s, description=f"Seconds. {text}")


def _count(text: str, *, largest: int = _LARGEST) -> Meta:
    return Meta(ge=1, le=largest, description=text)


def _rate(text: str) -> Meta:
    return Meta(ge=0, le=_LARGEST, description=text)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings, as they were given: `checks.checked` finds out whether they can be used."""

    host: Annotated[
        str,
        Meta(
            min_length=1,
            description="Address to listen on. Local by default; beyond this machine somebody has to be asked who they are "
            "(auth), or allow_open be set. 0.0.0.0 listens on every IPv4 address.",
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int, Meta(ge=0, le=65535, description="TCP port to listen on; 0 takes a free one, which the ready line names.")
    ] = 5000
    workers: Annotated[
        int,
        Meta(
            ge=1,
            le=64,
            description="Processes that serve the port together, each of which uses one core. More than one need Linux and "
            "a Redis (log_url), through which they are one server. It is for the command: who embeds the server starts "
            "its processes in another way.",
        ),
    ] = 1
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="Least severe level that is logged: debug, info, warning or error."),
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"],
        Meta(
            description="How the log is written: text, lines for people; json, one object a line for programs, and then "
            "also a line for each connection, HTTP request and refused event."
        ),
    ] = "text"
    cors_origins: Annotated[
        tuple[str, ...],
        Meta(
            description="Origins whose pages may use this server, for HTTP and for Socket.IO; the usual ports of "
            "Vite and Create React App by default. https://*.example.com means one name or more before the dot; shells of "
            "phones and desktops are capacitor://localhost and the like; 'null', the origin of files and sandboxed frames, "
            "has to be named. The server's own origin (its address, localhost or an IP address "
            "with its port) is always allowed; an empty list allows only that. ['*'] allows every page of the web."
        ),
    ] = ("http://localhost:5173", "http://localhost:3000")
    auth: Annotated[
        Literal["open", "api_key", "jwt", "url"],
        Meta(
            description="Who may come in: open, anybody, under whatever name; api_key, who has one of api_keys; jwt, who "
            "has a token that the keys of jwt_... have signed; url, whom auth_url lets in."
        ),
    ] = "open"
    allow_open: Annotated[
        bool,
        Meta(
            description="Let anybody in from anywhere: without it a server that listens beyond this machine does not start "
            "with auth = open."
        ),
    ] = False
    jwt_secret: Annotated[
        str,
        Meta(description="Secret with which tokens are signed by HS256: 32 bytes at least, as a shorter one is guessed."),
    ] = ""
    jwt_key_file: Annotated[
        str, Meta(description="File with the public key of tokens in PEM: RSA of 2048 bits at least, P-256 or Ed25519.")
    ] = ""
    jwt_jwks_url: Annotated[
        str,
        Meta(description="Where the public keys of tokens are, as identity providers offer them; asked anew within 20 s."),
    ] = ""
    jwt_algorithms: Annotated[
        tuple[Literal["HS256", "RS256", "ES256", "EdDSA", "Ed25519"], ...],
        Meta(
            description="Algorithms that tokens may be signed with, whatever they say themselves; empty: HS256 with "
            "jwt_secret, else the other ones, each with keys of its kind only."
        ),
    ] = ()
    jwt_issuer: Annotated[str, Meta(description="What the claim iss of a token has to be; empty: not looked at.")] = ""
    jwt_audience: Annotated[
        str,
        Meta(
            description="What the claim aud of a token has to name; empty: not looked at. Set it if the key has other uses."
        ),
    ] = ""
    jwt_leeway_s: Annotated[
        float,
        Meta(
            ge=0,
            le=300,
            description="Seconds by which clocks may differ, when the times of a token that is shown are checked.",
        ),
    ] = 10.0
    auth_url: Annotated[
        str,
        Meta(
            description="What is asked about each client by POST, with its cookies, such as a view of Django that knows "
            "its session: 200 lets in, 401 and 403 do not, and all else neither, for now."
        ),
    ] = ""
    api_keys: Annotated[
        tuple[str, ...],
        Meta(
            description="Keys of backends, for the HTTP routes under /api/v1 that need one, and for the pages where the "
            "server listens beyond loopback: each 16 to 512 characters that can be seen, such as `openssl rand -hex 32` "
            "makes, and several while one replaces another. Without any these are closed."
        ),
    ] = ()
    api_keys_file: Annotated[
        str,
        Meta(
            description="File with further keys, one a line, read at the start; blank lines and those that begin with # "
            "are left out. A file shows in no list of processes; empty means none."
        ),
    ] = ""
    default_room: Annotated[
        str,
        Meta(
            description="Room that every client is put in when it connects and that events without a room mean; "
            "empty puts nobody anywhere, and events without a room then mean 'general'."
        ),
    ] = "general"
    rate_limit_per_s: Annotated[
        float,
        Meta(
            ge=0,
            le=_LARGEST,
            description="Events per second and connection, far above what a person types. 0 turns it off.",
        ),
    ] = 50.0
    rate_limit_burst_count: Annotated[
        int,
        _count("Events that a connection may send at once before rate_limit_per_s holds: a page that loads many rooms."),
    ] = 100
    rate_limit_bytes_per_s: Annotated[
        float,
        Meta(
            gt=0,
            le=_LARGEST,
            description="Bytes of events per second and connection: a usual line takes more than that, so nobody sends a "
            "room more than its readers take. It ends with rate_limit_per_s = 0.",
        ),
    ] = 65536.0
    rate_limit_burst_bytes: Annotated[
        int,
        _count("Bytes of events that a connection may send at once before rate_limit_bytes_per_s holds: some long pastes."),
    ] = 262144
    event_limit_bytes: Annotated[
        int,
        _count(
            "Bytes of one event as it comes, in JSON: twice the longest message, which may need escapes. They are counted "
            "before anything is parsed."
        ),
    ] = 131072
    relay_interval_ms: Annotated[
        int,
        Meta(
            ge=5,
            le=1000,
            description="Milliseconds between two events of what a room relays, when there is much: 33 are 30 a second, "
            "which the eye takes for motion. What comes into a quiet room leaves at once.",
        ),
    ] = 33
    relay_rate_limit_per_s: Annotated[
        float,
        Meta(
            ge=0,
            le=_LARGEST,
            description="Relayed items per second and connection, two for each frame of a screen; they do not count as "
            "events, their bytes do. Over it those without a key are refused. 0 turns it off.",
        ),
    ] = 120.0
    relay_rate_limit_burst_count: Annotated[
        int, _count("Relayed items that a connection may send at once before relay_rate_limit_per_s holds.")
    ] = 240
    user_rate_limit_per_s: Annotated[
        float,
        _rate(
            "Events per second of all connections of a user, four at full rate, on all processes together; what is "
            "relayed counts as a part of one, many bytes as several. Guests are not limited by it. 0 turns it off."
        ),
    ] = 200.0
    user_rate_limit_burst_count: Annotated[
        int, _count("Events that a user's connections may send at once before user_rate_limit_per_s holds.")
    ] = 400
    connections_per_user_limit: Annotated[
        int,
        _count("Connections of one user, guests excepted: tabs and devices of a person, and programs that share a name."),
    ] = 100
    address_rate_limit_per_s: Annotated[
        float,
        _rate(
            "Events per second of all connections from one address, on all processes together, counted as those of a "
            "user: a school behind one address, and no more than the server has left for everybody else. 0 turns it off."
        ),
    ] = 1000.0
    address_rate_limit_burst_count: Annotated[
        int, _count("Events that may come from one address at once before address_rate_limit_per_s holds.")
    ] = 2000
    connections_per_address_limit: Annotated[
        int, _count("Connections from one address: a school behind one, and a small part of what the server takes.")
    ] = 1000
    connect_rate_limit_per_s: Annotated[
        float,
        _rate(
            "New connections per second from one address, on all processes together, with which a school is back within "
            "10 s. 0 turns it off."
        ),
    ] = 50.0
    connect_rate_limit_burst_count: Annotated[
        int, _count("New connections that may come from one address at once before connect_rate_limit_per_s holds.")
    ] = 500
    connect_total_rate_limit_per_s: Annotated[
        float,
        _rate("New connections per second in all, for each process: a third of what a core takes. 0 turns it off."),
    ] = 2000.0
    connect_total_rate_limit_burst_count: Annotated[
        int, _count("New connections that may come at once: all of a server that was started anew.")
    ] = 10_000
    address_limit_count: Annotated[
        int,
        _count(
            "Addresses, and users, without a connection that are remembered until they may do everything again, 0.5 KB "
            "each; over it those who left first are forgotten."
        ),
    ] = 20_000
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="Networks, such as 10.0.0.0/8, whose X-Forwarded-For is believed: the last address there that is "
            "not in one of them is the client's, which limits per address go by."
        ),
    ] = ()
    document_update_limit_bytes: Annotated[
        int,
        _count(
            "Size of one update of a document: a pasted picture, or all that an editor has written while it was offline."
        ),
    ] = 4_194_304
    document_limit_bytes: Annotated[
        int,
        _count("Size of a document, all that was ever deleted in it among it: it is in memory while somebody has it open."),
    ] = 33_554_432
    document_idle_s: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="Seconds that a document stays in memory which nobody has open, so that a reload need not read it.",
        ),
    ] = 30.0
    message_limit_bytes: Annotated[
        int, _count("Bytes of UTF-8 in one message: long enough for a pasted log, short enough to send to a thousand.")
    ] = 65536
    room_name_limit_chars: Annotated[int, _count("Characters in a room's name.")] = 128
    user_name_limit_chars: Annotated[int, _count("Characters in a user's name.")] = 64
    rooms_per_connection_limit: Annotated[
        int, _count("Rooms that one connection can be in, so that nobody fills the memory with rooms.")
    ] = 128
    typing_expiry_s: Annotated[
        float,
        _seconds("A typing indicator ends by itself after this long without renewal: a closed laptop never says so."),
    ] = 5.0
    presence_grace_s: Annotated[
        float,
        Meta(
            ge=0,
            le=_LONGEST_S,
            description="Seconds. A user stays in the room for this long after the last tab: most come back, reloaded.",
        ),
    ] = 5.0
    recovery_window_s: Annotated[
        float,
        Meta(
            ge=0,
            le=_LONGEST_S,
            description="Seconds. A client that drops can come back as who it was for this long, and gets what it missed; "
            "time for a tunnel or a restart. 0 turns recovery off.",
        ),
    ] = 120.0
    recovery_limit_bytes: Annotated[
        int,
        _count(
            "Bytes that the clients which may come back hold in memory, 1.1 KB each and the names of their rooms; over it "
            "those who left first may not. A quarter is for those that take more than 4 KB."
        ),
    ] = 12582912
    log_url: Annotated[
        str,
        Meta(
            description="Where messages are kept. sqlite:///messages.sqlite3 is a file in Flask's instance folder, "
            "sqlite:////var/lib/hazoom/messages.sqlite3 one elsewhere; memory:// forgets everything with the process; "
            "redis://user:password@host:6379/0 is a Redis, rediss:// one with TLS (?ssl_ca_certs=/path for its "
            "certificate), unix:///path/redis.sock one on this machine, redis+sentinel://host:26379,host:26379/mymaster/0 "
            "one that Sentinels name, redis+cluster://host:6379,host:6379 a cluster: the guide Several machines says more."
        ),
    ] = "sqlite:///messages.sqlite3"
    log_redis_timeout_s: Annotated[
        float,
        _seconds(
            "Redis is taken for gone when it does not answer for so long: messages are refused until it does. Longer "
            "than its disk may hold it up, and short enough for who waits.",
            longest_s=60,
        ),
    ] = 2.0
    log_redis_wait_replicas: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="Replicas of Redis that must have a message before its sender is told that it is kept, so that "
            "it survives a failover; with fewer of them messages are refused. 0 waits for none.",
        ),
    ] = 0
    log_fsync: Annotated[
        Literal["normal", "full"],
        Meta(
            description="What an acknowledged message survives: normal the end of the process, however it comes; "
            "full the loss of power too, and each batch waits for the disk."
        ),
    ] = "normal"
    history_room_limit_count: Annotated[int, _count("Messages that are kept per room; the oldest go first.")] = 100000
    history_room_limit_bytes: Annotated[
        int, _count("Bytes of message text, and 500 for each message, that are kept per room; the oldest go first.")
    ] = 67108864
    history_age_limit_s: Annotated[float, _seconds("Messages older than this go: 90 days.", longest_s=1e10)] = 7776000.0
    history_limit_bytes: Annotated[
        int,
        _count(
            "Bytes of messages that are held in memory over all rooms, counted as they are there, with 500 for each beside "
            "its text: with memory:// all that is kept, else the newest part."
        ),
    ] = 16777216
    ping_interval_s: Annotated[
        float, _seconds("Time between heartbeats: proxies close connections that are silent for a minute.")
    ] = 25.0
    ping_timeout_s: Annotated[float, _seconds("A client that leaves a heartbeat unanswered this long is gone.")] = 20.0
    connect_timeout_s: Annotated[
        float, _seconds("A connection that is in no namespace for this long is closed: it costs memory and does nothing.")
    ] = 10.0
    request_timeout_s: Annotated[
        float,
        _seconds(
            "A new connection has to begin a request within this time, and the request line and then the headers have to "
            "arrive within it, however slowly: a browser needs a moment, and who sends a byte now and then is none."
        ),
    ] = 10.0
    keep_alive_timeout_s: Annotated[
        float,
        _seconds(
            "A connection that was answered is kept this long for another request: longer than the minute for which load "
            "balancers keep theirs, which would use it just as it ends. With --async-mode threading none is kept."
        ),
    ] = 75.0
    shutdown_grace_s: Annotated[
        float,
        _seconds(
            "All that a stop takes: answers of the AI that run when the signal comes may go on for it, less two seconds to "
            "say goodbye. Containers are killed after 10.",
            longest_s=3600.0,
        ),
    ] = 8.0
    disk_free_limit_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=_LARGEST,
            description="Bytes that are to be free where the file of messages is. With less /ready says 503, while there "
            "is time to act; 0 turns it off.",
        ),
    ] = 67108864
    message_timeout_s: Annotated[
        float,
        _seconds(
            "A message or a request has to be whole within this time from its first byte: what is not, is kept in memory."
        ),
    ] = 30.0
    incoming_total_limit_bytes: Annotated[
        int,
        _count(
            "Bytes of messages and requests of all connections together that are not whole yet. Over it the connections "
            "that began first are closed, of those that hold more than 4 KB; their clients come back."
        ),
    ] = 33554432
    outbox_limit_bytes: Annotated[
        int,
        _count(
            "Unsent bytes of one connection. Over it typing, presence and statistics are dropped, then the connection is "
            "closed, so that a reader that stops costs no more; its client comes back."
        ),
    ] = 1048576
    outbox_total_limit_bytes: Annotated[
        int,
        _count("Unsent bytes of all connections together, with the same consequence for those that hold more than 16 KB."),
    ] = 268435456
    llm_url: Annotated[
        str,
        Meta(
            description=f"The chat endpoint of the Django backend; an address without a path means {CHAT_PATH} there.",
        ),
    ] = f"http://localhost:9001{CHAT_PATH}"
    llm_connect_timeout_s: Annotated[
        float, _seconds("Time to connect to the backend: it is near, so longer means that it is down.")
    ] = 5.0
    llm_first_token_timeout_s: Annotated[
        float,
        _seconds(
            "Time to the first token, from the request or from the last line that came before it, be it a comment: a model "
            "may have to be loaded first."
        ),
    ] = 60.0
    llm_idle_timeout_s: Annotated[float, _seconds("Time between two pieces of a stream, comments included.")] = 30.0
    llm_total_timeout_s: Annotated[
        float, _seconds("Time for a whole answer, streamed or not: no stream runs for ever.")
    ] = 600.0
    llm_response_limit_bytes: Annotated[
        int, _count("Bytes of one answer on the wire; a backend that never stops is cut off here.")
    ] = 8388608
    llm_streams_per_user_limit: Annotated[
        int,
        _count(
            "AI answers of one user that run at once, on all processes together: a fair share of the backend; further "
            "questions wait."
        ),
    ] = 3
    llm_streams_limit: Annotated[
        int,
        _count("AI answers of all users that run at once in one process; further questions wait.", largest=_MOST_STREAMS),
    ] = 1000
    llm_queue_per_user_limit: Annotated[
        int,
        Meta(
            ge=0,
            le=_LARGEST,
            description="Questions of one user that wait for an answer of theirs to end, on all processes together; one "
            "more is refused.",
        ),
    ] = 10
    llm_queue_limit: Annotated[
        int, Meta(ge=0, le=_LARGEST, description="Questions of all users that wait in one process; one more is refused.")
    ] = 1000
    llm_user_grace_s: Annotated[
        float,
        Meta(
            ge=0,
            le=_LONGEST_S,
            description="Seconds. The private answers of a user who is gone for this long, and cannot recover any more, "
            "are stopped; until then a reload finds them. What a room shares goes on whoever stays.",
        ),
    ] = 30.0
    llm_resume_window_s: Annotated[
        float, _seconds("An answer that has ended can be resumed for this long, by llm_resume or by a client that dropped.")
    ] = 300.0
    llm_resume_limit_bytes: Annotated[
        int,
        _count(
            "Bytes in memory of all answers that have ended and can be resumed, 9 a token included; the oldest go first."
        ),
    ] = 12582912
    llm_circuit_failures_count: Annotated[
        int,
        _count("Attempts in a row that cannot reach the backend, after which questions are refused at once for a while."),
    ] = 5
    llm_circuit_pause_s: Annotated[
        float, _seconds("How long questions are refused after that, before one may try whether the backend is back.")
    ] = 10.0
    assistant_name: Annotated[
        str, Meta(min_length=1, description="Name under which an AI answer that a room shares is kept in its history.")
    ] = "Assistant"

    def __repr__(self) -> str:
        """Show every setting, but of a secret only whether there is one."""
        shown = {field: getattr(self, field) for field in self.__struct_fields__}
        shown |= {field: "***" for field in SECRET if shown[field]}
        return f"{type(self).__name__}({', '.join(f'{field}={value!r}' for field, value in shown.items())})"


FIELDS = {field.name: field for field in msgspec.structs.fields(Settings)}
