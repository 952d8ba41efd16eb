"""Three members of etcd, each on a machine of its own, and what a test asks of them."""
import base64
import http.client
import json
import os
import subprocess
import threading
import time

from fleet import Failed, wait_for

CLIENTS, PEERS = 2379, 2380
LEADER_KEY = b"/flotilla/leader"


def text64(data):
    return base64.b64encode(data).decode()


def call(address, path, body, seconds=3):
    """One request of the JSON gateway; OSError when nobody answers well."""
    connection = http.client.HTTPConnection(address, timeout=seconds)
    try:
        connection.request("POST", path, body=json.dumps(body))
        answer = connection.getresponse()
        raw = answer.read()
    except http.client.HTTPException as error:
        raise OSError(repr(error)) from None
    finally:
        connection.close()
    if answer.status != 200:
        raise OSError(f"etcd: {answer.status} {raw[:200]!r}")
    return json.loads(raw)


class Member:
    """One etcd; ready when it accepts clients, whether or not there is a quorum."""

    def __init__(self, name, command, folder, log, address, members, env=None):
        self.name, self.log, self.process, self.env = f"etcd-{name}", log, None, env
        self.address = f"{address}:{CLIENTS}"
        self.argv = [
            *command, "etcd", "--name", name, "--data-dir", os.path.join(folder, "data"),
            "--listen-client-urls", f"http://{self.address}", "--advertise-client-urls", f"http://{self.address}",
            "--listen-peer-urls", f"http://{address}:{PEERS}", "--initial-advertise-peer-urls", f"http://{address}:{PEERS}",
            "--initial-cluster", ",".join(f"{other}=http://{at}:{PEERS}" for other, at in members.items()),
            "--initial-cluster-state", "new", "--heartbeat-interval", "100", "--election-timeout", "1000",
            # Small, so that files are written, and can fail, all along.
            "--snapshot-count", "200", "--logger", "zap"]

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **(self.env or {})})
        time.sleep(0.2)
        if not self.alive():
            raise Failed(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
        return self

    def tail(self, lines=40):
        with open(self.log, errors="replace") as log:
            return "".join(log.readlines()[-lines:])

    def alive(self):
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self):
        return self.process.pid

    def kill(self):
        if self.alive():
            self.process.kill()
            self.process.wait(20)

    stop = kill

    def healthy(self):
        """It serves, and sees a quorum: a read that goes through the whole cluster."""
        try:
            call(self.address, "/v3/kv/range", {"key": text64(b"health")}, seconds=2)
            return True
        except (OSError, ValueError):
            return False


class Watch(threading.Thread):
    """When the leader key is written and deleted, as etcd's watch tells it: rows of (monotonic s, "put" or "delete", value)."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.events, self.ready, self.fault = [], threading.Event(), None
        self.connection = http.client.HTTPConnection(address, timeout=600)
        self.start()
        if not self.ready.wait(10):
            raise Failed(f"no watch on {address}: {self.fault}")

    def run(self):
        try:
            self.connection.request("POST", "/v3/watch",
                                    body=json.dumps({"create_request": {"key": text64(LEADER_KEY)}}))
            answer = self.connection.getresponse()
            while line := answer.readline():
                self._take(json.loads(line).get("result", {}), time.monotonic())
            self.fault = self.fault or "closed"
        except (OSError, ValueError, http.client.HTTPException, AttributeError) as error:
            self.fault = self.fault or repr(error)

    def _take(self, result, now):
        if result.get("created"):
            self.ready.set()
        for event in result.get("events", []):
            kind = "delete" if event.get("type") == "DELETE" else "put"
            self.events.append((now, kind, base64.b64decode(event["kv"].get("value", ""))))

    def first(self, kind, since, seconds=30):
        """The first event of that kind after an instant."""
        def found():
            if self.fault:
                raise Failed(f"the watch of etcd ended: {self.fault}")
            return next((event for event in list(self.events) if event[1] == kind and event[0] >= since), None)
        return wait_for(f"the leader key's {kind}", seconds, found, 0.002)


class Etcd:
    """The members together."""

    def __init__(self, members):
        self.members = members

    def urls(self):
        return ",".join(f"http://{member.address}" for member in self.members.values())

    def get(self, key, prefix=False):
        """{key: value}, from the first member that answers; OSError when none does."""
        body = {"key": text64(key)}
        if prefix:
            body["range_end"] = text64(key[:-1] + bytes([key[-1] + 1]))
        failure = OSError("no member")
        for member in list(self.members.values()):
            try:
                answer = call(member.address, "/v3/kv/range", body, seconds=2)
            except (OSError, ValueError) as error:
                failure = error
                continue
            return {base64.b64decode(row["key"]): base64.b64decode(row.get("value", "")) for row in answer.get("kvs", [])}
        raise failure

    def leader(self):
        """The name of the replica that holds the leader key; None: nobody, or nobody can say."""
        try:
            rows = self.get(LEADER_KEY)
            return json.loads(rows[LEADER_KEY])["name"] if rows else None
        except (OSError, ValueError, KeyError):
            return None

    def put(self, key, value):
        call(next(iter(self.members.values())).address, "/v3/kv/put", {"key": text64(key), "value": text64(value)})

    def wait_whole(self, seconds=60):
        for member in self.members.values():
            wait_for(f"{member.name} to serve", seconds, member.healthy, 0.1)
