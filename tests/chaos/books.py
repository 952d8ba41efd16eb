"""The books: what nodes' journals say, what each scheduler's ledger says, and that it is the same."""
import os
import re
import sqlite3

from fleet import ROOT, Failed

STARTED, REFUSED, USAGE, ENDED = 1, 2, 3, 4  # as in wire.def

# Of a ledger, what cannot depend on who kept it: not when it came in, not the order between nodes.
FACTS = ("SELECT node, seq, kind, sandbox, tenant, attempt, incarnation, refusal, cause, plan, price_version, template, "
         "vcpus, mem_mib, at_wall, from_ms, to_ms, from_wall, boot_id, billable FROM usage_event ORDER BY node, seq")
LINES = ("SELECT e.node, e.seq, l.meter, l.tenant, l.sandbox, l.from_ms, l.to_ms, l.seconds, l.unbilled_seconds, l.quantity, "
         "l.amount_nano FROM rated_line AS l JOIN usage_event AS e ON e.id = l.event ORDER BY 1, 2, 3")
MONEY = "SELECT tenant, account, SUM(amount_nano) FROM money_entry GROUP BY tenant, account ORDER BY 1, 2"
RAN = ("SELECT id, tenant, node, template, state, cause, started_at, metadata, idempotency_key FROM sandbox "
       "WHERE id IN (SELECT sandbox FROM usage_event) ORDER BY id")
DECIDED = ["SELECT id, name, plan, concurrent_max, session_max_s, credit_left_nano FROM tenant ORDER BY id",
           "SELECT hex(hash), id, tenant, name FROM api_key ORDER BY hash",
           "SELECT id, name, hex(public_key), cordoned, next_seq FROM node ORDER BY id",
           "SELECT * FROM plan ORDER BY name", "SELECT * FROM price ORDER BY version, meter"]


def rows(path, sql):
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
    try:
        return database.execute(sql).fetchall()
    finally:
        database.close()


# ---- the nodes' journals ----

def unpack(data, at=0):
    """(value, position behind it) of msgpack, as far as the wire uses it."""
    head = data[at]
    sized = {0xc4: 1, 0xc5: 2, 0xc6: 4, 0xd9: 1, 0xda: 2, 0xdb: 4, 0xdc: 2, 0xdd: 4, 0xde: 2, 0xdf: 4}
    numbers = {0xcc: (1, False), 0xcd: (2, False), 0xce: (4, False), 0xcf: (8, False),
               0xd0: (1, True), 0xd1: (2, True), 0xd2: (4, True), 0xd3: (8, True)}
    if head < 0x80 or head >= 0xe0:
        return (head if head < 0x80 else head - 256), at + 1
    if head in (0xc0, 0xc2, 0xc3):
        return {0xc0: None, 0xc2: False, 0xc3: True}[head], at + 1
    if head in numbers:
        n, signed = numbers[head]
        return int.from_bytes(data[at + 1:at + 1 + n], "big", signed=signed), at + 1 + n
    if head in sized:
        begin = at + 1 + sized[head]
        n = int.from_bytes(data[at + 1:begin], "big")
    else:
        begin, n = at + 1, head & (0x1f if 0xa0 <= head < 0xc0 else 0x0f)
    if 0x80 <= head < 0x90 or head in (0xde, 0xdf):
        return _unpack_map(data, begin, n)
    if 0x90 <= head < 0xa0 or head in (0xdc, 0xdd):
        items = []
        for _ in range(n):
            item, begin = unpack(data, begin)
            items.append(item)
        return items, begin
    raw = data[begin:begin + n]
    return (raw if head in (0xc4, 0xc5, 0xc6) else raw.decode()), begin + n


def _unpack_map(data, at, n):
    found = {}
    for _ in range(n):
        key, at = unpack(data, at)
        found[key], at = unpack(data, at)
    return found, at


def tags():
    """{name: tag} of the wire's part `record`."""
    with open(os.path.join(ROOT, "proto", "wire.def")) as file:
        return {name: int(tag) for tag, name in re.findall(r"FIELD\(record, (\d+), (\w+),", file.read())}


def journal(path):
    """A node's log, as dictionaries by the names in wire.def."""
    names = tags()
    found = []
    for (body,) in rows(path, "SELECT body FROM record ORDER BY seq"):
        record = unpack(body)[0]
        found.append({name: record.get(tag, 0) for name, tag in names.items()})
    for number, record in enumerate(found, found[0]["seq"] if found else 1):
        if record["seq"] != number:
            raise Failed(f"{path}: {record['seq']} where {number} should be")
    return found


# ---- checks ----

def cause_names():
    """{number: (name, whether its last slice is free)}"""
    with open(os.path.join(ROOT, "proto", "causes.def")) as file:
        return {int(number): (name, billing == "FREE") for number, name, billing in
                re.findall(r"CAUSE\((\d+), \w+, (\w+), \w+, (\w+),", file.read())}


def whole(ms):
    return (ms + 500) // 1000


def bill_of(journals):
    """{(sandbox, incarnation): (ms, billed seconds, unbilled seconds, cause)} by the rule, from the logs alone."""
    causes, told, bills = cause_names(), {}, {}
    for record in (record for log in journals.values() for record in log):
        life = (record["sandbox"], record["incarnation"])
        if record["kind"] not in (USAGE, ENDED):
            continue
        since = told.get(life, 0)
        if record["from_ms"] != since:
            raise Failed(f"{life}: a slice from {record['from_ms']} ms after {since}")
        told[life] = record["to_ms"]
        if record["kind"] == ENDED:
            if life in bills:
                raise Failed(f"{life} ended twice")
            name, free = causes[record["cause"]]
            due, before = max(1, whole(record["to_ms"])), whole(since)
            bills[life] = (record["to_ms"], before if free else due, due - before if free else 0, name)
    return bills


def check_ledger_is_the_logs(path, journals):
    """Each record of usage is in the ledger, unchanged, and nothing else is; and it is billed by the rule."""
    names = [name for name in ("kind", "sandbox", "tenant", "attempt", "incarnation", "refusal", "cause", "from_ms", "to_ms")]
    columns = ", ".join(["node", "seq", *names])
    kept = {(row[0], row[1]): row[2:] for row in rows(path, f"SELECT {columns} FROM usage_event")}
    logged = {(node, record["seq"]): tuple(record[name] or (0 if name != "tenant" else "") for name in names)
              for node, log in journals.items() for record in log if record["kind"] in (USAGE, ENDED)}
    if kept != logged:
        other = [(key, kept.get(key), logged.get(key)) for key in {*kept, *logged} if kept.get(key) != logged.get(key)]
        raise Failed(f"{path}: {len(other)} records are not as logged, {sorted(other)[:3]}")
    bills = bill_of(journals)
    billed = {(row[0], row[1]): row[2:] for row in rows(
        path, "SELECT sandbox, incarnation, SUM(seconds), SUM(unbilled_seconds) FROM rated_line WHERE meter = "
              "(SELECT MIN(meter) FROM rated_line) GROUP BY sandbox, incarnation")}
    if billed != {life: bill[1:3] for life, bill in bills.items()}:
        other = [(life, billed.get(life), bills.get(life)) for life in {*billed, *bills}
                 if life not in bills or billed.get(life) != bills[life][1:3]]
        raise Failed(f"{path}: {len(other)} are billed otherwise than by the rule, {other[:3]}")


def differences(paths):
    """Where the replicas' books differ from the first one's; empty: nowhere."""
    found = []
    for sql in [FACTS, LINES, MONEY, RAN, *DECIDED]:
        first = rows(paths[0], sql)
        for path in paths[1:]:
            other = rows(path, sql)
            if other != first:
                only = [row for row in other if row not in first][:2], [row for row in first if row not in other][:2]
                found.append(f"{sql[:60]}: {len(first)} and {len(other)} rows, {path} has {only[0]} instead of {only[1]}")
    return found


def caught_up(paths, journals):
    """Every replica has every record of every node."""
    wanted = sorted((node, log[-1]["seq"] + 1 if log else 1) for node, log in journals.items())
    return all(rows(path, "SELECT id, next_seq FROM node ORDER BY id") == wanted for path in paths)
