#!/usr/bin/env python3
"""A real fleet under faults of every kind: nothing that was told is lost.

usage: chaos.py [--per-kind N] [--seed S] [--steady N] [--faulty-disks] [--keep]
"""
import argparse
import collections
import os
import random
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster  # noqa: E402
from faults import Chooser, start_again  # noqa: E402
from tenants import Broken, Churn, Steady  # noqa: E402
from fleet import Failed, wait_for  # noqa: E402
import books  # noqa: E402

CAP = 4


def tenant(cluster, name, **caps):
    return wait_for("a tenant", 30, lambda: cluster.tenant(name, **caps))


def newer_shims(cluster, before):
    """Shims that cannot hold one of the counted sandboxes: those may be stopped for a while."""
    return [pid for pid, line in cluster.vm_processes().items() if "flotilla-shim" in line and pid not in before]


class Watch(threading.Thread):
    """Looks at the counters all along."""

    def __init__(self, steady):
        super().__init__(daemon=True)
        self.steady, self.stopping, self.broken, self.looks, self.misses = steady, threading.Event(), [], 0, 0

    def run(self):
        while not self.stopping.is_set():
            for one in self.steady:
                try:
                    if one.look():
                        self.looks += 1
                    else:
                        self.misses += 1
                except Exception as error:
                    self.broken.append(repr(error))
            self.stopping.wait(0.5)


def attack(chooser, rng, most=3):
    """Faults overlap, but not too many; returns what was done."""
    done, running = collections.Counter(), []

    def live(fault):
        try:
            time.sleep(fault.seconds)
            fault.undo()
        except Exception:
            traceback.print_exc()
            failed.append(fault.kind)
        finally:
            chooser.done(fault)

    failed = []
    while True:
        fault = chooser.draw()
        if not fault:
            break
        try:
            fault.begin()
        except Failed as error:  # a daemon that was already down, or would not stop in time
            print(f"   {fault.kind} of {fault.target}: {error}", flush=True)
        done[fault.kind] += 1
        thread = threading.Thread(target=live, args=(fault,), daemon=True)
        thread.start()
        running.append(thread)
        running = [thread for thread in running if thread.is_alive()]
        while len(running) >= most:
            time.sleep(0.05)
            running = [thread for thread in running if thread.is_alive()]
        time.sleep(rng.uniform(0.1, 1.0))
    for thread in running:
        thread.join(60)
    if failed:
        raise Failed(f"could not be undone: {failed}")
    return done


def calm(cluster):
    for daemon in cluster.daemons():
        start_again(daemon)
    wait_for("the scheduler after the last fault", 60, cluster.leader, 0.2)


def finish(cluster, keys):
    """Ends every sandbox and waits until the ledger knows; {sandbox: row of its bill}."""
    for key in keys:
        def none_left():
            rows = cluster.api("GET", "/v2/sandboxes?limit=100", key=key)[1]
            for row in rows:
                cluster.api("DELETE", f"/sandboxes/{row['sandboxID']}", key=key)
            return not rows
        wait_for("the sandboxes' ends", 60, none_left, 0.5)
    bills = {}
    for key in keys:
        def all_billed():
            rows = cluster.api("GET", "/v1/usage", key=key)[1]["sandboxes"]
            return rows if all(row.get("endedAt") for row in rows) else None
        for row in wait_for("the bills", 60, all_billed, 0.5):
            bills[row["sandboxID"]] = row
    return bills


def check_bill(name, row, least, most):
    if not least - 1 <= row["seconds"] <= most + 1:
        raise Failed(f"{name} is billed {row['seconds']} s; it ran between {least:.1f} and {most:.1f} s")


def check_known(bills, known):
    """What was granted is billed; what ran beside it was given up by the platform, says so, and ends for free."""
    beside = {name: row for name, row in bills.items() if name not in known and row["cause"] != "platform"}
    if beside or known - set(bills):
        raise Failed(f"{len(beside)} sandboxes ran that no request was granted for: {list(beside.values())[:3]}; "
                     f"{len(known - set(bills))} are not billed")
    given_up = [row["seconds"] + row["unbilledSeconds"] for name, row in bills.items() if name not in known]
    print(f"   attempts given up after they had begun: {len(given_up)}, {sum(given_up)} s in all", flush=True)


def run(arguments):
    rng = random.Random(arguments.seed)
    print(f"seed {arguments.seed}", flush=True)
    with Cluster(faulty=arguments.faulty_disks, keep=arguments.keep,
                 agent_options=["--capacity-vcpus", "256", "--capacity-mem", "256GiB", "--meter-tick", "2s"]) as cluster:
        calm_key = tenant(cluster, "calm")
        churn_key = tenant(cluster, "churn", concurrentSandboxes=CAP)
        steady = [Steady(cluster, calm_key) for _ in range(arguments.steady)]
        before = set(cluster.vm_processes())
        watch = Watch(steady)
        churn = Churn(cluster, churn_key, threads=6)
        watch.start()
        churn.start()
        chooser = Chooser(cluster, arguments.seed, arguments.per_kind,
                          lambda: newer_shims(cluster, before))
        began = time.monotonic()
        done = attack(chooser, rng)
        print(f"   {sum(done.values())} faults in {time.monotonic() - began:.0f} s: "
              + ", ".join(f"{kind} {n}" for kind, n in sorted(done.items())), flush=True)
        calm(cluster)
        churn.stop()
        watch.stopping.set()
        watch.join(60)
        if watch.broken:
            raise Broken("; ".join(watch.broken[:5]))
        for one in steady:
            wait_for(f"{one.name} to be reached and to count on", 30, lambda: one.look() and one.n >= 1)
            n = one.n
            wait_for(f"{one.name} to count", 30, lambda: one.look() and one.n > n)
        print(f"   counters: {len(steady)} sandboxes looked at {watch.looks} times ({watch.misses} times out of reach)")
        ended = time.time()
        bills = finish(cluster, [calm_key, churn_key])
        now = time.time()
        for one in steady:
            check_bill(one.name, bills[one.name], ended - one.answered, now - one.asked)
            if bills[one.name]["seconds"] < one.n * 0.5 - 2:
                raise Failed(f"{one.name} counted {one.n * 0.5:.0f} s and is billed {bills[one.name]['seconds']}")
        granted = [request for request in churn.requests if request.name]
        for request in granted:
            check_bill(request.name, bills[request.name], request.killed - request.granted, now - request.asked)
        check_known(bills, {request.name for request in granted} | {one.name for one in steady})
        if len(granted) != len({request.name for request in granted}):
            raise Failed("two requests were granted the same sandbox")
        if churn.most_at_once() > CAP:
            raise Failed(f"{churn.most_at_once()} sandboxes at once, and the cap is {CAP}")
        print(f"   requests: {len(churn.requests)} keyed, {len(granted)} granted, "
              f"{sum(1 for request in churn.requests if request.refused)} at the cap, at most "
              f"{churn.most_at_once()} of {CAP} at once", flush=True)
        for daemon in cluster.schedulers.values():
            daemon.stop()
        ran = books.read(books.database(cluster))
        for name, row in bills.items():
            seconds = row["seconds"] + row["unbilledSeconds"]
            if abs(ran[name][0] / 1000 - seconds) > 1 or ran[name][1] != seconds:
                raise Failed(f"{name}: {ran[name]} in the ledger, {seconds} in the bill")
        print(f"   ledger: the slices of {len(ran)} sandboxes touch, and are billed or free", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--per-kind", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--steady", type=int, default=10)
    parser.add_argument("--faulty-disks", action="store_true")
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    name = "nothing_that_was_told_is_lost_under_faults_of_every_kind"
    try:
        run(arguments)
    except BaseException:
        traceback.print_exc()
        print(f"not ok {name}", flush=True)
        sys.exit(1)
    print(f"ok {name}", flush=True)


if __name__ == "__main__":
    main()
