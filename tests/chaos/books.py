"""What the replicas' ledgers and the nodes' journals say, read from their files when the daemons have stopped."""
import glob
import os
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
    """{sandbox: seconds billed for its first meter}"""
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return dict(database.execute("SELECT sandbox, SUM(seconds) FROM rated_line WHERE meter = "
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


def compare(paths):
    """All replicas hold the same facts and bill the same seconds; {sandbox: (ms, seconds)}."""
    first, *others = [(path, events(path), seconds(path)) for path in paths]
    for path, rows, billed in others:
        if rows != first[1]:
            differing = set(rows) ^ set(first[1])
            raise Failed(f"{os.path.dirname(path)} and {os.path.dirname(first[0])} differ in {len(differing)} records: "
                         f"{sorted(differing)[:3]}")
        if billed != first[2]:
            raise Failed(f"{path} bills other seconds than {first[0]}")
    ran = check_no_gap(first[1])
    return {sandbox: (ms, first[2].get(sandbox, 0)) for sandbox, ms in ran.items()}


def databases(cluster):
    found = sorted(glob.glob(cluster.path("scheduler-*", "scheduler.db")))
    if len(found) != len(cluster.schedulers):
        raise Failed(f"ledgers: {found}")
    return found
