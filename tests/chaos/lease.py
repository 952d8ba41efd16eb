#!/usr/bin/env python3
"""A node that no leader hears freezes what it runs, which costs nothing meanwhile; and what is given up runs nowhere.

usage: lease.py [TEST]...
"""
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib")]
from cluster import Cluster  # noqa: E402
from machines import Machines  # noqa: E402
from tenants import Steady  # noqa: E402
from fleet import run_tests, wait_for  # noqa: E402
import books  # noqa: E402

LEASE_S = 6
AFTER_S = 2  # what a shim and its QEMU may take to stand still behind the lease

cluster = machines = None


def cut(host):
    for master in cluster.masters:
        cluster.network.cut(host, master)
        cluster.network.cut(master, host)
    return time.time()


def restore(host):
    for master in cluster.masters:
        cluster.network.restore(host, master)
        cluster.network.restore(master, host)
    return time.time()


def host_of(one):
    """(the name of the host, the node's identity) where it runs"""
    rows = cluster.ask("GET", "/v1/sandboxes", key=cluster.operator_key())
    node = next(row["nodeID"] for row in rows if row["sandboxID"] == one.name)
    return next(name for name, row in cluster.nodes().items() if row["nodeID"] == node), node


def life_of(one):
    def found():
        return next((life for life in machines.lives.values() if life.sandbox == one.name), None)
    return wait_for("the microVM of the sandbox", 10, found, 0.1)


def frozen(one, since):
    """When it came to stand still.  What shims were told last may be short of the lease by an eighth: then they go on once more."""
    life = life_of(one)

    def stands():
        return life.frozen and not life.frozen[-1][1] and time.time() - life.frozen[-1][0] > LEASE_S / 8 + 0.5
    assert not life.frozen, "it froze while its node was heard"
    wait_for("the freeze", LEASE_S + 10, stands, 0.05)
    at = life.frozen[-1][0]
    assert at <= since + LEASE_S + AFTER_S, f"ran on for {at - since:.2f} s without a leader, the lease is {LEASE_S} s"
    assert one.read(seconds=1) is None, "a frozen guest answered"
    return at


def thawed(one):
    """It goes on where it was."""
    life, n, up, at = life_of(one), one.n, one.up, one.at
    wait_for("the thaw", 30, one.look, 0.1)
    wait_for("the thaw in the shim's log", 10, lambda: life.frozen[-1][1], 0.05)
    assert one.up - up < (one.at - at), f"the guest's clock went on: {one.up - up:.1f} s of {one.at - at:.1f}"
    wait_for("it to count on", 10, lambda: one.look() and one.n > n + 2, 0.2)


def bill(one, key):
    def ended():
        rows = {row["sandboxID"]: row for row in cluster.ask("GET", "/v1/usage", key=key)["sandboxes"]}
        return rows.get(one.name) if rows.get(one.name, {}).get("endedAt") else None
    return wait_for("the bill", 60, ended, 0.2)


def slices(one):
    """(from_ms, to_ms, from_wall s, at_wall s, cause) of its life, from the first scheduler's ledger."""
    return [(row[0], row[1], row[2] / 1e9, row[3] / 1e9, row[4]) for row in books.rows(
        cluster.database(cluster.masters[0]), "SELECT from_ms, to_ms, from_wall, at_wall, cause FROM usage_event "
        f"WHERE sandbox = '{one.name}' ORDER BY seq")]


def all_have_ended(one):
    """Until each scheduler's ledger has its end."""
    wait_for("its end in every ledger", 60, lambda: all(
        books.rows(cluster.database(name), f"SELECT 1 FROM usage_event WHERE kind = {books.ENDED} AND sandbox = '{one.name}'")
        for name in cluster.masters), 0.2)


def check_books():
    """Every replica has what the nodes logged, billed by the rule, and the same."""
    names = {row["nodeID"]: name for name, row in cluster.nodes().items()}
    journals = {node: books.journal(cluster.journal(name)) for node, name in names.items()}
    paths = [cluster.database(name) for name in cluster.masters]
    wait_for("every replica to have every record", 60, lambda: books.caught_up(paths, journals), 0.2)
    for path in paths:
        books.check_ledger_is_the_logs(path, journals)
    wait_for("equal books", 20, lambda: not books.differences(paths), 0.5)


def mended(test):
    """The test, after which every host is reached again and of use, however it ended."""
    def run():
        try:
            test()
        finally:
            for host in cluster.hosts:
                restore(host)
        wait_for("the nodes", 60, lambda: all(row["state"] == "ready" for row in cluster.nodes().values()), 0.2)
    run.__name__ = test.__name__
    return run


@mended
def a_node_cut_off_freezes_is_not_billed_and_goes_on_when_it_is_back():
    key = cluster.tenant("cut")
    one = Steady(cluster, key)
    host, _ = host_of(one)
    began = cut(host)
    since = frozen(one, began)
    time.sleep(3)  # stands still for so long that no rounding hides it
    restore(host)
    thawed(one)
    cluster.ask("DELETE", f"/sandboxes/{one.name}", key=key)
    killed = time.time()
    row = bill(one, key)
    all_have_ended(one)
    assert row["cause"] == "request", row
    told = slices(one)
    stood = (told[-1][3] - told[0][2]) - told[-1][1] / 1000  # from the start to the end, less what ran
    seen = sum(until - since for since, until in life_of(one).frozen)
    least, most = one.ran(killed)
    print(f"   frozen {since - began:.1f} s after the cut; it stood still for {seen:.1f} s as seen, "
          f"{stood:.1f} s by the ledger; the guest's clock says that it ran {least:.1f} s, the ledger {told[-1][1] / 1000:.1f} s")
    assert abs(stood - seen) <= 1, told
    assert least - 1 <= told[-1][1] / 1000 <= most + 1, (told, least, most)
    check_books()


@mended
def a_sandbox_freezes_by_itself_when_its_agent_is_dead():
    key = cluster.tenant("dead")
    one = Steady(cluster, key)
    host, _ = host_of(one)
    cluster.agents[host].kill()
    frozen(one, time.time())
    cluster.agents[host].start()
    thawed(one)
    cluster.ask("DELETE", f"/sandboxes/{one.name}", key=key)
    assert bill(one, key)["cause"] == "request"


def declare_lost(node, since):
    """As an operator would: again and again, until it is accepted; the instant."""
    refused = []

    def accepted():
        status, answer = cluster.api("POST", f"/v1/nodes/{node}/lost", key=cluster.operator_key())
        if status != 200:
            refused.append((status, answer.get("code") if isinstance(answer, dict) else answer))
        return status == 200
    wait_for("the node to be declared lost", LEASE_S * 3 + 10, accepted, 0.2)
    now = time.time()
    words = list(dict.fromkeys(refused))
    print(f"   declared lost {now - since:.1f} s after the cut, refused before: {words}", flush=True)
    assert ("409" in str(words)) and now - since >= LEASE_S, "a node was given up while it might run"
    return now


@mended
def what_is_declared_lost_costs_nothing_more_and_runs_nowhere_when_its_node_is_back():
    key = cluster.tenant("lost", concurrentSandboxes=1)
    one = Steady(cluster, key)
    host, node = host_of(one)
    began = cut(host)
    since = frozen(one, began)
    status, answer = cluster.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 60}, key=key)
    assert status == 429, f"a silent node's sandbox must hold its quota: {status} {answer}"
    declare_lost(node, began)
    assert life_of(one).frozen[-1][1] is None, "it ran on"
    wait_for("the quota", 10, lambda: cluster.ask("GET", "/v1/limits", key=key)["concurrentSandboxes"]["current"] == 0, 0.1)
    status, answer = cluster.api("GET", f"/sandboxes/{one.name}", key=key)
    assert status == 404, answer
    again = Steady(cluster, key)  # on the other host
    assert host_of(again)[0] != host
    restore(host)
    wait_for("the end of what was lost", 30, lambda: life_of(one).gone_at, 0.1)
    assert life_of(one).frozen[-1][1] is None, "what was given up ran again"
    row = bill(one, key)
    assert row["cause"] == "node_lost", row
    assert row["seconds"] <= since - one.asked + 1, (row, since - one.asked)
    wait_for("the node to be of use again", 30, lambda: cluster.nodes()[host]["state"] == "ready", 0.2)
    all_have_ended(one)
    told = slices(one)
    assert told[-1][1] / 1000 <= since - one.asked + 1, (told, since - one.asked)
    print(f"   ran {since - one.answered:.1f} s until the freeze, {told[-1][1] / 1000:.1f} s by the ledger, billed {row['seconds']} s")
    cluster.ask("DELETE", f"/sandboxes/{again.name}", key=key)
    assert bill(again, key)["cause"] == "request"
    check_books()


def on_host(key, host):
    """A sandbox on that host: the other one is cordoned meanwhile."""
    others = [row["nodeID"] for name, row in cluster.nodes().items() if name != host]
    for node in others:
        cluster.ask("POST", f"/v1/nodes/{node}/cordon", key=cluster.operator_key())
    one = Steady(cluster, key)
    for node in others:
        cluster.ask("POST", f"/v1/nodes/{node}/uncordon", key=cluster.operator_key())
    assert host_of(one)[0] == host
    return one


@mended
def what_the_next_leader_never_heard_of_is_not_denied():
    key, leader = cluster.tenant("unheard"), cluster.leader()
    before = Steady(cluster, key)
    cluster.ask("DELETE", f"/sandboxes/{before.name}", key=key)
    bill(before, key)
    all_have_ended(before)
    for master in cluster.masters:
        if master != leader:
            cluster.network.cut("h1", master)
            cluster.network.cut(master, "h1")
    one = on_host(key, "h1")
    cluster.schedulers[leader].kill()
    try:
        wait_for("the next leader to admit without that node", LEASE_S * 3 + 10, lambda: cluster.leader() not in (None, leader), 0.1)
        for method in ("GET", "DELETE"):
            status, answer = cluster.api(method, f"/sandboxes/{one.name}", key=key)
            assert status == 503, f"{method} of what runs on a node that no leader heard yet: {status} {answer}"
            assert cluster.api(method, f"/sandboxes/{before.name}", key=key)[0] == 404, "what has ended is known to have"
    finally:
        restore("h1")
        cluster.schedulers[leader].start()
    thawed(one)
    cluster.ask("DELETE", f"/sandboxes/{one.name}", key=key)
    row = bill(one, key)
    assert row["cause"] == "request", row
    assert cluster.api("GET", f"/sandboxes/{one.name}", key=key)[0] == 404
    check_books()


if __name__ == "__main__":
    with Cluster(faulty=False, scheduler_options=["--lease", f"{LEASE_S}s"],
                 agent_options=["--capacity-vcpus", "256", "--capacity-mem", "256GiB", "--meter-tick", "1s"]) as cluster:
        machines = Machines(cluster, pause=0.1)
        machines.start()
        try:
            run_tests([a_node_cut_off_freezes_is_not_billed_and_goes_on_when_it_is_back,
                       a_sandbox_freezes_by_itself_when_its_agent_is_dead,
                       what_is_declared_lost_costs_nothing_more_and_runs_nowhere_when_its_node_is_back,
                       what_the_next_leader_never_heard_of_is_not_denied])
        finally:
            machines.stopping.set()
            machines.join(10)
