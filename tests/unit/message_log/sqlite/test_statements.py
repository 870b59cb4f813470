"""Many rows by few statements, as SQLite sees them."""

import sqlite3
from contextlib import closing

from hazoom_ws.message_log.sqlite.statements import insert_rows


def test_a_statement_inserts_a_power_of_two() -> None:
    """SQLite keeps 256 of them compiled: one for each number of rows took 20 MB."""
    statements: set[str] = set()
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE entries (first, second)")
        connection.set_trace_callback(statements.add)
        for rows_count in range(700):
            statements.clear()
            connection.execute("DELETE FROM entries")
            rows = [(number, "x") for number in range(rows_count)]
            insert_rows(connection, "INSERT INTO entries (first, second)", rows)
            counts = {statement.count("'x'") for statement in statements if "INSERT" in statement}
            assert counts <= {1, 2, 4, 8, 16, 32, 64, 128, 256}
            assert connection.execute("SELECT first, second FROM entries ORDER BY first").fetchall() == rows
