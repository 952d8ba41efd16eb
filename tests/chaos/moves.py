#!/usr/bin/env python3
"""A paused sandbox is moved to and fro while leaders and agents are killed: it goes on as the one that it was, in one place.

usage: moves.py [--rounds N] [--seed S]
"""
import argparse
import http.client
import os
import random
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib")]
from cluster import Cluster  # noqa: E402
from tenants import Steady  # noqa: E402
from fleet import run_tests, wait_for  # noqa: E402

cluster = None
words = None


def node_of(name, machine=None):
    """By one scheduler, or by the first that answers; None: it does not list it."""
    status, rows = cluster.api("GET", "/v1/sandboxes", key=cluster.operator_key(), machine=machine)
    return next((row["nodeID"] for row in rows if row["sandboxID"] == name), None) if status == 200 else None


def go_on(one, machine=None):
    """The status; 0: whoever was asked died."""
    try:
        return cluster.api("POST", f"/v2/sandboxes/{one.name}/connect", {"timeout": 3600}, key=one.key, seconds=20, machine=machine)[0]
    except (OSError, ValueError, http.client.HTTPException):
        return 0


def is_paused(one):
    status, answer = cluster.api("GET", f"/sandboxes/{one.name}", key=one.key)
    return status == 200 and answer["state"] == "paused"


def saved_n():
    folders = [cluster.path(f"run-{name}", "vm") for name in cluster.hosts]
    return sum(os.path.isdir(os.path.join(folder, name, "saved")) for folder in folders for name in os.listdir(folder))


def one_round(one, chance):
    nodes = {name: row["nodeID"] for name, row in cluster.nodes().items()}
    home = wait_for("the sandbox to be listed", 20, lambda: node_of(one.name), 0.1)
    cluster.ask("POST", f"/sandboxes/{one.name}/pause", {}, key=one.key, wanted=(204, 409))
    wait_for("it to be paused", 30, lambda: is_paused(one), 0.1)
    cluster.ask("POST", f"/v1/nodes/{home}/cordon", {}, key=cluster.operator_key())
    asking = threading.Thread(target=go_on, args=(one, chance.choice(cluster.masters)), daemon=True)
    asking.start()
    time.sleep(chance.uniform(0, 0.9))
    leader = cluster.leader()
    victims = [daemon for daemon in (cluster.schedulers[leader] if leader else None, *cluster.agents.values())
               if daemon and chance.random() < 0.5]
    for victim in victims:
        victim.kill()
    time.sleep(chance.uniform(0, 0.5))
    for victim in victims:
        victim.start()
    wait_for("it to go on", 90, lambda: go_on(one) in (200, 201), 0.3)
    wait_for("the counter", 20, one.look, 0.1)
    # Who was killed may have been killed before the move began: then it went on at home.
    at = node_of(one.name)
    wait_for("all schedulers to say so", 30, lambda: all(node_of(one.name, name) == at for name in cluster.masters), 0.2)
    wait_for("no copy to be left", 30, lambda: saved_n() == 0, 0.2)
    cluster.ask("POST", f"/v1/nodes/{home}/uncordon", {}, key=cluster.operator_key())
    return at in nodes.values() and at != home, len(victims)


def it_is_the_one_that_it_was_whoever_dies():
    chance = random.Random(words.seed)
    one = Steady(cluster, cluster.tenant("moved"))
    moved = killed = 0
    for _ in range(words.rounds):
        away, victims = one_round(one, chance)
        moved, killed = moved + away, killed + victims
    print(f"# moved {moved} times in {words.rounds} rounds, {killed} daemons killed meanwhile, seed {words.seed}")
    assert moved >= words.rounds // 2, moved
    cluster.ask("DELETE", f"/sandboxes/{one.name}", key=one.key, wanted=(204, 404))
    wait_for("nothing to be left of it", 30, lambda: all(node_of(one.name, name) is None for name in cluster.masters), 0.2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    words = parser.parse_args()
    sys.argv = sys.argv[:1]
    with Cluster(faulty=False) as cluster:
        run_tests([it_is_the_one_that_it_was_whoever_dies])
