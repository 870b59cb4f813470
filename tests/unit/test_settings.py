import tomllib
from pathlib import Path

import msgspec
import pytest

from hazoom_ws.settings import CHAT_PATH, Settings, SettingsError, load_settings

EXAMPLE = Path(__file__).parents[2] / "config" / "hazoom.toml"


def write(folder: Path, text: str) -> Path:
    path = folder / "hazoom.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_flags_win_over_the_environment_over_the_file_over_the_defaults(tmp_path):
    config = write(tmp_path, 'port = 1\nhost = "file"\ndefault_room = "file"')
    environment = {"HAZOOM_PORT": "2", "HAZOOM_HOST": "environment", "OTHER": "x"}
    settings = load_settings(flags={"port": 3, "host": None}, environment=environment, config_path=config)
    assert (settings.port, settings.host, settings.default_room) == (3, "environment", "file")
    assert settings.log_level == "info"


def test_the_names_that_others_rely_on_are_there():
    settings = load_settings(
        environment={
            "HAZOOM_HOST": "::1",
            "HAZOOM_PORT": "0",
            "HAZOOM_CORS_ORIGINS": "http://a.example, https://b.example:8443",
            "HAZOOM_DEFAULT_ROOM": "",
            "HAZOOM_LLM_URL": "http://llm.example:9001/chat/",
            "HAZOOM_RATE_LIMIT_PER_S": "0",
        }
    )
    assert settings.cors_origins == ("http://a.example", "https://b.example:8443")
    assert (settings.host, settings.port, settings.default_room) == ("::1", 0, "")
    assert (settings.llm_url, settings.rate_limit_per_s) == ("http://llm.example:9001/chat/", 0.0)


@pytest.mark.parametrize("text", ["", " ", "[]", "[ ]", ","])
def test_an_empty_list_of_origins_is_empty(text):
    assert load_settings(environment={"HAZOOM_CORS_ORIGINS": text}).cors_origins == ()


def test_a_backend_without_a_path_gets_the_chat_path():
    for url in ("http://llm.example:9001", "http://llm.example:9001/"):
        assert load_settings(environment={"HAZOOM_LLM_URL": url}).llm_url == f"http://llm.example:9001{CHAT_PATH}"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"HAZOOM_PROT": "1"}, ["HAZOOM_PROT", "HAZOOM_PORT"]),
        ({"HAZOOM_PORT": "70000"}, ["HAZOOM_PORT", "70000", "65535"]),
        ({"HAZOOM_PORT": "x"}, ["HAZOOM_PORT", "'x'", "int"]),
        ({"HAZOOM_RATE_LIMIT_PER_S": "-1"}, ["HAZOOM_RATE_LIMIT_PER_S", "0"]),
        ({"HAZOOM_LOG_LEVEL": "loud"}, ["HAZOOM_LOG_LEVEL", "loud", "debug, info, warning, error"]),
        ({"HAZOOM_CORS_ORIGINS": "localhost:3000"}, ["HAZOOM_CORS_ORIGINS", "localhost:3000", "https://"]),
        ({"HAZOOM_CORS_ORIGINS": "http://a.example/"}, ["slash", "http://a.example"]),
        ({"HAZOOM_LLM_URL": "localhost:9001"}, ["HAZOOM_LLM_URL", "http://"]),
        ({"HAZOOM_TYPING_EXPIRY_S": "0"}, ["HAZOOM_TYPING_EXPIRY_S", "0"]),
    ],
)
def test_what_cannot_be_used_stops_the_start_in_one_line(environment, words):
    with pytest.raises(SettingsError) as caught:
        load_settings(environment=environment)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot = 1", ["'prot'", "port"]),
        ('port = "5000"', ["port", "int"]),
        ("port = true", ["port", "int"]),
        ("port", ["TOML"]),
        ('cors_origins = "http://a.example"', ["cors_origins", "array"]),
    ],
)
def test_a_file_that_cannot_be_used_stops_the_start(tmp_path, text, words):
    with pytest.raises(SettingsError) as caught:
        load_settings(environment={}, config_path=write(tmp_path, text))
    assert all(word in str(caught.value) for word in words), caught.value
    assert "hazoom.toml" in str(caught.value)


def test_a_file_that_is_not_there_stops_the_start(tmp_path):
    with pytest.raises(SettingsError, match="cannot read"):
        load_settings(environment={}, config_path=tmp_path / "none.toml")


def described() -> dict[str, str]:
    schema = msgspec.json.schema(Settings)["$defs"]["Settings"]["properties"]
    return {name: field["description"] for name, field in schema.items()}


def test_the_example_shows_every_setting_with_its_default_and_its_reason():
    text = EXAMPLE.read_text(encoding="utf-8")
    assert load_settings(environment={}, config_path=EXAMPLE) == Settings()
    assert list(tomllib.loads(text)) == list(Settings.__struct_fields__)
    comments, shown = [], {}
    for line in text.splitlines():
        if line.startswith("#"):
            comments.append(line.removeprefix("#").strip())
        else:
            if " = " in line:
                shown[line.partition(" = ")[0]] = " ".join(comments)
            comments = []
    assert shown == described()


def test_every_default_is_valid():
    assert msgspec.convert(msgspec.to_builtins(Settings()), Settings) == Settings()
