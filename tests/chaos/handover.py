#!/usr/bin/env python3
"""The leader goes: killed, asked to stop, or stopped in its tracks.  The next one takes over, and what runs does not notice.

usage: handover.py [--rounds N] [TEST]...     the times are printed, and are no promise: bench/handover reports them
"""
import argparse
import os
import queue
import signal
import statistics
import sys
import threading
import time
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib")]
from cluster import API, GATEWAY, Cluster  # noqa: E402
from etcd import Watch  # noqa: E402
from streams import Output, connect, serve_echo  # noqa: E402
from tenants import Broken, Steady  # noqa: E402
from fleet import Failed, request, run_tests, wait_for  # noqa: E402

OPTIONS = {"faulty": False, "agent_options": ["--capacity-vcpus", "256", "--capacity-mem", "256GiB", "--pool-floor", "4"]}

cluster = watch = None
rounds = 10
figures = {}  # {(how, from what): [milliseconds]}


class Held:
    """What a tenant has open: a counter, a command's output, a connection."""

    def __init__(self, key):
        self.key, self.one = key, Steady(cluster, key)
        serve_echo(cluster, cluster.env(key), self.one.sandbox)
        self.output = Output(cluster.env(key), self.one.sandbox)
        self.connection = connect(f"{cluster.network.address('gw')}:{GATEWAY}", self.one.sandbox)
        wait_for("output", 20, lambda: len(self.output.lines) > 5)

    def check(self):
        self.output.check_goes_on()
        self.connection.check_goes_on()
        wait_for("the counter", 10, self.one.look)

    def close(self):
        self.connection.close()
        self.output.check()
        self.output.close()
        cluster.ask("DELETE", f"/sandboxes/{self.one.name}", key=self.key)


def create(name, key, granted):
    """A client at one scheduler that wants a sandbox; its 201 goes into the queue, with the instant."""
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    while True:
        try:
            status, answer = request(f"{cluster.network.address(name)}:{API}", "POST", "/v2/sandboxes",
                                     {"templateID": "base", "timeout": 300}, key, headers.items(), 30)
        except (OSError, ValueError) as error:  # those who are asked all run, and know in time that the leader is another
            status, answer = 0, repr(error)
        now = time.monotonic()
        if status == 201:
            granted.put((now, answer["sandboxID"]))
            return
        if status not in (500, 502, 503, 504):
            granted.put((None, f"{status} {answer}"))
            return
        time.sleep(0.005)


def first_create(leader, key, leave):
    """Clients wait at the other schedulers while the leader leaves: when (it left, the key went, one was granted)."""
    granted = queue.Queue()
    others = [name for name in cluster.masters if name != leader]
    since = time.monotonic()
    leave()
    threads = [threading.Thread(target=create, args=(name, key, granted), daemon=True) for name in others]
    for thread in threads:
        thread.start()
    answers = [granted.get(timeout=120) for _ in others]
    if not all(at for at, _ in answers):
        raise Broken(f"a create was not granted: {answers}")
    at = answers[0][0]
    for _, name in answers:
        cluster.ask("DELETE", f"/sandboxes/{name}", key=key)
    return since, watch.first("delete", since)[0], at


def settled():
    """All schedulers run, know who leads, and hear the nodes."""
    leader = cluster.leader()
    texts = [cluster.readyz(name)[1] for name in cluster.masters]
    hosts = len(cluster.hosts)
    return leader if leader and all(f"leader: {leader}" in text and f"{hosts} of {hosts} nodes" in text
                                    for text in texts) else None


def rounds_of(how, leave, come_back, n):
    key = cluster.tenant(how.replace(" ", "-"), plan="enterprise")
    held, led = Held(key), []
    for _ in range(n):
        leader = wait_for("a fleet at rest", 60, settled, 0.1)
        cluster.wait_warm(4)
        daemon = cluster.schedulers[leader]
        since, gone, at = first_create(leader, key, lambda: leave(daemon))
        figures.setdefault((how, "from its leaving"), []).append((at - since) * 1000)
        figures.setdefault((how, "from the key's deletion"), []).append((at - gone) * 1000)
        led.append((leader, cluster.etcd.leader()))
        come_back(leader, daemon)
        held.check()
        status, answer = cluster.api("GET", f"/sandboxes/{held.one.name}", key=key, machine=leader)
        assert status == 200, f"{leader}, when it is back: {status} {answer}"
    assert all(before != after for before, after in led), led
    held.close()


def a_killed_leader_is_followed_by_another_and_what_runs_does_not_notice():
    rounds_of("killed", lambda daemon: daemon.kill(), lambda _, daemon: daemon.start(), rounds)


def a_leader_that_is_told_to_stop_hands_over_and_what_runs_does_not_notice():
    def come_back(_, daemon):
        if daemon.process.wait(20):
            raise Failed(f"it ended with {daemon.process.returncode}:\n{daemon.tail()}")
        daemon.start()
    rounds_of("told to stop", lambda daemon: daemon.process.send_signal(signal.SIGTERM), come_back, rounds)


def a_leader_stopped_in_its_tracks_is_none_when_it_wakes():
    def come_back(name, daemon):
        epoch = cluster.etcd.leader()
        daemon.process.send_signal(signal.SIGCONT)
        wait_for("it to stand by", 20, lambda: f"replica: {name}, standby" in cluster.readyz(name)[1], 0.01)
        assert cluster.etcd.leader() == epoch != name
    rounds_of("stopped in its tracks", lambda daemon: daemon.process.send_signal(signal.SIGSTOP), come_back, max(2, rounds // 3))


TESTS = [a_killed_leader_is_followed_by_another_and_what_runs_does_not_notice,
         a_leader_that_is_told_to_stop_hands_over_and_what_runs_does_not_notice,
         a_leader_stopped_in_its_tracks_is_none_when_it_wakes]


def spread(values):
    """n, median, the value that nine of ten keep, most"""
    values = sorted(values)
    return {"n": len(values), "p50": round(statistics.median(values), 1),
            "p90": round(values[min(len(values) - 1, -(-len(values) * 9 // 10) - 1)], 1), "max": round(values[-1], 1)}


def main(report):
    """Runs what is asked for, then tells of each figure."""
    global cluster, watch, rounds
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    arguments, names = parser.parse_known_args()
    rounds = arguments.rounds
    sys.argv = [sys.argv[0], *names]
    with Cluster(**OPTIONS) as cluster:
        watch = Watch(cluster.etcd.members["e1"].address)
        try:
            run_tests(TESTS)
        finally:
            for (how, since), values in figures.items():
                report(how, since, spread(values))


if __name__ == "__main__":
    main(lambda how, since, of: print(f"   {how}, to the first create, {since}: median {of['p50']:.0f} ms, nine of ten within "
                                      f"{of['p90']:.0f}, most {of['max']:.0f}, n={of['n']}", flush=True))
