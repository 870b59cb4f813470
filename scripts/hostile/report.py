"""What is printed and written: a table, a row as it comes, and all figures as JSON."""

import json
from pathlib import Path
from typing import Any

from hostile.trial import Row

HEAD = (
    f"{'attack':20} {'item':>4} {'calm p99':>9} {'longest':>9}  {'conn':4} {'/health':9} "
    f"{'MB before/peak/after':>21} {'descriptors':>15} {'log KB':>8} {'file MB':>8} {'starved':>7}  broken"
)


def line(row: Row) -> str:
    """Return a row of the table; times in ms."""
    memory = " / ".join(f"{size / 1e6:.0f}" for size in row.memory_bytes)
    longest = f">{row.longest_s:.0f} s" if row.gave_up else f"{row.longest_s * 1000:.1f}"
    return (
        f"{row.name:20} {row.item:>4} {row.p99_s * 1000:9.1f} {longest:>9}  {'yes' if row.is_connected else 'NO':4} "
        f"{row.health:9.9} {memory:>21} {' / '.join(map(str, row.descriptors)):>15} "
        f"{row.logged_bytes / 1e3:8.1f} {row.written_bytes / 1e6:8.2f} {row.starved_s:7.2f}  {'; '.join(row.broken) or '-'}"
    )


def write_json(path: Path, about: dict[str, Any], rows: list[Row]) -> None:
    """Write all that is known, in the units of the names."""
    path.write_text(json.dumps({**about, "attacks": [row._asdict() for row in rows]}, indent=1) + "\n", encoding="utf-8")
