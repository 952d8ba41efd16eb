"""`flotilla ha` with real etcd and the real scheduler: a single one becomes one of several."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "sched_shell"))
from rig import BIN, Daemon, Failed, Rig, run_tests, wait_for  # noqa: E402
from fleet import free_port  # noqa: E402
import memory_folder  # noqa: E402


class Etcd:
    """One member in a folder of its own."""

    def __init__(self, *options):
        self.options, self.root = list(options), memory_folder.make("flotilla-etcd-")

    def __enter__(self):
        for _ in range(5):  # a port may be taken by another between two moments
            self.url, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
            with open(os.path.join(self.root, "log"), "ab") as log:
                self.process = subprocess.Popen(
                    ["etcd", "--name", "m", "--data-dir", os.path.join(self.root, "data"),
                     "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
                     "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                     "--initial-cluster", f"m={peer}", *self.options], stdout=log, stderr=log)

            def answers():
                if self.process.poll() is not None:
                    return "ended"
                try:
                    request = urllib.request.Request(self.url + "/v3/kv/range", data=b'{"key":"YQ=="}')
                    return urllib.request.urlopen(request, timeout=1).status == 200
                except OSError:
                    return False
            if wait_for("etcd", 30, answers) is True:
                return self
        raise Failed("etcd does not start: is the package etcd-server installed?")

    def ctl(self, *words, text=None):
        done = subprocess.run(["etcdctl", "--endpoints", self.url, *words], env={**os.environ, "ETCDCTL_API": "3"},
                              input=text, capture_output=True, text=True, check=True)
        return done.stdout

    def keys(self):
        return [key for key in self.ctl("get", "/flotilla/", "--prefix", "--keys-only").split("\n") if key]

    def get(self, key):
        return json.loads(self.ctl("get", key, "--print-value-only"))

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.root, ignore_errors=True)


def flotilla(*words, json_output=True):
    """(status, answer, errors) of the command."""
    done = subprocess.run([os.path.join(BIN, "flotilla"), *words, *(["-o", "json"] if json_output else [])],
                          capture_output=True, text=True, timeout=60,
                          env={**os.environ, "HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent"})
    return done.returncode, json.loads(done.stdout)["data"] if done.stdout and json_output else done.stdout, done.stderr


def init(etcd, state):
    return flotilla("ha", "init", "--etcd", etcd.url, "--state-dir", state)


def status(etcd):
    return flotilla("ha", "status", "--etcd", etcd.url)


def replica(rig, etcd, name, state):
    """Another scheduler process, as one of several."""
    ready = rig.path(name + ".ready")
    return Daemon(name, [os.path.join(BIN, "flotilla-scheduler"), "--state-dir", state, "--api-listen", "127.0.0.1:0",
                         "--bus-listen", "127.0.0.1:0", "--ready-file", ready, "--etcd", etcd.url,
                         "--replica-name", name], rig.path(name + ".log"), ready).start()


def tenants_of(rig, daemon):
    rig.scheduler = daemon
    code, tenants = rig.api("GET", "/v1/tenants", key=rig.operator_key)
    return sorted(tenant["name"] for tenant in tenants) if code == 200 else None


def all_that_was_decided_is_in_etcd_and_a_second_replica_has_it():
    with Etcd() as etcd, Rig(agents=1) as rig:
        state = rig.path("state")
        key = rig.tenant("acme", "hobby")
        rig.tenant("beta", "pro")
        rig.token()  # not used
        code, nodes = rig.api("GET", "/v1/nodes", key=rig.operator_key)
        node = nodes[0]["nodeID"]
        code, answer = rig.api("POST", f"/v1/nodes/{node}/cordon", key=rig.operator_key)
        assert code in (200, 204), (code, answer)
        # Not while it runs.
        code, _, errors = init(etcd, state)
        assert code == 1 and "stop the scheduler first" in errors, errors
        assert etcd.keys() == []
        assert status(etcd)[0] == 3
        rig.scheduler.stop()
        code, done, errors = init(etcd, state)
        assert code == 0, errors
        keys = etcd.keys()
        folders = {folder: [key for key in keys if key.startswith(f"/flotilla/d/{folder}/")]
                   for folder in ("plan", "price", "tenant", "key", "token", "node", "node-set")}
        assert {folder: len(found) for folder, found in folders.items()} == {
            "plan": 3, "price": len(folders["price"]), "tenant": 2, "key": 3, "token": 2, "node": 1, "node-set": 1}, keys
        assert folders["price"] and "/flotilla/fleet" in keys and "/flotilla/init" not in keys
        assert done["decisions"] == sum(map(len, folders.values()))
        acme = next(tenant for tenant in map(etcd.get, folders["tenant"]) if tenant["name"] == "acme")
        assert acme["plan"] == "hobby" and acme["credit_nano"] == 100 * 10**9, acme
        assert etcd.get(folders["node-set"][0])["cordoned"] is True
        assert "token_hash" in etcd.get(folders["node"][0])
        assert done["epochBase"] == etcd.get("/flotilla/fleet")["epoch_base"] >= 1
        # One way, and once.
        code, _, errors = init(etcd, state)
        assert code == 1 and "initialised already" in errors, errors
        code, seen, errors = status(etcd)
        assert code == 0 and seen["leader"] == "" and seen["decisions"] == done["decisions"], (seen, errors)

        other = rig.path("other")
        os.mkdir(other, 0o700)
        for secret in ("fleet.key", "key.pepper", "bus.key", "vault.key", "operator.key"):
            shutil.copy(os.path.join(state, secret), other)
        first, second = replica(rig, etcd, "first", state), replica(rig, etcd, "second", other)
        try:
            seen = wait_for("a leader", 20, lambda: (lambda s: s if s["leader"] and len(s["replicas"]) == 2 else None)(status(etcd)[1]))
            assert seen["epoch"] > done["epochBase"]
            assert {row["name"] for row in seen["replicas"]} == {"first", "second"}
            assert sorted(row["role"] for row in seen["replicas"]) == ["leader", "standby"]
            for daemon in (first, second):
                wait_for("both tenants", 20, lambda: tenants_of(rig, daemon) == ["acme", "beta"])
                assert rig.api("GET", "/v2/sandboxes", key=key)[0] == 200
            # The first has booked acme's credit long ago; by the whole of etcd nobody books it again.
            leader = first if seen["leader"] == "first" else second
            code, text, _ = flotilla("ha", "status", "--etcd", etcd.url, json_output=False)
            assert code == 0 and "leader" in text and "standby" in text, text
            leader.stop()
            wait_for("the other leads", 20, lambda: status(etcd)[1]["leader"] not in ("", seen["leader"]))
        finally:
            first.kill()
            second.kill()


def another_fleet_is_refused():
    with Etcd() as etcd, Rig(agents=0) as one, Rig(agents=0) as two:
        one.scheduler.stop()
        two.scheduler.stop()
        assert init(etcd, one.path("state"))[0] == 0
        before = etcd.keys()
        code, _, errors = init(etcd, two.path("state"))
        assert code == 1 and "other secrets" in errors, errors
        assert etcd.keys() == before
        # Its schedulers do not start with this etcd either.
        done = subprocess.run([os.path.join(BIN, "flotilla-scheduler"), "--state-dir", two.path("state"), "--api-listen",
                               "127.0.0.1:0", "--bus-listen", "127.0.0.1:0", "--etcd", etcd.url], capture_output=True,
                              text=True, timeout=60)
        assert done.returncode == 1 and "other secrets" in done.stderr, done.stderr
        # Decisions whose fleet key vanished are not taken for nothing.
        etcd.ctl("del", "/flotilla/fleet")
        code, _, errors = init(etcd, one.path("state"))
        assert code == 1 and "no key any more" in errors, errors


def what_was_cut_off_is_repeated():
    # So small that it is full once something is written.
    with Etcd("--quota-backend-bytes", "30000") as full, Etcd() as whole, Etcd() as cut, Rig(agents=0) as rig:
        for number in range(60):
            rig.tenant(f"tenant{number}", "pro")
        rig.scheduler.stop()
        code, _, errors = init(full, rig.path("state"))
        assert code == 1 and "space" in errors, (code, errors)
        # How much of it was written depends on how fast etcd counts what it has; never the key that ends it.
        assert "/flotilla/fleet" not in full.keys()
        # What a cut leaves: that it began, and a part of the decisions.
        assert init(whole, rig.path("state"))[0] == 0
        decided = [key for key in whole.keys() if key.startswith("/flotilla/d/")]
        assert len(decided) > 120
        cut.ctl("put", "/flotilla/init", whole.ctl("get", "/flotilla/fleet", "--print-value-only").strip())
        for key in decided[:10]:
            cut.ctl("put", key, whole.ctl("get", key, "--print-value-only").strip())
        code, _, errors = status(cut)
        assert code == 3 and "ha init" in errors, errors
        code, done, errors = init(cut, rig.path("state"))
        assert code == 0, errors
        assert [key for key in cut.keys() if key.startswith("/flotilla/d/")] == decided
        assert done["decisions"] == len(decided)
        assert "/flotilla/fleet" in cut.keys() and "/flotilla/init" not in cut.keys()


def without_etcd_or_books_the_reason_is_told():
    with Etcd() as etcd, Rig(agents=0) as rig:
        rig.scheduler.stop()
        empty = rig.path("empty")
        os.mkdir(empty)
        code, _, errors = init(etcd, empty)
        assert code == 1 and "keeps its books" in errors, errors
        assert os.listdir(empty) == []
        code, _, errors = flotilla("ha", "init", "--state-dir", rig.path("state"))
        assert code == 2 and "--etcd" in errors, errors
        etcd.process.kill()
        etcd.process.wait()
        code, _, errors = init(etcd, rig.path("state"))
        assert code == 1 and "onnect" in errors, errors
        code, _, errors = status(etcd)
        assert code == 75, (code, errors)


if __name__ == "__main__":
    sys.exit(run_tests([all_that_was_decided_is_in_etcd_and_a_second_replica_has_it, another_fleet_is_refused,
                        what_was_cut_off_is_repeated, without_etcd_or_books_the_reason_is_told]))
