"""Types and the AsyncAPI document: their tools take them, and what the server really says is what they say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import requests

from features.broken import Broken
from features.cheer import Cheering
from features.game import Game
from features.polls import Polls
from hazoom_ws.events.refusals import ErrorReport
from hazoom_ws.namespaces.registry import Registry
from hazoom_ws.namespaces.root import OWN_FEATURES
from hazoom_ws.schema.declared import declared
from hazoom_ws.schema.documents import Documents
from hazoom_ws.settings import Settings
from servers import DEADLINE_S, ROOT, feature_server, hazoom, program

NPM = ROOT / "scripts" / "npm" / "node_modules"
OURS = Documents(Registry(OWN_FEATURES, ()), Settings())
WITH_FEATURES = Documents(Registry(OWN_FEATURES, (Polls, Game, Broken, Cheering)), Settings())
# As strict as a project can be: its own files and the types.
STRICT = {
    "strict": True,
    "noEmit": True,
    "noUncheckedIndexedAccess": True,
    "exactOptionalPropertyTypes": True,
    "skipLibCheck": False,
    "target": "es2022",
    "module": "esnext",
    "moduleResolution": "bundler",
    "lib": ["es2022", "dom"],
    "types": [],
}
PARSER = """
import parser from "@asyncapi/parser";
import { readFileSync } from "node:fs";
const { document, diagnostics } = await new parser.Parser().parse(readFileSync("asyncapi.json", "utf8"));
console.log(JSON.stringify({ operations: document?.allOperations().all().length, diagnostics }));
"""


def node(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run something of Node in a folder that has the packages of npm."""
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(NPM, target_is_directory=True)
    command = [program("TEST_NODE", "node"), *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, encoding="utf-8", timeout=4 * DEADLINE_S, check=False
    )


@pytest.mark.parametrize(("name", "documents"), [("calls.ts", OURS), ("polls.ts", WITH_FEATURES)])
def test_the_compiler_accepts_right_calls_and_rejects_wrong_ones(tmp_path: Path, name: str, documents: Documents) -> None:
    (tmp_path / "events.d.ts").write_text(documents.typescript, encoding="utf-8")
    calls = (ROOT / "tests" / "integration" / "typescript" / name).read_text(encoding="utf-8")
    (tmp_path / name).write_text(calls, encoding="utf-8")
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": STRICT, "files": [name]}), encoding="utf-8")
    done = node(tmp_path, str(NPM / "typescript" / "bin" / "tsc"), "--project", ".")
    assert done.stdout == ""
    assert done.returncode == 0


def test_the_official_parser_finds_no_fault_in_the_document(tmp_path: Path) -> None:
    (tmp_path / "asyncapi.json").write_text(WITH_FEATURES.asyncapi, encoding="utf-8")
    (tmp_path / "parse.mjs").write_text(PARSER, encoding="utf-8")
    said = json.loads(node(tmp_path, "parse.mjs").stdout)
    # Only that there is a version 3.1 of AsyncAPI.
    assert {one["code"] for one in said["diagnostics"]} <= {"asyncapi-latest-version"}, said["diagnostics"]
    assert said["operations"] == len(json.loads(WITH_FEATURES.asyncapi)["operations"])


def test_the_server_and_the_command_give_the_same_documents(async_mode: str) -> None:
    with feature_server(async_mode, API_KEYS="k" * 32) as server:
        types = requests.get(f"{server.url}/events.d.ts", timeout=DEADLINE_S)
        assert types.text == WITH_FEATURES.typescript
        assert types.headers["Content-Type"] == "text/plain; charset=utf-8"
        document = requests.get(f"{server.url}/asyncapi.json", timeout=DEADLINE_S)
        assert document.json() == json.loads(WITH_FEATURES.asyncapi)
        again = {"If-None-Match": types.headers["ETag"]}
        assert requests.get(f"{server.url}/events.d.ts", headers=again, timeout=DEADLINE_S).status_code == 304
        behind = {"X-Forwarded-For": "203.0.113.7"}
        for path in ("events.d.ts", "asyncapi.json"):
            assert requests.get(f"{server.url}/{path}", headers=behind, timeout=DEADLINE_S).status_code == 401
            behind_with_key = behind | {"X-API-Key": "k" * 32}
            assert requests.get(f"{server.url}/{path}", headers=behind_with_key, timeout=DEADLINE_S).ok


def test_the_command_writes_them() -> None:
    features = [
        "--feature",
        "features.polls:Polls",
        "--feature",
        "features.game:Game",
        "--feature",
        "features.broken:Broken",
        "--feature",
        "features.cheer:Cheering",
    ]
    for arguments, text in (([], WITH_FEATURES.typescript), (["--asyncapi"], WITH_FEATURES.asyncapi)):
        command = [sys.executable, "-m", "hazoom_ws", "types", *arguments, *features]
        done = subprocess.run(command, cwd=ROOT / "tests", capture_output=True, timeout=4 * DEADLINE_S, check=True)
        assert done.stdout.decode() == text
        assert done.stderr == b""


def test_what_the_server_says_is_what_the_types_say() -> None:
    with hazoom(demo=True) as server:
        command = [program("TEST_NODE", "node"), str(ROOT / "tests" / "integration" / "types_client.cjs"), server.url]
        env = os.environ | {"NODE_PATH": str(NPM)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=4 * DEADLINE_S, check=True, env=env)
    told, said = json.loads(done.stdout), declared(Registry(OWN_FEATURES, ()), Settings())
    assert told["received"].keys() == said.received.keys() - {"bye", "llm_queued", "llm_error"}
    for event, all_of_it in told["received"].items():
        for one in all_of_it:
            for item in one["payload"].get("items", ()):
                item["data"] = ""  # JSON or bytes: msgspec cannot read what may be either
            assert one["count"] == 1 + said.received[event].is_numbered, event
            msgspec.json.decode(json.dumps(one["payload"]), type=said.received[event].payload)
    refused = told["replies"].pop("refused")
    assert msgspec.convert(refused["error"], ErrorReport).code == "not_in_room"
    assert told["replies"].keys() == said.sent.keys()
    for event, reply in told["replies"].items():
        fields = dict(reply)
        if event == "refresh_token":  # of which there are none in open mode
            continue
        assert fields.pop("ok") is True, (event, reply)
        structs = said.sent[event].acknowledgement.structs
        assert fields.keys() <= {name for struct in structs for name in struct.__struct_fields__}, event
        for struct in structs:
            msgspec.json.decode(json.dumps(fields), type=struct)
