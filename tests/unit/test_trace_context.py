"""W3C Trace Context: the cases are those of the standard's own test suite (github.com/w3c/trace-context, test/test.py)."""

import pytest

from hazoom_ws.trace_context import TraceContext, read_trace, trace_of_request

TRACE = "12345678901234567890123456789012"
SPAN = "1234567890123456"


@pytest.mark.parametrize(
    ("parent", "flags"),
    [
        (f"00-{TRACE}-{SPAN}-01", 1),
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-ff", 3),  # flags that nobody knows are not passed on
        (f" \t00-{TRACE}-{SPAN}-01\t ", 1),
        (f"cc-{TRACE}-{SPAN}-01", 1),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", 1),
        (f"fe-{TRACE}-{SPAN}-01-", 1),
    ],
)
def test_a_traceparent_is_read_and_continued_in_our_version(parent: str, flags: int) -> None:
    trace = read_trace(parent)
    assert trace == TraceContext(TRACE, SPAN, flags)
    child = trace.child()
    assert (child.trace_id, child.parent_span_id) == (TRACE, SPAN)
    assert child.span_id != SPAN
    assert child.headers() == {"traceparent": f"00-{TRACE}-{child.span_id}-{flags:02x}"}
    assert trace.child().span_id != child.span_id


@pytest.mark.parametrize(
    "parent",
    [
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-what-the-future-will-not-be-like",
        f"00-{TRACE}-{SPAN}-01-",
        f"cc-{TRACE}-{SPAN}-01.what-the-future-will-not-be-like",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}2-{SPAN}-01",
        f"00-{TRACE}-{SPAN[:-1]}-01",
        f"00-{TRACE}-{SPAN}7-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-001",
        f"00-ABCDEF{TRACE[6:]}-{SPAN}-01",
        f"00-{TRACE}-ABCDEF{SPAN[6:]}-01",
        f"0x-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0.",
        f".0-{TRACE}-{SPAN}-01",
        f"00-{TRACE[:-1]}.-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01",  # two headers, as WSGI joins them
        f"00-{TRACE}-{SPAN}-01\r\nx-injected: yes",
        f"cc-{TRACE}-{SPAN}-01-{'x' * 500}",
        f"00-{TRACE}-{SPAN}-٠١",
    ],
)
def test_a_traceparent_that_breaks_the_rules_is_dropped(parent: str) -> None:
    assert read_trace(parent, "foo=1") is None


@pytest.mark.parametrize(
    ("state", "passed_on"),
    [
        ("foo=1", "foo=1"),
        ("foo=1,bar=2", "foo=1,bar=2"),
        ("foo=1 \t , \t bar=2, \t baz=3", "foo=1,bar=2,baz=3"),
        ("foo=1,", "foo=1"),
        (" ,\t,foo=1", "foo=1"),
        ("foo=1,foo=2,bar=3", "foo=1,bar=3"),
        (f"{'z' * 256}=1", f"{'z' * 256}=1"),
        (f"{'t' * 241}@{'v' * 14}=1", f"{'t' * 241}@{'v' * 14}=1"),
        ("0t@v=1", "0t@v=1"),
        ("a-_*/z=1 = 2", ""),
        ("foo=a b!#$~", "foo=a b!#$~"),
        ("", ""),
        ("foo", ""),
        ("foo=", ""),
        ("=1", ""),
        ("foo =1", ""),
        ("FOO=1", ""),
        ("0foo=1", ""),
        ("foo.bar=1", ""),
        ("foo@=1,bar=2", ""),
        ("@foo=1,bar=2", ""),
        ("foo@@bar=1", ""),
        (f"{'z' * 257}=1", ""),
        (f"{'t' * 242}@v=1", ""),
        (f"t@{'v' * 15}=1", ""),
        (f"foo={'x' * 257}", ""),
        ("foo=ü", ""),
        ("foo=1\r\nx-injected: yes", ""),
        (",".join(f"k{number}=1" for number in range(32)), ",".join(f"k{number}=1" for number in range(32))),
        (",".join(f"k{number}=1" for number in range(33)), ""),
        (" " * 20_001, ""),
    ],
)
def test_a_tracestate_is_passed_on_as_the_standard_says(state: str, passed_on: str) -> None:
    trace = read_trace(f"00-{TRACE}-{SPAN}-01", state)
    assert trace is not None
    assert trace.state == passed_on
    assert trace.child().headers().get("tracestate", "") == passed_on


def test_of_a_long_tracestate_the_long_members_go_first_and_then_the_last_ones() -> None:
    long, short = f"long={'x' * 200}", [f"k{number:02}={'v' * 40}" for number in range(20)]
    trace = read_trace(f"00-{TRACE}-{SPAN}-01", ",".join([short[0], long, *short[1:]]))
    assert trace is not None
    assert trace.state == ",".join(short[:11])
    assert len(trace.state) <= 512 < len(",".join(short[:12]))


def test_a_request_has_the_trace_of_its_headers() -> None:
    environ = {"HTTP_TRACEPARENT": f"00-{TRACE}-{SPAN}-01", "HTTP_TRACESTATE": "foo=1"}
    assert trace_of_request(environ) == TraceContext(TRACE, SPAN, 1, "foo=1")
    assert trace_of_request({"HTTP_TRACESTATE": "foo=1"}) is None
    assert trace_of_request({"HTTP_TRACEPARENT": "nonsense", "HTTP_TRACESTATE": "foo=1"}) is None
