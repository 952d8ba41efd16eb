"""What the ledger says, read from its file when the scheduler has stopped."""
import glob
import sqlite3

from fleet import Failed

BILLED = (3, 4)  # usage and ended, as in wire.def


def events(path):
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return database.execute("SELECT node, seq, kind, sandbox, incarnation, from_ms, to_ms, cause FROM usage_event "
                                "ORDER BY node, seq").fetchall()
    finally:
        database.close()


def seconds(path):
    """{sandbox: seconds of its first meter, billed or free}"""
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return dict(database.execute("SELECT sandbox, SUM(seconds + unbilled_seconds) FROM rated_line WHERE meter = "
                                     "(SELECT MIN(meter) FROM rated_line) GROUP BY sandbox").fetchall())
    finally:
        database.close()


def check_no_gap(rows):
    """Slices of an incarnation touch: no millisecond is told twice, none is left out."""
    told = {}
    for node, seq, kind, sandbox, incarnation, from_ms, to_ms, _ in rows:
        if kind not in BILLED:
            continue
        if from_ms != told.get((sandbox, incarnation), 0):
            raise Failed(f"{sandbox}: record {seq} of {node} is from {from_ms} after {told.get((sandbox, incarnation))}")
        told[sandbox, incarnation] = to_ms
    return {sandbox: to_ms for (sandbox, _), to_ms in told.items()}


def read(path):
    """{sandbox: (milliseconds told, seconds billed or free)}"""
    ran, billed = check_no_gap(events(path)), seconds(path)
    return {sandbox: (ms, billed.get(sandbox, 0)) for sandbox, ms in ran.items()}


def database(cluster):
    [found] = glob.glob(cluster.path("scheduler-*", "scheduler.db"))
    return found
