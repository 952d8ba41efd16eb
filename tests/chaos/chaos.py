#!/usr/bin/env python3
"""A real fleet under faults of every kind: nothing that was told is lost.

usage: chaos.py [--per-kind N] [--seed S] [--steady N] [--schedulers 1|3] [--lease S] [--only KIND,...] [--faulty-disks] [--keep]
"""
import argparse
import collections
import os
import random
import sys
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib")]
from attack import Attack  # noqa: E402
from cluster import Cluster  # noqa: E402
from faults import Chooser  # noqa: E402
from machines import Machines  # noqa: E402
from tenants import COUNT_S, Broken, Churn, Steady, most_at_once  # noqa: E402
from fleet import Failed, wait_for  # noqa: E402
import books  # noqa: E402

CAP, CLIENTS = 4, 6


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


def spare_shims(cluster, before):
    """Shims that cannot hold one of the counted sandboxes: those may be stopped for a while."""
    return [pid for pid, line in cluster.vm_processes().items() if "flotilla-shim" in line and pid not in before]


def finish(cluster, keys):
    """Ends every sandbox and waits until the ledger knows; {sandbox: row of its bill}."""
    for key in keys:
        def none_left():
            rows = cluster.ask("GET", "/v2/sandboxes?limit=100", key=key)
            for row in rows:
                cluster.api("DELETE", f"/sandboxes/{row['sandboxID']}", key=key)
            return not rows
        wait_for("the sandboxes' ends", 60, none_left, 0.5)
    bills = {}
    for key in keys:
        def all_billed():
            rows = cluster.ask("GET", "/v1/usage", key=key)["sandboxes"]
            return rows if all(row.get("endedAt") for row in rows) else None
        for row in wait_for("the bills", 60, all_billed, 0.5):
            bills[row["sandboxID"]] = row
    return bills


def within(what, value, least, most, slack=1.0):
    if not least - slack <= value <= most + slack:
        raise Failed(f"{what}: {value:.2f} s, and it ran between {least:.2f} and {most:.2f} s")


def check_steady(steady, bills, killed):
    """The counters were billed for what their own clock says, and ended because they were asked to."""
    for one in steady:
        row = bills[one.name]
        within(f"{one.name} is billed", row["seconds"], *one.ran(killed), slack=2)
        if row["cause"] != "request" or row["seconds"] < (one.n - 1) * COUNT_S - 1:
            raise Failed(f"{one.name} counted {one.n * COUNT_S:.0f} s: {row}")


def check_requests(requests, bills, several):
    """Each has a definite answer; what was granted ran until it was asked to end, and is billed for that."""
    granted = [request for request in requests if request.name]
    open_ones = [request.key for request in requests if not request.name and not request.refused]
    if open_ones or len(granted) != len({request.name for request in granted}):
        raise Failed(f"{len(open_ones)} without a definite answer, {len(granted)} granted")
    for request in granted:
        row = bills.get(request.name)
        if not row or row["cause"] != "request":
            raise Failed(f"{request.name} was granted, and lost: {row}")
        # With several schedulers a kill is answered when the node has said so, with one when it will happen.
        until = request.gone if several else time.time()
        within(f"{request.name}, granted after {request.granted - request.asked:.2f} s, its kills answered {request.kills}, is billed", row["seconds"], 0, until - request.asked, slack=1.5)
    most = most_at_once([(request.granted, request.killed) for request in granted])
    if most > CAP:
        raise Failed(f"{most} sandboxes at once, and the cap is {CAP}")
    print(f"   requests: {len(requests)} keyed, asked {sum(request.tries for request in requests)} times, {len(granted)} granted, "
          f"{sum(1 for request in requests if request.refused)} at the cap, at most {most} of {CAP} at once", flush=True)
    return {request.name for request in granted}


def check_beside(bills, known):
    """What ran and was granted to nobody was given up by the platform, and is not billed."""
    beside = {name: row for name, row in bills.items() if name not in known}
    wrong = [row for row in beside.values() if row["cause"] != "platform"]
    if wrong or known - set(bills):
        raise Failed(f"{len(wrong)} sandboxes ran that no request was granted for: {wrong[:3]}; "
                     f"{len(known - set(bills))} are not billed")
    causes = collections.Counter(row["cause"] for row in bills.values())
    print("   causes: " + ", ".join(f"{cause} {n}" for cause, n in sorted(causes.items()))
          + f"; beside what was granted ran {len(beside)} attempts, "
          f"{sum(row['seconds'] for row in beside.values())} s of it billed", flush=True)


def check_quota(journals, names):
    """By the nodes' own times: what was granted to the tenant with the cap."""
    began, ended = {}, {}
    for record in (record for log in journals.values() for record in log if record["sandbox"] in names):
        if record["kind"] == books.STARTED:
            if record["sandbox"] in began:
                raise Failed(f"{record['sandbox']} was started twice")
            began[record["sandbox"]] = record["at_wall_ns"]
        elif record["kind"] == books.ENDED:
            ended[record["sandbox"]] = record["at_wall_ns"]
    most = most_at_once([(began[name], ended[name]) for name in names])
    if most > CAP:
        raise Failed(f"{most} sandboxes of {CAP} by the nodes' logs")


def check_machines(machines, journals):
    """What the books say that ran is what was seen to run, to a second; each attempt once."""
    seen, bills = machines.claimed(), books.bill_of(journals)
    frozen = sum(len(life.frozen) for life in seen.values())
    for record in (record for log in journals.values() for record in log if record["kind"] == books.STARTED):
        ms = bills[record["sandbox"], record["incarnation"]][0]
        life = seen.get((record["sandbox"], record["attempt"]))
        if life:
            within(f"{record['sandbox']} is in the books with", ms / 1000, *life.ran())
        elif ms > 2000:
            raise Failed(f"{record['sandbox']} is in the books with {ms} ms, and was not seen")
    print(f"   microVMs: {len(seen)} seen with a sandbox in {machines.looks} looks, never two for one; frozen {frozen} times",
          flush=True)


def check_books(cluster, bills):
    """Each scheduler's ledger is what the nodes logged, billed by the rule, and all are the same."""
    names = {row["nodeID"]: name for name, row in cluster.nodes().items()}
    journals = {node: books.journal(cluster.journal(name)) for node, name in names.items()}
    paths = [cluster.database(name) for name in cluster.masters]
    wait_for("every replica to have every record", 60, lambda: books.caught_up(paths, journals), 0.2)
    for name in cluster.masters:
        books.check_ledger_is_the_logs(cluster.database(name), journals)
        text = cluster.readyz(name)[1]
        if "DAMAGED" in text:
            raise Failed(f"{name}: {text}")
    try:
        wait_for("equal books", 20, lambda: not books.differences(paths), 0.5)
    except Failed:
        raise Failed("the replicas' books differ: " + "; ".join(books.differences(paths))) from None
    logged = books.bill_of(journals)
    for (name, _), (_, seconds, _, cause) in logged.items():
        if name in bills and (bills[name]["seconds"], bills[name]["cause"]) != (seconds, cause):
            raise Failed(f"{name}: {seconds} s and {cause} in the log, and the bill is {bills[name]}")
    print(f"   ledgers: {len(paths)}, each with the {sum(map(len, journals.values()))} records of {len(journals)} nodes, "
          f"{sum(bill[1] for bill in logged.values())} s of {len(logged)} sandboxes billed, all equal", flush=True)
    return journals


def run(arguments):
    several = arguments.schedulers > 1
    lease = arguments.lease if arguments.lease is not None else (6 if several else 0)
    with Cluster(schedulers=arguments.schedulers, faulty=arguments.faulty_disks, keep=arguments.keep,
                 scheduler_options=["--lease", f"{lease}s"] if lease else [],
                 agent_options=["--capacity-vcpus", "256", "--capacity-mem", "256GiB", "--meter-tick", "2s"]) as cluster:
        machines = Machines(cluster)
        machines.start()
        calm_key, churn_key = cluster.tenant("calm"), cluster.tenant("churn", concurrentSandboxes=CAP)
        # The early one's is of a tenant from before there were several schedulers.
        steady = [Steady(cluster, key) for key in [calm_key] * (arguments.steady - 1) + [cluster.early_key or calm_key]]
        before = set(cluster.vm_processes())
        watch, churn = Watch(steady), Churn(cluster, churn_key, CLIENTS, arguments.seed)
        watch.start()
        churn.start()
        attack = Attack(cluster, Chooser(cluster, arguments.seed, arguments.per_kind, lambda: spare_shims(cluster, before),
                                         arguments.only.split(",") if arguments.only else ()))
        attack.run()
        attack.calm()
        wait_for("a scheduler that admits work after the last fault", 60, cluster.leader, 0.2)
        churn.stop()
        watch.stopping.set()
        watch.join(60)
        if watch.broken:
            raise Broken("; ".join(watch.broken[:5]))
        for one in steady:
            wait_for(f"{one.name} to be reached and to count on", 60, lambda: one.look() and one.n >= 1)
            n = one.n
            wait_for(f"{one.name} to count", 30, lambda: one.look() and one.n > n)
        print(f"   counters: {len(steady)} sandboxes looked at {watch.looks} times ({watch.misses} times out of reach)", flush=True)
        bills = finish(cluster, [key for key in (calm_key, churn_key, cluster.early_key) if key])
        killed = time.time()
        machines.end()
        attack.check()
        check_steady(steady, bills, killed)
        granted = check_requests(churn.requests, bills, several)
        check_beside(bills, granted | {one.name for one in steady})
        journals = check_books(cluster, bills)
        check_machines(machines, journals)
        check_quota(journals, granted)
        for daemon in cluster.schedulers.values():
            daemon.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--per-kind", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--steady", type=int, default=10)
    parser.add_argument("--schedulers", type=int, default=3)
    parser.add_argument("--lease", type=int, help="seconds; 0: none")
    parser.add_argument("--only", default="", help="these kinds of faults, not all")
    parser.add_argument("--faulty-disks", action="store_true")
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    name = "nothing_that_was_told_is_lost_under_faults_of_every_kind"
    print(f"seed {arguments.seed}", flush=True)
    random.seed(arguments.seed)
    try:
        run(arguments)
    except BaseException:
        traceback.print_exc()
        print(f"not ok {name}", flush=True)
        sys.exit(1)
    print(f"ok {name}", flush=True)


if __name__ == "__main__":
    main()
