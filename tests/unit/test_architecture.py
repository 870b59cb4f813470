"""The rules of the house (web/guides/architecture.md): who may import whom, and what may not exist."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hazoom_ws

SOURCE = Path(hazoom_ws.__file__).parent
MODULES = {
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCE.rglob("*.py")
}
PACKAGE = "hazoom_ws"

# What each room may import of the others; app, cli, __init__ and __main__ see what they like. A room that is within another
# one is a room of its own. Within a room modules import each other as they like, but never in a circle. ``features`` is
# what applications import, and nobody else.
BASE = {"errors", "names", "settings", "deadlines", "histograms", "log_fields", "states", "trace_context", "version"}
STANDING_ON_CHAT = BASE | {"events", "message_log", "chat"}
ALLOWED = {
    "errors": set(),
    "names": set(),
    "deadlines": set(),
    "histograms": set(),
    "log_fields": set(),
    "states": set(),
    "trace_context": set(),
    "version": set(),
    "settings": {"names", "access"},  # of access only what an origin is: see EXACT
    "events": BASE,
    "message_log": BASE
    | {"events", "message_log.sqlite", "message_log.redis"},  # of the stores only who opens them: see EXACT
    "message_log.sqlite": BASE | {"events", "message_log"},
    "message_log.redis": BASE | {"events", "message_log"},
    "chat": BASE | {"events", "message_log"},
    "access": BASE | {"chat", "events"},
    "llm_bridge": STANDING_ON_CHAT,
    "live": STANDING_ON_CHAT,
    "delivery": STANDING_ON_CHAT | {"transport.socketio"},
    "cluster": STANDING_ON_CHAT | {"access", "live", "llm_bridge", "metrics"},
    "features": BASE | {"events", "chat", "namespaces"},
    "metrics": STANDING_ON_CHAT | {"llm_bridge", "live", "delivery", "transport.engineio", "transport.socketio"},
    "namespaces": STANDING_ON_CHAT | {"access", "delivery", "live", "llm_bridge", "metrics", "transport.socketio"},
    "schema": BASE | {"events", "namespaces"},
    "web": STANDING_ON_CHAT | {"access", "delivery", "metrics", "schema"},
    "commands": STANDING_ON_CHAT
    | {"access", "llm_bridge", "message_log.sqlite", "message_log.redis", "namespaces", "schema"},
    "transport.http": set(),
    "transport.websocket": {"transport.http"},
    "transport.bounds": {"deadlines", "log_fields"},
    "transport.engineio": {"deadlines", "histograms", "transport.bounds", "transport.http", "transport.websocket"},
    "transport.socketio": {"deadlines", "errors", "transport.bounds", "transport.engineio", "transport.websocket"},
    "transport.serving": {"deadlines", "transport.bounds", "transport.engineio", "transport.http", "transport.websocket"},
}
# The only modules of one room that may import another.
EXACT = {
    ("settings", "access"): {("settings.checks", "access.origins")},
    ("message_log", "message_log.sqlite"): {
        ("message_log.opening", "message_log.sqlite.log"),
        ("message_log.opening", "message_log.sqlite.file"),
    },
    ("message_log", "message_log.redis"): {("message_log.opening", "message_log.redis.log")},
    ("commands", "message_log.sqlite"): {("commands.checks.log", "message_log.sqlite.looking")},
    ("commands", "message_log.redis"): {("commands.checks.log", "message_log.redis.server")},
}
STARTS = {"", "app", "cli", "__main__"}


def imported(path: Path) -> set[str]:
    """Return the dotted names of what a module imports, wherever in it: in functions and for types only as well."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours(module: str) -> set[str]:
    """Return the modules of this package that one imports."""
    found = set()
    for name in imported(MODULES[module]):
        while name and name not in MODULES:
            name = name.rpartition(".")[0]  # noqa: PLW2901 - what is imported of a module
        found |= {name} - {""}
    return found - {module}


def short(module: str) -> str:
    return module.removeprefix(PACKAGE).removeprefix(".")


def room_of(module: str) -> str:
    parts = short(module).split(".")
    return next((room for count in (2, 1) if (room := ".".join(parts[:count])) in ALLOWED), parts[0])


def circles() -> Iterator[list[str]]:
    """Yield each circle of modules that is found."""
    edges = {module: sorted(ours(module)) for module in MODULES}
    done: set[str] = set()

    def walk(module: str, way: list[str]) -> Iterator[list[str]]:
        if module in way:
            yield [*way[way.index(module) :], module]
        elif module not in done:
            for other in edges[module]:
                yield from walk(other, [*way, module])
            done.add(module)

    for module in edges:
        yield from walk(module, [])


def test_no_modules_import_each_other_in_a_circle():
    assert list(circles()) == []


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module):
    room = room_of(module)
    if short(module) in STARTS:
        return
    for other in ours(module):
        target = room_of(other)
        if target == room:
            continue
        assert target in ALLOWED[room], f"{module} may not import {other}"
        exact = EXACT.get((room, target))
        assert exact is None or (short(module), short(other)) in exact, f"{module} may not import {other}"


@pytest.mark.parametrize("module", MODULES)
def test_eventlet_is_named_where_it_has_to_be(module):
    if short(module) not in STARTS and not short(module).startswith("transport.serving"):
        assert not {name for name in imported(MODULES[module]) if name.split(".")[0] == "eventlet"}


@pytest.mark.parametrize("module", [module for module in MODULES if room_of(module) in ("chat", "events", "access")])
def test_chat_knows_no_flask_no_sockets_and_no_redis(module):
    packages = {name.split(".")[0] for name in imported(MODULES[module])}
    if short(module) == "access.asking":
        packages.discard("requests")  # it asks others who somebody is
    assert not packages & {"flask", "flask_socketio", "socketio", "engineio", "redis", "eventlet", "requests", "socket"}


def test_importing_the_package_imports_nothing_else():
    code = "import sys; before = set(sys.modules); import hazoom_ws; print(*sorted(set(sys.modules) - before))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["hazoom_ws"]


@pytest.mark.parametrize("module", MODULES)
def test_no_module_makes_state_when_it_is_imported(module):
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    made = {
        ast.unparse(call.func)
        for statement in tree.body
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value
        for call in ast.walk(statement.value)
        if isinstance(call, ast.Call)
    }
    assert not made & {"SocketIO", "flask_socketio.SocketIO", "Flask", "Hub", "LlmBridge", "dict", "list", "set", "deque"}


def test_only_what_starts_and_joins_is_at_the_top():
    assert {path.stem for path in SOURCE.glob("*.py")} == STARTS - {""} | {"__init__", "features"} | (BASE - {"settings"})


def test_every_module_says_what_it_is_for():
    assert [
        module for module, path in MODULES.items() if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ] == []


def test_no_module_outgrows_its_reason():
    texts = {module: path.read_text(encoding="utf-8") for module, path in MODULES.items()}
    long = [module for module, text in texts.items() if text.count("\n") > 400]
    assert [module for module in long if "long because" not in (ast.get_docstring(ast.parse(texts[module])) or "")] == []
