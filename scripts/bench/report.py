"""What was measured, as tables on stdout and as JSON. Medians of the runs; the ratio is to Node in the same runs."""

import json
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench.load import CLIENT_BOUND_SHARE, DISTURBED_SHARE

REFERENCE = "node"
FLOOR = "floor"


class Sample(NamedTuple):
    """One value of one run.

    ``case`` names it together with its unit. ``cpu_us``: what the server's processes used per unit, None where that means
    nothing. ``raw``: what the load client said, with the CPU time and the wall time of its window, and of how many
    ``processes`` the server is, if it is several. ``goal``: what hazoom_ws should reach, in words.
    """

    case: str
    value: float
    raw: dict[str, Any]
    cpu_us: float | None = None
    lower_is_better: bool = False
    goal: str = ""


class Record(NamedTuple):
    """A sample or a problem of one run of one peer."""

    scenario: str
    run: int
    peer: str
    sample: Sample | None
    problem: str = ""


def share(raw: dict[str, Any], part: str) -> float:
    """Return a part's CPU time (``client_cpu_s``, ``others_cpu_s``, ``server_cpu_s``) as a share of the window."""
    return raw.get(part, 0.0) / raw["seconds"] if raw.get("seconds") else 0.0


def print_table(title: str, records: list[Record], reference: str = REFERENCE) -> None:
    """Print one scenario: for each case a row per server, with the ratio to the ``reference``."""
    print(f"\n{title}")
    cases: dict[str, dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.sample is not None:
            cases[record.sample.case][record.peer].append(record.sample)
    for case, peers in cases.items():
        first = next(iter(peers.values()))[0]
        goal = f"; goal: {first.goal}" if first.goal else ""
        print(f"\n  {case} ({'less' if first.lower_is_better else 'more'} is better{goal})")
        columns = (
            ("median", 12),
            ("of " + reference.capitalize(), 10),
            ("lowest", 12),
            ("highest", 12),
            ("CPU us each", 13),
            ("client CPU", 12),
        )
        print("    server    " + "".join(f"{name:>{width}}" for name, width in columns))
        for peer, samples in peers.items():
            print("    " + _row(peer, samples, peers.get(reference), peers.get(FLOOR)))
    for problem in sorted({f"{record.peer}: {record.problem}" for record in records if record.problem}):
        print(f"\n  not measured: {problem}")


def write_json(path: Path, about: dict[str, Any], records: list[Record]) -> None:
    """Write every raw value."""
    rows = [record._asdict() | {"sample": record.sample and record.sample._asdict()} for record in records]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**about, "records": rows}, indent=1), encoding="utf-8")


def _row(peer: str, samples: list[Sample], reference: list[Sample] | None, floor: list[Sample] | None) -> str:
    values = [sample.value for sample in samples]
    cpu_us = [sample.cpu_us for sample in samples if sample.cpu_us is not None]
    base = median(sample.value for sample in reference) if reference else 0
    ratio = f"{median(values) / base:.2f} x" if base else "-"
    client = median(share(sample.raw, "client_cpu_s") for sample in samples)
    other = median(share(sample.raw, "others_cpu_s") for sample in samples)
    notes = ["client-bound"] if client > CLIENT_BOUND_SHARE else []
    notes += [f"others used {other:.0%} of a core"] if other > DISTURBED_SHARE else []
    if floor and cpu_us and samples is not floor:
        notes.append(f"CPU {median(cpu_us) / median(sample.cpu_us or 1 for sample in floor):.1f} x the floor")
    processes_count = samples[0].raw.get("processes", 1)
    if processes_count > 1 and reference and cpu_us and median(cpu_us):
        growth = processes_count * median(sample.cpu_us or 0 for sample in reference) / median(cpu_us)
        notes.append(f"calculated, with a core for each process: {growth:.2f} x")
    numbers = "".join(f"{_number(value):>12}" for value in (min(values), max(values)))
    cpu = f"{median(cpu_us):.1f}" if cpu_us else "-"
    client_text = f"{client:.0%}" if "seconds" in samples[0].raw else "-"
    row = f"{peer:<10}{_number(median(values)):>12}{ratio:>10}{numbers}{cpu:>13}{client_text:>12}  {', '.join(notes)}"
    return row.rstrip()


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"
