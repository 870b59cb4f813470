"""The rules of the house (README, "Architecture"): who may import whom, and what may not exist."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hazoom_ws

SOURCE = Path(hazoom_ws.__file__).parent
MODULES = {path.relative_to(SOURCE).with_suffix("").as_posix(): path for path in SOURCE.rglob("*.py")}

# What each room may import of the package, beside itself; app, cli and __main__ see what they like.
BASE = {"schemas", "names", "errors", "settings", "deadlines", "__init__"}
ALLOWED = {
    "__init__": {"app"},
    "errors": set(),
    "settings": set(),
    "names": set(),
    "deadlines": set(),
    "schemas": {"errors"},
    "validation": BASE,
    "origins": BASE,
    "settings_checks": {"names", "origins", "settings"},
    "settings_sources": {"settings", "settings_checks"},
    "addresses": set(),
    "development": set(),
    "programs": set(),
    "sse": set(),
    "demo": {"settings"},
    "message_log": BASE,
    "chat": BASE | {"message_log"},
    "circuit_breaker": set(),
    "http_chunks": set(),
    "llm_http": {"http_chunks"},
    "llm_refusal": BASE,
    "llm_wire": BASE | {"llm_refusal", "sse"},
    "llm_exchange": BASE | {"circuit_breaker", "http_chunks", "llm_http", "llm_refusal", "llm_wire"},
    "llm_bridge": BASE | {"circuit_breaker", "llm_exchange", "llm_http", "llm_wire"},
    "llm_answer": BASE | {"chat", "llm_exchange", "llm_wire"},
    "llm_places": BASE | {"chat"},
    "llm_register": BASE | {"chat", "llm_answer"},
    "answers": BASE
    | {"chat", "llm_answer", "llm_bridge", "llm_exchange", "llm_places", "llm_register", "llm_wire", "message_log"},
    "statistics": BASE | {"answers", "chat", "llm_bridge"},
    "transport": BASE,
    "namespaces": BASE | {"answers", "chat", "llm_wire", "message_log", "statistics", "transport", "validation"},
    "web": BASE | {"chat", "message_log", "statistics", "namespaces"},
}


def imported(path: Path) -> set[str]:
    """Return the dotted names of what a module imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_one_way(name):
    room = name.split("/")[0]
    if room in ("app", "cli", "__main__"):
        return
    for module in imported(MODULES[name]):
        package, _, rest = module.partition(".")
        if package == "hazoom_ws":
            target = rest.split(".")[0] if rest.split(".")[0] in {known.split("/")[0] for known in MODULES} else "__init__"
            assert target == room or target in ALLOWED[room], f"{name} may not import {module}"


@pytest.mark.parametrize("name", MODULES)
def test_eventlet_is_named_where_it_has_to_be(name):
    if name not in ("__main__", "cli") and not name.startswith("transport/"):
        assert not {module for module in imported(MODULES[name]) if module.split(".")[0] == "eventlet"}


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("chat/")])
def test_chat_knows_no_flask_no_sockets_and_no_redis(name):
    packages = {module.split(".")[0] for module in imported(MODULES[name])}
    assert not packages & {"flask", "flask_socketio", "socketio", "engineio", "redis", "eventlet", "requests", "socket"}


def test_importing_the_package_imports_nothing_else():
    code = "import sys; before = set(sys.modules); import hazoom_ws; print(*sorted(set(sys.modules) - before))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["hazoom_ws"]


@pytest.mark.parametrize("name", MODULES)
def test_no_module_makes_state_when_it_is_imported(name):
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    made = {
        ast.unparse(call.func)
        for statement in tree.body
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value
        for call in ast.walk(statement.value)
        if isinstance(call, ast.Call)
    }
    assert not made & {"SocketIO", "flask_socketio.SocketIO", "Flask", "Hub", "LlmBridge", "dict", "list", "set", "deque"}


def test_every_module_says_what_it_is_for():
    assert [
        name for name, path in MODULES.items() if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ] == []


def test_no_module_outgrows_its_reason():
    assert {name: lines for name, path in MODULES.items() if (lines := path.read_text().count("\n")) > 400} == {}
