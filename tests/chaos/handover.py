#!/usr/bin/env python3
"""The leader goes: killed, asked to stop, or stopped in its tracks.  The next one takes over, and what runs does not notice.

usage: handover.py [--rounds N]     prints the times of each take-over, and what a client waits
"""
import argparse
import os
import re
import signal
import socket
import statistics
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import GATEWAY, Cluster  # noqa: E402
from tenants import Broken, Steady  # noqa: E402
from fleet import Failed, run_tests, wait_for  # noqa: E402

cluster = None
rounds = 3
figures = {}


class Stream(threading.Thread):
    """A request through the gateway whose answer never ends: the lines of a growing file, over one connection."""

    def __init__(self, one):
        super().__init__(daemon=True)
        self.one, self.lines, self.ended = one, [], None
        self.socket = socket.create_connection((cluster.network.address("gw"), GATEWAY), timeout=30)
        self.socket.sendall((f"GET / HTTP/1.1\r\nHost: x\r\nE2b-Sandbox-Id: {one.name}\r\nE2b-Sandbox-Port: 8700\r\n\r\n")
                            .encode())

    def run(self):
        data = b""
        while True:
            try:
                more = self.socket.recv(65536)
            except OSError as error:
                self.ended = repr(error)
                return
            if not more:
                self.ended = "closed"
                return
            data += more
            self.lines = [int(number) for number in re.findall(rb"n=(\d+)\n", data)]

    def check(self):
        if self.ended:
            raise Broken(f"the stream ended: {self.ended}")
        if self.lines != list(range(1, len(self.lines) + 1)):
            raise Broken(f"the stream lost or repeated something: {self.lines[-5:]}")


SERVER = """
import socket, time
server = socket.socket(); server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(('127.0.0.1', 8700)); server.listen()
peer, _ = server.accept(); peer.recv(65536)
peer.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Type: text/plain\\r\\n\\r\\n')
n = 0
while True:
    n += 1; peer.sendall(b'n=%d\\n' % n); time.sleep(0.1)
"""


def stream_from(one, key):
    import subprocess
    from fleet import BIN
    subprocess.run([os.path.join(BIN, "flotilla"), "sandbox", "exec", one.name, "--", "bash", "-c",
                    f"cat >/tmp/server.py <<'END'\n{SERVER}\nEND\nsetsid python3 /tmp/server.py </dev/null >/dev/null 2>&1 &"],
                   env={**os.environ, **cluster.env(key)}, check=True, capture_output=True, timeout=60)

    def connected():
        try:
            stream = Stream(one)
        except OSError:
            return None
        stream.start()
        end = time.monotonic() + 2
        while time.monotonic() < end and not stream.lines and not stream.ended:
            time.sleep(0.05)
        return stream if stream.lines else None
    return wait_for("the stream", 30, connected, 0.2)


def take_over_log(leader_before):
    """Milliseconds from the leader key's deletion to admitting, as the new leader logged them last."""
    found = []
    for name, daemon in cluster.schedulers.items():
        if name == leader_before:
            continue
        for line in daemon.tail(400).splitlines():
            if "took over" in line:
                found += [(line, float(number)) for number in re.findall(r"ms=([0-9.]+)", line)[:1]]
    return found[-1][1] if found else None


def first_create(key, since):
    """Seconds from then until a create is granted, asking every replica that answers, as a client would."""
    while time.monotonic() < since + 30:
        for name in cluster.masters:
            try:
                status, answer = cluster.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 60}, key=key,
                                             seconds=10, machine=name)
            except OSError:
                continue
            if status == 201:
                waited = time.monotonic() - since
                cluster.api("DELETE", f"/sandboxes/{answer['sandboxID']}", key=key)
                return waited
        time.sleep(0.005)
    raise Failed("nobody admits")


def rounds_of(kind, leave, come_back):
    key = wait_for("a tenant", 30, lambda: cluster.tenant(kind))
    one = Steady(cluster, key)
    stream = stream_from(one, key)
    for _ in range(rounds):
        name = wait_for("a leader", 30, cluster.leader)
        cluster.wait_warm(2)
        since = time.monotonic()
        leave(cluster.schedulers[name])
        figures.setdefault(f"{kind}, to the first create", []).append(first_create(key, since) * 1000)
        logged = take_over_log(name)
        if logged is not None:
            figures.setdefault(f"{kind}, from the key's deletion to admitting", []).append(logged)
        come_back(cluster.schedulers[name])
        stream.check()
        assert one.look()
    stream.check()
    lines = len(stream.lines)
    wait_for("the stream to go on", 10, lambda: len(stream.lines) > lines)
    stream.check()
    assert cluster.api("DELETE", f"/sandboxes/{one.name}", key=key)[0] == 204


def start_again(daemon):
    daemon.start()


def a_killed_leader_is_followed_by_another_and_streams_go_on():
    rounds_of("killed", lambda daemon: daemon.kill(), start_again)


def a_leader_that_is_told_to_stop_hands_over():
    def leave(daemon):
        daemon.process.send_signal(signal.SIGTERM)

    def come_back(daemon):
        daemon.process.wait(20)
        daemon.start()
    rounds_of("told to stop", leave, come_back)


def a_leader_stopped_in_its_tracks_is_none_when_it_wakes():
    def come_back(daemon):
        daemon.process.send_signal(signal.SIGCONT)
        time.sleep(0.5)
        assert cluster.leader() != daemon.name.removeprefix("scheduler-")
    rounds_of("stopped", lambda daemon: daemon.process.send_signal(signal.SIGSTOP), come_back)


def report():
    for name, values in figures.items():
        values = sorted(values)
        print(f"   {name}: median {statistics.median(values):.0f} ms, {values[0]:.0f} to {values[-1]:.0f}, n={len(values)}",
              flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    sys.argv = sys.argv[:1]
    with Cluster(hosts=["h1"], faulty=False,
                 agent_options=["--capacity-vcpus", "256", "--capacity-mem", "256GiB"]) as cluster:
        try:
            run_tests([a_killed_leader_is_followed_by_another_and_streams_go_on, a_leader_that_is_told_to_stop_hands_over,
                       a_leader_stopped_in_its_tracks_is_none_when_it_wakes])
        finally:
            report()
