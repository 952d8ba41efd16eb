#!/usr/bin/env python3
"""A node that cannot reach a leader freezes what it runs, and nothing runs twice: leases on real microVMs."""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster  # noqa: E402
from tenants import Steady  # noqa: E402
from fleet import run_tests, wait_for  # noqa: E402

LEASE_S = 4
LOST_S = LEASE_S * 1.1 + 2  # when the leader gives the node up

cluster = None


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


def stands_still(one, seconds=1.5):
    """A frozen guest answers nobody."""
    try:
        cluster.in_guest(one.sandbox, "GET", "/health", seconds=seconds)
    except OSError:
        return True
    return False


def bill(one, key):
    def ended():
        rows = {row["sandboxID"]: row for row in cluster.api("GET", "/v1/usage", key=key)[1]["sandboxes"]}
        return rows.get(one.name) if rows.get(one.name, {}).get("endedAt") else None
    return wait_for("the bill", 30, ended, 0.2)


def a_node_cut_off_freezes_and_thaws_when_a_leader_answers():
    key = wait_for("a tenant", 30, lambda: cluster.tenant("cut"))
    one = Steady(cluster, key)
    began = cut("h1")
    wait_for("the freeze", LEASE_S + 3, lambda: stands_still(one))
    frozen = time.time()
    assert frozen - began > LEASE_S * 0.5, "frozen before its lease ended"
    restore("h1")
    wait_for("the thaw", 15, one.look, 0.1)
    n = one.n
    wait_for("it to count on", 10, lambda: one.look() and one.n > n, 0.2)
    assert cluster.api("DELETE", f"/sandboxes/{one.name}", key=key)[0] == 204
    row = bill(one, key)
    assert row["cause"] == "request", row
    assert row["seconds"] >= one.n * 0.5 - 2, (row, one.n)
    assert row["seconds"] <= time.time() - one.asked + 1, row


def it_freezes_even_while_its_agent_is_dead():
    key = wait_for("a tenant", 30, lambda: cluster.tenant("dead"))
    one = Steady(cluster, key)
    cluster.agents["h1"].kill()
    wait_for("the freeze", LEASE_S + 3, lambda: stands_still(one))
    cluster.agents["h1"].start()
    wait_for("the thaw", 15, one.look, 0.1)
    assert cluster.api("DELETE", f"/sandboxes/{one.name}", key=key)[0] == 204
    assert bill(one, key)["cause"] == "request"


def a_node_declared_lost_runs_nothing_when_it_returns():
    key = wait_for("a tenant", 30, lambda: cluster.tenant("lost"))
    one = Steady(cluster, key)
    before = len([line for line in cluster.vm_processes().values() if "qemu" in line])
    began = cut("h1")
    row = bill(one, key)
    lost = time.time()
    assert row["cause"] == "node_lost", row
    assert lost - began >= LEASE_S, "given up while it might run"
    assert cluster.api("GET", "/v1/limits", key=key)[1]["concurrentSandboxes"]["current"] == 0
    n = one.n
    restore("h1")

    def returned():
        rows = cluster.api("GET", "/v1/nodes", key=cluster.operator_key())[1]
        return any(row["name"] == "h1" and row.get("state", "ready") == "ready" for row in rows)
    wait_for("the node's return", 20, returned, 0.2)
    wait_for("the lost sandbox's end", 20, lambda: not one.read(), 0.2)
    assert before > 0
    again = wait_for("a new sandbox there", 30, lambda: Steady(cluster, key), 0.5)
    assert again.look()
    row = bill(one, key)
    assert row["seconds"] <= (began - one.asked) + LEASE_S + 1, (row, n)  # billing stopped at the freeze
    assert cluster.api("DELETE", f"/sandboxes/{again.name}", key=key)[0] == 204


if __name__ == "__main__":
    with Cluster(masters=1, hosts=["h1"], faulty=False,
                 scheduler_options=["--node-lease", f"{LEASE_S}s"],
                 agent_options=["--capacity-vcpus", "256", "--capacity-mem", "256GiB", "--meter-tick", "1s"]) as cluster:
        run_tests([a_node_cut_off_freezes_and_thaws_when_a_leader_answers, it_freezes_even_while_its_agent_is_dead,
                   a_node_declared_lost_runs_nothing_when_it_returns])
