import tomllib
from pathlib import Path

import msgspec
import pytest

from hazoom_ws import create_app
from hazoom_ws.settings import CHAT_PATH, Settings, SettingsError
from hazoom_ws.settings.checks import checked
from hazoom_ws.settings.sources import load_settings

EXAMPLE = Path(__file__).parents[3] / "config" / "hazoom.toml"


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
        ({"HAZOOM_TYPING_EXPIRY_S": "nan"}, ["HAZOOM_TYPING_EXPIRY_S", "nan"]),
        ({"HAZOOM_LLM_IDLE_TIMEOUT_S": "inf"}, ["HAZOOM_LLM_IDLE_TIMEOUT_S", "2000000"]),
        ({"HAZOOM_HISTORY_ROOM_LIMIT_BYTES": "1" + "0" * 18}, ["HAZOOM_HISTORY_ROOM_LIMIT_BYTES", str(2**53)]),
        ({"HAZOOM_LLM_STREAMS_LIMIT": "1000000000"}, ["HAZOOM_LLM_STREAMS_LIMIT", "65536"]),
        ({"HAZOOM_DEFAULT_ROOM": " "}, ["HAZOOM_DEFAULT_ROOM", "shows nothing", "leave it empty"]),
        ({"HAZOOM_DEFAULT_ROOM": "\u3164\u200b"}, ["HAZOOM_DEFAULT_ROOM", "shows nothing"]),
        ({"HAZOOM_DEFAULT_ROOM": "a\nb"}, ["HAZOOM_DEFAULT_ROOM", "control"]),
        ({"HAZOOM_DEFAULT_ROOM": "\udcff"}, ["HAZOOM_DEFAULT_ROOM", "UTF-8"]),
        ({"HAZOOM_DEFAULT_ROOM": "a" * 129}, ["HAZOOM_DEFAULT_ROOM", "129", "room_name_limit_chars", "128"]),
        ({"HAZOOM_ROOM_NAME_LIMIT_CHARS": "3"}, ["default_room", "7", "HAZOOM_ROOM_NAME_LIMIT_CHARS", "3"]),
        ({"HAZOOM_ASSISTANT_NAME": "\u2800 "}, ["HAZOOM_ASSISTANT_NAME", "shows nothing"]),
        ({"HAZOOM_ASSISTANT_NAME": "a\u202eb"}, ["HAZOOM_ASSISTANT_NAME", "control"]),
    ],
)
def test_what_cannot_be_used_stops_the_start_in_one_line(environment, words):
    with pytest.raises(SettingsError) as caught:
        load_settings(environment=environment)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:99999",
        "http://localhost:0",
        "http://localhost:x",
        "http://localhost:-1",
        "http://[::1",
        "http://[::1]x:80",
        "http://[fe80::zz]/",
        "http://a..b/",
        f"http://{'a' * 64}.example/",
        "http://*.example/",
        "http://.example/",
        "http://ex\u2100mple/",
        "http://xn--\u00e9/",
        "http://local host/",
        "http://evil.example\\@localhost/",
        "http://local\u00adhost\x00/",
        "http:///chat/",
        "http://:9001/chat/",
        "ftp://localhost/",
        "",
    ],
)
def test_a_backend_that_cannot_be_called_stops_the_start_and_is_not_repeated(url):
    with pytest.raises(SettingsError) as caught:
        load_settings(environment={"HAZOOM_LLM_URL": url})
    assert str(caught.value).startswith("HAZOOM_LLM_URL cannot be used: it")
    assert "\n" not in str(caught.value)
    assert not url or url not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("HTTP://Host:9001", f"http://Host:9001{CHAT_PATH}"),
        (" http://host/chat/ ", "http://host/chat/"),
        ("http://[::1]:9001", f"http://[::1]:9001{CHAT_PATH}"),
        ("https://user:secret@host/chat/?key=a%20b", "https://user:secret@host/chat/?key=a%20b"),
        ("http://m\u00fcnchen.example/chat/", "http://m\u00fcnchen.example/chat/"),
        ("http://host_name:65535/chat/", "http://host_name:65535/chat/"),
    ],
)
def test_a_backend_that_can_be_called_is_written_down_in_one_way(url, normal):
    assert load_settings(environment={"HAZOOM_LLM_URL": url}).llm_url == normal


SECRETS = {
    "HAZOOM_LLM_URL": ["ftp://u:geheim@host", "http://u:geheim@host:99999", "http://u:ge heim@host", "http://[geheim"],
    "HAZOOM_LOG_URL": [
        "redis://:geheim@host/x",
        "redis://:ge/heim@host",
        "rediss://u:geheim@",
        "redis://host/0?geheim",
        "redis://host,u:geheim@",
        "unix://u:geheim@host/redis.sock",
        "unix:///redis.sock?pass=geheim",
        "redis+sentinel://u:geheim@host:26379",
        "redis+sentinel://host:geheim/mymaster",
        "redis+sentinel://host/mymaster/geheim",
        "rediss+cluster://u:ge/heim@host",
        "redis+cluster://u:geheim@host/1",
        "rediss+cluster://u@host/0?ssl_cert_reqs=geheim",
        "postgres://u:geheim@host/db?password=geheim",
    ],
    "HAZOOM_CORS_ORIGINS": ["https://u:geheim@a.example", "https://a.example,http://u:ge/heim@b.example/geheim@x"],
    "HAZOOM_TRUSTED_PROXIES": ["http://u:geheim@proxy.example"],
    "HAZOOM_PORT": ["tcp://u:geheim@host:5000"],
    "HAZOOM_LOG_LEVEL": ["http://u:geheim@host"],
}


@pytest.mark.parametrize(("variable", "value"), [(name, value) for name, values in SECRETS.items() for value in values])
def test_no_error_repeats_a_secret(variable, value):
    with pytest.raises(SettingsError) as caught:
        load_settings(environment={variable: value})
    assert variable in str(caught.value)
    assert "heim" not in str(caught.value)


KUBERNETES = {
    "{}_SERVICE_HOST": "10.0.0.1",
    "{}_SERVICE_PORT": "5000",
    "{}_SERVICE_PORT_HTTP": "5000",
    "{}_PORT": "tcp://10.0.0.1:5000",
    "{}_PORT_5000_TCP": "tcp://10.0.0.1:5000",
    "{}_PORT_5000_TCP_PROTO": "tcp",
    "{}_PORT_5000_TCP_PORT": "5000",
    "{}_PORT_5000_TCP_ADDR": "10.0.0.1",
    "{}_PORT_53_UDP_ADDR": "10.0.0.1",
}


def of_service(name: str) -> dict[str, str]:
    return {variable.format(name): value for variable, value in KUBERNETES.items()}


@pytest.mark.parametrize("service", ["HAZOOM_WS", "HAZOOM", "HAZOOM_LLM", "HAZOOM_WS_2"])
def test_what_kubernetes_says_of_a_service_is_not_for_us(service):
    assert load_settings(environment=of_service(service)) == Settings()
    assert load_settings(environment=of_service(service) | {"HAZOOM_HOST": "::1"}) == Settings(host="::1")


def test_what_our_commands_show_a_server_is_no_setting():
    assert load_settings(environment={"HAZOOM_CLIENT_TOKEN": "geheim", "HAZOOM_PORT": "1"}) == Settings(port=1)


def test_a_port_that_we_are_told_counts_beside_a_service_of_our_name():
    assert load_settings(environment=of_service("HAZOOM") | {"HAZOOM_PORT": "8000"}).port == 8000


@pytest.mark.parametrize(
    "environment",
    [
        {"HAZOOM_WS_PORT": "8000"},
        {"HAZOOM_WS_PORT": "tcp://10.0.0.1:5000"},
        {"HAZOOM_PORT": "tcp://10.0.0.1:5000"},
        {"HAZOOM_WS_SERVICE_PORT": "5000"},
        of_service("HAZOOM_WS") | {"HAZOOM_WS_PORT": "8000"},
        of_service("HAZOOM_WS") | {"HAZOOM_PORT": "tcp://10.0.0.1:5000"},
        of_service("HAZOOM_WS") | {"HAZOOM_PROT": "8000"},
        of_service("HAZOOM_WS") | {"HAZOOM_WS_HOST": "::1"},
        of_service("HAZOOM_WS") | {"HAZOOM_WS_PORT_X_TCP": "1"},
        of_service("HAZOOM") | {"HAZOOM_LLM_PORT": "tcp://10.0.0.1:5000"},
    ],
)
def test_what_looks_like_a_service_and_is_none_stops_the_start(environment):
    with pytest.raises(SettingsError):
        load_settings(environment=environment)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"port": 70000}, ["port", "65535"]),
        ({"port": "5000"}, ["port", "int"]),
        ({"typing_expiry_s": float("inf")}, ["typing_expiry_s"]),
        ({"cors_origins": "http://a.example"}, ["cors_origins", "array"]),
        ({"cors_origins": ("https://*",)}, ["cors_origins", "star"]),
        ({"llm_url": "localhost:9001"}, ["llm_url", "http://"]),
        ({"log_url": "sqlite:///a\0b"}, ["log_url", "NUL"]),
        ({"trusted_proxies": ["proxy"]}, ["trusted_proxies", "10.0.0.0/8"]),
        ({"default_room": " "}, ["default_room", "shows nothing"]),
        ({"default_room": "abcd", "room_name_limit_chars": 3}, ["default_room", "4", "3"]),
        ({"assistant_name": ""}, ["assistant_name"]),
        ({"log_level": "loud"}, ["log_level", "debug, info"]),
    ],
)
def test_settings_of_an_application_are_checked_like_all_others(values, words):
    with pytest.raises(SettingsError) as caught:
        create_app(Settings(**{"log_url": "memory://"} | values))
    assert all(word in str(caught.value) for word in words), caught.value


def test_settings_of_an_application_are_normalised_like_all_others(make_app):
    app = make_app(
        llm_url="http://host:9001",
        cors_origins=["HTTPS://A.example:443"],
        default_room=" cafe\u0301 ",
        assistant_name=" Ada ",
    )
    settings = app.extensions["hazoom_ws"].settings
    assert settings.llm_url == f"http://host:9001{CHAT_PATH}"
    assert settings.cors_origins == ("https://a.example",)
    assert (settings.default_room, settings.assistant_name) == ("caf\u00e9", "Ada")
    assert checked(settings) == settings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot = 1", ["'prot'", "port"]),
        ('port = "5000"', ["port", "int"]),
        ("port = true", ["port", "int"]),
        ("port", ["TOML"]),
        ('cors_origins = "http://a.example"', ["cors_origins", "array"]),
        ("typing_expiry_s = inf", ["typing_expiry_s", "2000000"]),
        ('default_room = "\\u0000"', ["default_room", "shows nothing"]),
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


def test_there_is_an_example_for_each_way_to_come_in():
    secret = {"HAZOOM_JWT_SECRET": "x" * 32}
    modes = {}
    for path in EXAMPLE.parent.glob("auth-*.toml"):
        settings = load_settings(environment=secret if "jwt" in path.stem else {}, config_path=path)
        modes[path.stem.removeprefix("auth-").replace("-", "_")] = settings.auth
    assert modes == {mode: mode for mode in ("api_key", "jwt", "url")}


def test_every_default_is_valid():
    assert msgspec.convert(msgspec.to_builtins(Settings()), Settings) == Settings()


def test_several_workers_are_for_the_command_and_need_what_processes_share():
    for log_url in ("memory://", "sqlite:///messages.sqlite3"):
        with pytest.raises(SettingsError, match="HAZOOM_WORKERS is 2, and several processes need a Redis"):
            load_settings(environment={"HAZOOM_WORKERS": "2", "HAZOOM_LOG_URL": log_url})
    for count in ("0", "65"):
        with pytest.raises(SettingsError, match=f"HAZOOM_WORKERS cannot be '{count}'"):
            load_settings(environment={"HAZOOM_WORKERS": count})
    settings = load_settings(environment={"HAZOOM_WORKERS": "2", "HAZOOM_LOG_URL": "redis://127.0.0.1:1/0"})
    with pytest.raises(SettingsError, match="only the command hazoom-ws starts so many processes"):
        create_app(settings)


def test_what_only_the_supervisor_sets_is_named_where_somebody_else_has(monkeypatch):
    monkeypatch.setenv("HAZOOM_WORKER_NUMBER", "two")
    with pytest.raises(SettingsError, match="HAZOOM_WORKER_NUMBER is set by hazoom_ws itself"):
        create_app()
