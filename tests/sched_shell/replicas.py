"""Several real schedulers over a real etcd, with fake nodes that speak with all of them.

    with Replicas(3, agents=2) as rig:
        key = rig.tenant("acme", "pro")
        rig.create(key, to=rig.standby())
"""
import base64
import http.client
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import threading
import time

from rig import BIN, Failed, Rig, free_port, wait_for
import memory_folder


class Etcd:
    """One member, on free ports; to be killed and started again with what it had written."""

    def __init__(self):
        self.root = memory_folder.make("flotilla-etcd-")
        self.process = None
        for _ in range(5):  # another program may take a port that was free
            self.url = f"http://127.0.0.1:{free_port()}"
            self.peer = f"http://127.0.0.1:{free_port()}"
            if self.start():
                return
            shutil.rmtree(self.root, ignore_errors=True)
        raise Failed("etcd does not start: is the package etcd-server installed?")

    def start(self):
        with open(os.path.join(self.root + ".log"), "ab") as log:
            self.process = subprocess.Popen(
                ["etcd", "--name", "m0", "--data-dir", self.root, "--listen-client-urls", self.url,
                 "--advertise-client-urls", self.url, "--listen-peer-urls", self.peer,
                 "--initial-advertise-peer-urls", self.peer, "--initial-cluster", f"m0={self.peer}",
                 "--heartbeat-interval", "50", "--election-timeout", "500"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return wait_for("etcd", 30, lambda: "ended" if self.process.poll() is not None else self.answers()) is True

    def answers(self):
        try:
            return self.get("/flotilla/none") is None
        except OSError:
            return False

    def call(self, path, body):
        connection = http.client.HTTPConnection(self.url[len("http://"):], timeout=5)
        try:
            connection.request("POST", path, body=json.dumps(body))
            answer = connection.getresponse()
            raw = answer.read()
            if answer.status != 200:
                raise OSError(f"etcd: {answer.status} {raw}")
            return json.loads(raw)
        finally:
            connection.close()

    def get(self, key):
        found = self.call("/v3/kv/range", {"key": text64(key)}).get("kvs")
        return json.loads(base64.b64decode(found[0]["value"])) if found else None

    def everything(self):
        """All keys and values, as one text."""
        found = self.call("/v3/kv/range", {"key": text64("\0"), "range_end": text64("\0")}).get("kvs", ())
        return "\n".join(base64.b64decode(kv[part]).decode() for kv in found for part in ("key", "value"))

    def deletions(self, key):
        """A list that grows by the time (time.time) of each deletion of the key, from now on."""
        seen, ready = [], threading.Event()

        def watch():
            connection = http.client.HTTPConnection(self.url[len("http://"):], timeout=120)
            try:
                connection.request("POST", "/v3/watch", body=json.dumps({"create_request": {"key": text64(key)}}))
                answer = connection.getresponse()
                while line := answer.readline():
                    ready.set()
                    for event in json.loads(line)["result"].get("events", ()):
                        if event.get("type") == "DELETE":
                            seen.append(time.time())
            except OSError:
                pass  # it was stopped
            finally:
                connection.close()
        threading.Thread(target=watch, daemon=True).start()
        if not ready.wait(10):
            raise Failed("etcd does not watch")
        return seen

    def kill(self):
        self.process.kill()
        self.process.wait(20)

    def close(self):
        if self.process:
            self.kill()
        shutil.rmtree(self.root, ignore_errors=True)
        if os.path.exists(self.root + ".log"):
            os.unlink(self.root + ".log")


def text64(text):
    return base64.b64encode(text.encode()).decode()


class Replicas(Rig):
    def __init__(self, n=3, agents=1, options=(), agent_options=()):
        super().__init__(agents, options, agent_options)
        self.n = n
        self.etcd = Etcd()

    def state(self, number):
        return self.path(f"state{number}")

    def start(self):
        self.make_fleet()
        for number in range(self.n):
            self.start_scheduler(f"r{number}", f"state{number}", [
                "--etcd", self.etcd.url, "--replica-name", f"r{number}", *self.options])
        self.scheduler = self.schedulers[0]
        wait_for("a leader", 30, self.find_leader)

    def make_fleet(self):
        """As an operator does: one scheduler becomes one of several, and the others get its secrets."""
        self.start_scheduler("alone", "state0", []).stop()
        self.schedulers.clear()
        done = subprocess.run([os.path.join(BIN, "flotilla"), "ha", "init", "--etcd", self.etcd.url,
                               "--state-dir", self.state(0)], env={"PATH": os.environ["PATH"], "HOME": self.root},
                              capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise Failed(f"flotilla ha init: {done.stderr}")
        for number in range(1, self.n):
            os.makedirs(self.state(number), mode=0o700)
            for name in ("fleet.key", "key.pepper", "bus.key", "vault.key", "operator.key"):
                shutil.copy2(os.path.join(self.state(0), name), self.state(number))

    @property
    def operator_key(self):
        with open(os.path.join(self.state(0), "operator.key")) as file:
            return file.read().strip()

    # ---- who is what ----

    def role(self, scheduler):
        """(role, leader's name) as it says itself; None: it does not answer."""
        try:
            text = self.api("GET", "/readyz?verbose", to=scheduler, seconds=5)[1]
        except OSError:
            return None
        found = re.search(r"replica: \S+, ([a-z ]+); leader: (\S+)", text)
        return found.groups() if found else None

    def find_leader(self):
        """The one that leads and admits, or None."""
        for scheduler in self.schedulers:
            if scheduler.alive() and (self.role(scheduler) or ("",))[0] == "leading":
                return scheduler
        return None

    def leader(self, seconds=30, other_than=None):
        def found():
            leader = self.find_leader()
            return leader if leader is not other_than else None
        return wait_for("a leader", seconds, found, 0.01)

    def standby(self):
        leader = self.leader()
        return next(scheduler for scheduler in self.schedulers if scheduler is not leader and scheduler.alive())

    def others(self, than):
        return [scheduler for scheduler in self.schedulers if scheduler is not than and scheduler.alive()]

    def admitted_at(self, scheduler, since):
        """time.time() at which it last began to admit, by its log; it says so a moment after it does."""
        def last():
            with open(scheduler.log) as lines:
                stamps = [json.loads(line)["ts"] for line in lines if '"msg":"admits"' in line and line.endswith("\n")]
            if not stamps:
                return None
            whole, fraction = stamps[-1].rstrip("Z").split(".")
            at = time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) - time.timezone + float("0." + fraction)
            return at if at >= since else None
        return wait_for("it to say that it admits", 30, last, 0.01)

    # ---- what each has written ----

    def rows(self, scheduler, sql):
        number = self.schedulers.index(scheduler)
        with sqlite3.connect(f"file:{self.state(number)}/scheduler.db?mode=ro", uri=True) as books:
            return books.execute(sql).fetchall()

    def everywhere(self, what, sql, expected, seconds=20):
        """Until every replica that runs has these rows."""
        for scheduler in [scheduler for scheduler in self.schedulers if scheduler.alive()]:
            try:
                wait_for(what, seconds, lambda s=scheduler: self.rows(s, sql) == expected)
            except Failed as failed:
                raise Failed(f"{failed}: {scheduler.name} has {self.rows(scheduler, sql)}, not {expected}") from None

    # ---- clients ----

    def ask(self, key, method, path, body=None, headers=(), seconds=30, at=None):
        """A definite answer of any replica, as a client asks on that knows them all."""
        end = time.monotonic() + seconds
        turn = 0
        while True:
            running = at or [scheduler for scheduler in self.schedulers if scheduler.alive()]
            try:
                status, answer = self.api(method, path, body, key=key, headers=headers, to=running[turn % len(running)])
                if status not in (409, 500, 502, 503, 504):
                    return status, answer
            except (OSError, http.client.HTTPException):
                status, answer = None, "no answer"
            if time.monotonic() > end:
                raise Failed(f"no definite answer to {method} {path}: {status} {answer}")
            turn += 1
            time.sleep(0.02)

    def restart(self, scheduler):
        scheduler.start()
        wait_for("it to follow", 30, lambda: (self.role(scheduler) or ("", "none,"))[1] != "none,")

    def kill_leader(self, number=signal.SIGKILL):
        """(the one that led, the one that leads now, seconds from the kill to admitting, from the key's end)."""
        old = self.leader()
        gone = self.etcd.deletions("/flotilla/leader")
        at = time.time()
        old.kill(number)
        new = self.leader(other_than=old)
        admitted = self.admitted_at(new, at)
        return old, new, admitted - at, admitted - gone[-1] if gone else None

    def __exit__(self, kind, value, trace):
        try:
            super().__exit__(kind, value, trace)
        finally:
            self.etcd.close()


# ---- what is asked of them by name ----

def names(rows):
    return sorted(row["sandboxID"] for row in rows)


def listed(rig, key, to):
    found, token = {}, ""
    while token is not None:
        status, page = rig.api("GET", "/v2/sandboxes?limit=100&nextToken=" + token, key=key, to=to)
        assert status == 200, page
        found.update((row["sandboxID"], row) for row in page)
        token = rig.last["X-Next-Token"]
    return found


def used(rig, key):
    return rig.ask(key, "GET", "/v1/limits")[1]["concurrentSandboxes"]["current"]


def nodes(rig):
    return {node["name"]: node for node in rig.ask(rig.operator_key, "GET", "/v1/nodes")[1]}


def in_state(rig, name, state, seconds=30):
    wait_for(f"{name} to be {state}", seconds, lambda: nodes(rig)[name]["state"] == state)


def end_all(rig, key):
    for name in listed(rig, key, rig.leader()):
        assert rig.ask(key, "DELETE", "/sandboxes/" + name)[0] in (204, 404)
    wait_for("calm", 30, lambda: used(rig, key) == 0)


def every_ledger_is_the_truth(rig):
    """Waits until each has the whole log and ends the agents; what each replica billed is what ran, once."""
    log = "SELECT id, next_seq FROM node ORDER BY id"
    rig.everywhere("the logs", log, rig.rows(rig.leader(), log))
    ran = {}
    for agent in rig.agents:
        ran.update(rig.truth(agent))
    truth = sorted((name, max(1, (ms + 500) // 1000)) for name, ms in ran.items())
    rig.everywhere("the truth", "SELECT sandbox, sum(seconds) FROM rated_line WHERE meter = 1 GROUP BY sandbox", truth)
    rig.everywhere("each record once", "SELECT node, seq FROM usage_event GROUP BY node, seq HAVING count(*) > 1", [])
    rig.everywhere("every end", "SELECT id FROM sandbox WHERE state <> 4", [])
    logs = [sorted(rig.rows(scheduler, "SELECT node, seq, sandbox, kind FROM usage_event ORDER BY node, seq"))
            for scheduler in rig.schedulers if scheduler.alive()]
    assert all(log == logs[0] for log in logs), "the replicas keep different logs"
    return ran


def report(what, old, new, from_kill, from_key):
    print(f"   {what}: {old.name} to {new.name}, admits after {from_kill:.3f} s"
          + (f", {from_key * 1000:.0f} ms after etcd deleted the key" if from_key is not None else ""))
