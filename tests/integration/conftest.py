"""What the integration tests share: the ways to run the server, both ways to run Django."""

from collections.abc import Iterator

import pytest

from servers import (
    ASYNC_MODES,
    Backend,
    Hazoom,
    OfficialClient,
    django_gunicorn,
    django_runserver,
    pytest_runtest_makereport,
    wait_until,
)

__all__ = ["pytest_runtest_makereport"]

_WITHOUT_EPOLL_TOO = (
    "test_application",
    "test_calm_end",
    "test_durability",
    "test_engine_io",
    "test_headers",
    "test_hostile_clients",
    "test_hostile_http",
    "test_live",
    "test_official_client",
    "test_socket_io",
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test in every way to serve, or in all but "eventlet without epoll" where that has no code of its own."""
    if "async_mode" in metafunc.fixturenames:
        has_code_of_its_own = metafunc.module.__name__.rpartition(".")[2] in _WITHOUT_EPOLL_TOO
        modes = ASYNC_MODES if has_code_of_its_own else [mode for mode in ASYNC_MODES if mode != "eventlet without epoll"]
        metafunc.parametrize("async_mode", modes, scope="module")


@pytest.fixture(scope="session")
def _runserver() -> Iterator[Backend]:
    with django_runserver() as backend:
        yield backend


@pytest.fixture(scope="session")
def _gunicorn() -> Iterator[Backend]:
    with django_gunicorn() as backend:
        yield backend


@pytest.fixture(params=["runserver", "gunicorn"], scope="module")
def backend(request: pytest.FixtureRequest) -> Backend:
    """Return a Django chat backend, without chunked streams and with them."""
    return request.getfixturevalue(f"_{request.param}")


@pytest.fixture
def client() -> Iterator[OfficialClient]:
    with OfficialClient() as client:
        yield client


@pytest.fixture
def neighbour(server: Hazoom, client: OfficialClient) -> Iterator[None]:
    """An honest user, who must be served before and after, and the number of connections, which must come back."""
    user = client.connect(server.url, auth={"user_name": "Ann"})
    before = server.stats()["total_connections"]
    yield
    assert user.emit("message", {"message": "still here"})["ok"] is True
    wait_until(lambda: server.stats()["total_connections"] == before, "hostile connections are gone")
    assert user.received("disconnect") == []
    user.disconnect()
    wait_until(lambda: server.stats()["total_connections"] == before - 1, "the neighbour is gone")
