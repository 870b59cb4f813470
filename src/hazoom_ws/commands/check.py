"""``hazoom-ws check``: what is wrong with this configuration on this machine, and what to do about it.

Every check has a thread, so that one which waits for the network keeps no other waiting; what does not end in time is left
behind, and ends with the process.
"""

import argparse
import logging
import threading
import time

import msgspec

from hazoom_ws.access.redaction import redact
from hazoom_ws.commands.checks import LIMIT_S, Check, Configuration, Finding, of_error
from hazoom_ws.commands.checks.access import check_auth, check_origins, check_proxies
from hazoom_ws.commands.checks.backend import check_backend
from hazoom_ws.commands.checks.clock import check_clock
from hazoom_ws.commands.checks.log import check_log
from hazoom_ws.commands.checks.machine import check_open_files, check_port, check_program, check_several
from hazoom_ws.commands.checks.public import address_of, check_public_url, check_tls, check_websocket
from hazoom_ws.commands.options import add_server_options, settings_of
from hazoom_ws.commands.terminal import write
from hazoom_ws.names import escaped
from hazoom_ws.settings import SettingsError
from hazoom_ws.version import __version__

SUMMARY = "find what is wrong with this configuration: port, Django, file of messages, keys, TLS"
DESCRIPTION = """\
Looks at what would run with these settings, on this machine, and says of each point whether it is ok, and if not
what to do. It starts no server, changes nothing and shows no secret; it may run beside the server. Give it the
options and the HAZOOM_* environment of the server, and run it as the same user.

  hazoom-ws check
  hazoom-ws check --config /etc/hazoom/hazoom.toml --public-url https://chat.example.com

Django is asked one short question, and hung up on at the first token.

exit status:
  0  nothing is wrong; there may be warnings
  1  at least one problem
  2  the command line cannot be understood"""

CHECKS: tuple[Check, ...] = (
    check_program,
    check_several,
    check_port,
    check_open_files,
    check_clock,
    check_log,
    check_backend,
    check_auth,
    check_origins,
    check_proxies,
    check_tls,
    check_public_url,
    check_websocket,
)


class Report(msgspec.Struct, frozen=True):
    """What ``--json`` prints. ``status``: the worst level of all findings."""

    status: str
    version: str
    findings: list[Finding]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the server's options, and those of this command."""
    add_server_options(parser)
    parser.add_argument(
        "--public-url", default="", metavar="URL", help="where browsers find the server: its TLS and proxy are checked too"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")


def run(options: argparse.Namespace) -> int:
    """Check, and print what was found; return 1 if anything is wrong."""
    if options.public_url:
        try:
            address_of(options.public_url)
        except ValueError as error:
            raise SettingsError(f"--public-url: {error}") from None
    logging.basicConfig(handlers=[logging.NullHandler()])  # what the parts of the server log is said by findings
    report = check(options)
    if options.json:
        write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
    else:
        _print(report)
    return 1 if report.status == "problem" else 0


def check(options: argparse.Namespace) -> Report:
    """Return what there is to say about a configuration."""
    try:
        settings = settings_of(options)
    except SettingsError as error:
        findings = [of_error("settings", error)]
    else:
        public_url = address_of(options.public_url).origin if options.public_url else ""
        findings = _all(CHECKS, Configuration(settings, options, public_url))
    levels = {finding.level for finding in findings}
    worst = next((level for level in ("problem", "warning") if level in levels), "ok")
    return Report(worst, __version__, findings)


def _all(checks: tuple[Check, ...], configuration: Configuration) -> list[Finding]:
    """Run all checks at once; return what they found, in their order, after `LIMIT_S` at the latest."""
    found: list[list[Finding]] = [[] for _ in checks]
    threads = [
        threading.Thread(target=_run_one, args=(check, configuration, findings), daemon=True)
        for check, findings in zip(checks, found, strict=True)
    ]
    for thread in threads:
        thread.start()
    ends_at_s = time.monotonic() + LIMIT_S
    for check, thread, findings in zip(checks, threads, found, strict=True):
        thread.join(max(0.0, ends_at_s - time.monotonic()))
        if thread.is_alive():
            remedy = "look at what it has to reach: a name server, a network drive, another server"
            findings.append(Finding(_topic(check), "problem", f"this was not over within {LIMIT_S:g} s", remedy))
    return [finding for findings in found for finding in list(findings)]


def _run_one(check: Check, configuration: Configuration, findings: list[Finding]) -> None:
    try:
        findings.extend(check(configuration))
    except Exception as error:
        said = f"{type(error).__name__}: {escaped(str(error))[:200]}"
        findings.append(Finding(_topic(check), "problem", f"this could not be checked: {redact(said)}"))


def _topic(check: Check) -> str:
    return check.__name__.removeprefix("check_")


def _print(report: Report) -> None:
    for finding in report.findings:
        write(f"{finding.level:<8} {finding.topic:<10} {finding.found}\n")
        if finding.remedy:
            write(f"{'':<19} -> {finding.remedy}\n")
    counts = [(level, sum(finding.level == level for finding in report.findings)) for level in ("problem", "warning")]
    said = ", ".join(f"{count} {level}{'s' * (count != 1)}" for level, count in counts if count)
    write(f"\n{said or 'nothing is wrong'}\n")
