"""The guides say what the code says: its events, errors, settings and names, nothing less and nothing else."""

import ast
import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from msgspec import NODEFAULT, UNSET, Struct, UnsetType

import hazoom_ws
import hazoom_ws.events
from hazoom_ws import errors
from hazoom_ws.events.base import ClientPayload, ServerEvent
from hazoom_ws.events.connecting import Auth, Limits, Status
from hazoom_ws.events.llm import LlmTokens
from hazoom_ws.events.refusals import ErrorReport
from hazoom_ws.events.stats import LlmStats, StatsSample, StatsSeries
from hazoom_ws.metrics.table import rows as rows_of_metrics
from hazoom_ws.namespaces.access import AccessFeature
from hazoom_ws.namespaces.registry import Registry, marked
from hazoom_ws.namespaces.root import OWN_FEATURES
from hazoom_ws.schema.declared import declared
from hazoom_ws.schema.declared import fields_of as schema_fields
from hazoom_ws.settings import FIELDS, Settings
from hazoom_ws.settings.sources import CLIENT_PREFIX, ENVIRONMENT_PREFIX, WORKER_NUMBER

SOURCE = Path(hazoom_ws.__file__).parent
ROOT = SOURCE.parents[1]
GUIDES = SOURCE / "web" / "guides"
PAGES = [ROOT / "README.md", *sorted(GUIDES.glob("*.md"))]


def text_of(page: str) -> str:
    return (GUIDES / page).read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def section(text: str, heading: str) -> str:
    """Return what stands below a heading, up to the next one of its level or above."""
    level = heading.index(" ")
    found = re.search(rf"^{re.escape(heading)}$(.*?)(?=^#{{1,{level}}} |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, f"no section {heading!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Return the cells of the first table in a text, without its head."""
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in table[0].splitlines()[2:]] if table else []


# Links


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", without_code(page.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), target
        if page.parent == GUIDES:
            assert path.is_relative_to(SOURCE), f"{target} is not in the wheel"


def test_the_readme_links_every_guide() -> None:
    linked = set(re.findall(r"\(src/hazoom_ws/web/guides/([\w-]+\.md)\)", PAGES[0].read_text(encoding="utf-8")))
    assert linked == {page.name for page in PAGES[1:]}


# Events


def structs(root: type[Struct]) -> dict[str, type[Struct]]:
    """Return the events of the package by name: of two types with one name, the one with more fields."""
    for module in pkgutil.iter_modules(hazoom_ws.events.__path__):
        importlib.import_module(f"hazoom_ws.events.{module.name}")
    found: dict[str, type[Struct]] = {}
    open_types = [root]
    while open_types:
        for one in open_types.pop().__subclasses__():
            open_types.append(one)
            name = getattr(one, "event", None)
            if one.__module__.startswith("hazoom_ws.events.") and isinstance(name, str):
                known = found.get(name)
                if known is None or len(one.__struct_fields__) > len(known.__struct_fields__):
                    found[name] = one
    return found


CLIENT_EVENTS: dict[str, Any] = structs(ClientPayload)
SERVER_EVENTS: dict[str, Any] = {**structs(ServerEvent), "status": Status, "error": ErrorReport}
FEATURE_OF = {event.event: feature.name for feature in OWN_FEATURES for event in feature.events}
FEATURE_OF |= {mark.payload_type.event: feature.name for feature in OWN_FEATURES for _, mark in marked(feature)}
DECLARED = declared(Registry(OWN_FEATURES, ()), Settings())


def section_of(name: str, *, is_sent: bool) -> str:
    """Return what the contract says of an event that clients send, or receive: both may have the same name."""
    text = text_of("events.md")
    sent = section(text, "## Client to server")
    return section(sent if is_sent else text.replace(sent, ""), f"### `{name}`")


def wire_type(annotation: Any) -> str:
    """Return what the type of a field is called in the guide."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return wire_type(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join(wire_type(one) for one in arguments if one not in (UnsetType, NoneType))
    if origin is Literal:
        return ", ".join(f'`"{value}"`' for value in arguments)
    if origin is list:
        inner = arguments[0]
        return f"array of [`{inner.event}`](#{inner.event})" if hasattr(inner, "event") else f"array of {wire_type(inner)}"
    names = {str: "string", bool: "boolean", int: "integer", float: "number", Any: "any"}
    return names.get(annotation, "object")


def fields_of(struct: type[Struct]) -> Iterator[tuple[str, str, Any]]:
    hints = get_type_hints(struct, include_extras=True)
    shown = {"pid", "offset", *(field.name for field in schema_fields(struct, is_sent=False))}
    for field in msgspec.structs.fields(struct):
        if field.encode_name in shown:
            yield field.encode_name, wire_type(hints[field.name]), field.default


def test_the_contract_names_every_event_and_no_other() -> None:
    text = text_of("events.md")
    sent = {row[0].strip("`"): row for row in rows(section(text, "## Client to server"))}
    received = {row[0].strip("`"): row for row in rows(section(text, "## Server to client"))}
    assert sent.keys() == CLIENT_EVENTS.keys()
    assert received.keys() == SERVER_EVENTS.keys()
    for name in {**CLIENT_EVENTS, **SERVER_EVENTS}:
        assert {**sent, **received}[name][1] == FEATURE_OF.get(name, "every"), name
    assert all(
        f"`/{feature.name}`" in section(text, "## Namespaces") for feature in OWN_FEATURES if feature is not AccessFeature
    )
    headings = set(re.findall(r"^### `(\w+)`$", text, re.MULTILINE))
    assert headings == CLIENT_EVENTS.keys() | SERVER_EVENTS.keys() | {"auth"}


@pytest.mark.parametrize("name", [*CLIENT_EVENTS, "auth"])
def test_the_contract_has_the_fields_that_a_client_may_send(name: str) -> None:
    table = rows(section_of(name, is_sent=name != "auth"))
    struct = CLIENT_EVENTS.get(name, Auth)
    assert {row[0].strip("`") for row in table} == {field for field, _, _ in fields_of(struct)}
    for cells, (field, kind, default) in zip(table, sorted(fields_of(struct), key=order_in(table)), strict=True):
        assert cells[1] == kind, field
        if default is NODEFAULT:
            assert cells[2] == "required", field
        elif default in (UNSET, None):
            assert cells[2] != "required", field
        else:
            assert cells[2] == f"`{json.dumps(default)}`", field


@pytest.mark.parametrize("name", SERVER_EVENTS)
def test_the_contract_has_the_fields_that_a_client_receives(name: str) -> None:
    struct = LlmTokens if name == "llm_token" else SERVER_EVENTS[name]
    shown = [(row[0], row[1]) for row in rows(section_of(name, is_sent=False))]
    assert shown == [(f"`{field}{'?' if default is UNSET else ''}`", kind) for field, kind, default in fields_of(struct)]


def test_the_contract_has_the_fields_of_the_acknowledgements() -> None:
    table = {row[0].strip("`"): row[2] for row in rows(section(text_of("events.md"), "## Client to server"))}
    assert "[`stats`](#stats)" in table.pop("get_stats")
    for name, sent in DECLARED.sent.items():
        if name != "get_stats":
            fields = [field for struct in sent.acknowledgement.structs for field in struct.__struct_fields__]
            assert table.pop(name) == (f"`{', '.join(fields)}`" if fields else ""), name
    assert not table


def test_the_contract_has_the_numbers_about_the_ai() -> None:
    below = section(text_of("events.md"), "### `stats`").partition("\n`llm` has")[2]
    named = set(re.findall(r"`(\w+)`", below.partition("\n\n")[0])) - {"closed", "open", "half_open"}
    assert named == set(LlmStats.__struct_fields__)


def test_the_contract_has_the_numbers_of_a_sample() -> None:
    below = section(text_of("events.md"), "### `stats_tick`").partition("\nA sample names")[2]
    assert set(re.findall(r"`(\w+)`", below)) == set(StatsSample.__struct_fields__) == set(StatsSeries.__struct_fields__)


def test_the_guide_has_the_table_of_metrics() -> None:
    shown = [line for line in section(text_of("operating.md"), "## Metrics").splitlines() if line.startswith("| `")]
    assert shown == list(rows_of_metrics())


def test_the_contract_has_the_limits_that_status_tells() -> None:
    below = section(text_of("events.md"), "### `status`").partition("\n`limits` has")[2]
    assert set(re.findall(r"`(\w+)`", below)) == set(Limits.__struct_fields__)


def order_in(table: list[list[str]]) -> Any:
    names = [row[0].strip("`") for row in table]
    return lambda field: names.index(field[0])


def test_the_contract_has_the_limits_that_it_names() -> None:
    """Bounds of numbers and texts, which the types of the fields have."""
    text, settings = text_of("events.md"), Settings()
    for name, struct in CLIENT_EVENTS.items():
        table = {row[0].strip("`"): row[3] for row in rows(section_of(name, is_sent=True))}
        schema = msgspec.json.schema(struct)
        properties = schema["$defs"][struct.__name__]["properties"]
        for field, bounds in properties.items():
            for low, high, unit in (("minimum", "maximum", ""), ("minLength", "maxLength", " characters")):
                if high in bounds:
                    largest = "2^53" if bounds[high] == 2**53 else bounds[high]
                    assert f"{bounds.get(low, 0)} to {largest}{unit}" in table[field], (name, field)
    assert f"{settings.message_limit_bytes:,} bytes of UTF-8" in section(text, "### `message`")
    assert f"1 to {settings.room_name_limit_chars} characters, a user's at most {settings.user_name_limit_chars}" in text


# Errors


def refusals() -> set[type[errors.HazoomError]]:
    return {one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.HazoomError)}


def test_the_contract_has_every_error_and_no_other() -> None:
    told: dict[str, set[bool]] = {}
    for one in refusals() - {errors.HazoomError, errors.UpstreamFault, errors.Refused}:  # which has the code it is given
        told.setdefault(one.code, set()).add(one.retry)
    told["llm_failed"] = {True}  # mostly
    told["unauthorized"] = {True, False}
    shown: dict[str, set[bool]] = {}
    for code, retry, _ in rows(
        section(text_of("events.md"), "### `error`").partition("| code |")[2].join(["| code |", ""])
    ):
        shown.setdefault(code.strip("`"), set()).add(retry.startswith("yes"))
    assert shown == told


# Settings


def rows_of_settings() -> Iterator[str]:
    """Yield the rows of the table of settings, as the guide has them."""
    properties = msgspec.json.schema(Settings)["$defs"]["Settings"]["properties"]
    for name, field in FIELDS.items():
        of = properties[name]
        low = f"over {of['exclusiveMinimum']:g}" if "exclusiveMinimum" in of else f"{of.get('minimum', '')}"
        high = of.get("maximum")
        shown = "2^53" if high == 2**53 else f"{high:g}" if isinstance(high, float) else f"{high}"
        bounds = " to ".join(filter(None, (low, shown if high is not None else "")))
        bounds = ", ".join(f"`{choice}`" for choice in of["enum"]) if "enum" in of else bounds
        default = json.dumps(msgspec.to_builtins(field.default))
        variable = f"`{ENVIRONMENT_PREFIX}{name.upper()}`"
        yield f"| `{name}` | {variable} | `{default}` | {bounds} | {of['description'].replace('*', chr(92) + '*')} |"


def test_the_settings_are_those_of_the_code() -> None:
    shown = [line for line in text_of("settings.md").splitlines() if line.startswith("| `")]
    assert shown == list(rows_of_settings())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_settings_that_it_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    variables = {f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in FIELDS}
    told = {"HAZOOM_WS_SERVICE_HOST", "HAZOOM_PROT"}  # what is none
    told |= {
        WORKER_NUMBER,
        f"{CLIENT_PREFIX}TOKEN",
        f"{CLIENT_PREFIX}API_KEY",
        CLIENT_PREFIX.rstrip("_"),
    }  # of our commands
    assert set(re.findall(r"HAZOOM_[A-Z_]+[A-Z]", text)) <= variables | told
    for name in re.findall(r"`(\w+_(?:limit|timeout|window|grace|expiry|interval)_\w+?)`", text):
        assert name in FIELDS, name


# Names in the source

MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__").removesuffix("__init__"): path
    for path in SOURCE.rglob("*.py")
}


def members(node: ast.AST) -> dict[str, ast.AST]:
    """Return what a module or a class has, by name: also what it gives itself when it is made, and its slots."""
    found: dict[str, ast.AST] = {}
    for one in ast.iter_child_nodes(node):
        if isinstance(one, ast.ClassDef | ast.FunctionDef):
            found[one.name] = one
        elif isinstance(one, ast.Assign):
            found |= {target.id: one for target in one.targets if isinstance(target, ast.Name)}
        elif isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            found[one.target.id] = one
    if isinstance(node, ast.ClassDef):
        for one in ast.walk(node):
            if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store) and isinstance(one.value, ast.Name):
                found.setdefault(one.attr, one)
    return found


def test_every_name_in_the_tour_exists() -> None:
    said = {*CLIENT_EVENTS, *SERVER_EVENTS}
    said |= {field for one in (*CLIENT_EVENTS.values(), *SERVER_EVENTS.values(), Auth) for field, _, _ in fields_of(one)}
    for quoted in re.findall(r"`([^`]+)`", without_code(text_of("architecture.md"))):
        if quoted.endswith(".py"):
            assert (ROOT / quoted).is_file() or any(path.name.endswith(quoted) for path in MODULES.values()), quoted
        elif ":" in quoted:
            module, _, names = quoted.partition(":")
            assert module in MODULES, quoted
            node: ast.AST = ast.parse(MODULES[module].read_text(encoding="utf-8"))
            for name in names.split("."):
                assert name in members(node), quoted
                node = members(node)[name]
        else:
            assert quoted in MODULES or quoted in said, quoted


def test_the_tour_shows_the_house_as_it_is() -> None:
    tree = re.search(r"^```\nsrc/hazoom_ws/\n(.*?)^```", text_of("architecture.md"), re.DOTALL | re.MULTILINE)
    assert tree
    shown, folders = set(), []
    for line in tree[1].splitlines():
        depth, name = (len(line) - len(line.lstrip())) // 2, line.split()[0]
        folders[depth - 1 :] = [name]
        if name.endswith(".py"):
            shown.add("".join(folders))
        assert len(line.split()) > 1, f"{name}: what it holds"
    written = {path.relative_to(SOURCE).as_posix() for path in MODULES.values()}
    assert shown == {path for path in written if not path.endswith("/__init__.py")}


def test_the_drawing_shows_classes_that_exist() -> None:
    drawing = re.search(r"```\n(.*?)```", section(text_of("architecture.md"), "## How things hold each other"), re.DOTALL)
    assert drawing
    classes = {name for path in MODULES.values() for name in members(ast.parse(path.read_text(encoding="utf-8")))}
    assert set(re.findall(r"\b[A-Z]\w+", drawing[1])) <= classes | {"None"}


# Texts of ours

# What others say: browsers, and what only stands for something.
OF_OTHERS = {
    "ERR_CONNECTION_REFUSED",
    "xhr poll error",
    "websocket error",
    "blocked by CORS policy",
    "Error during WebSocket handshake: Unexpected response code: 400",
    "transport close",
    "Connection refused",
}


def said_in_the_source() -> str:
    """Return the source as one text in which a text that is written in pieces is one, and what is filled in is a blank."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in MODULES.values())
    return re.sub(r"\s+", " ", re.sub(r"\{[^{}]*\}|%[\w.]*[a-z]", " ", re.sub(r'"\s*\n\s*f?"', "", source))).lower()


def test_the_lines_that_troubleshooting_quotes_are_those_of_the_code() -> None:
    source = said_in_the_source()
    cells = [row[0] for part in text_of("troubleshooting.md").split("\n## ") for row in rows(part)]
    quoted = {quote for cell in cells for quote in re.findall(r"`([^`]+)`", cell) if " " in quote} - OF_OTHERS
    assert len(quoted) > 15
    for quote in quoted:
        pieces = re.split(r"\.\.\.|:|'[^']*'|\"[^\"]*\"|/\S+|\b[\d.]+\w*\b|--port|[A-Z]+_[A-Z_]+|\bon\b|\(", quote)
        for piece in (piece.strip(" ;:,()") for piece in pieces):
            assert len(piece) < 12 or piece.lower() in source, (quote, piece)
