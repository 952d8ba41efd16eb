"""A fleet as operators run it, each part on a machine of its own: schedulers, the members of etcd that they lead by, hosts
with an agent, the gateway.  See network.py for what a machine is, disks.py for what their state is on.

    with Cluster() as cluster:                 # three schedulers, three members of etcd, two hosts
    with Cluster(schedulers=1) as cluster:     # one scheduler, no etcd
"""
import http.client
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import own_store  # noqa: E402
from fleet import BIN, DAEMONS, TEMPLATES, Daemon, Failed, Fleet, ensure_template, request, wait_for  # noqa: E402
from disks import Disks  # noqa: E402
from etcd import Etcd, Member  # noqa: E402
from network import Network  # noqa: E402

API, GATEWAY, TUNNEL, BUS = 3000, 3001, 3002, 3003
SECRETS = ("fleet.key", "key.pepper", "bus.key", "vault.key", "operator.key")
ETCD_DISK_MIB = 384  # a write-ahead log takes 64 MiB at a time


class Cluster:
    def __init__(self, schedulers=3, hosts=("h1", "h2"), scheduler_options=(), agent_options=(), faulty=True, keep=False):
        self.masters = [f"m{number}" for number in range(1, schedulers + 1)]
        self.members = ["e1", "e2", "e3"] if schedulers > 1 else []
        self.hosts, self.keep = list(hosts), keep
        self.scheduler_options, self.agent_options = list(scheduler_options), list(agent_options)
        self.root = tempfile.mkdtemp(prefix="flotilla-chaos-")
        self.disks = Disks(self.root, faulty)
        self.schedulers, self.agents = {}, {}
        self.gateway = self.network = self.etcd = self.templates = None
        self.early_key = None  # of a tenant from before there were several schedulers

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    # ---- the start, as an operator does it ----

    def _start(self):
        ensure_template()
        self.templates = own_store.make(TEMPLATES, ["base"])
        self.network = Network([*self.masters, *self.members, *self.hosts, "gw"])
        self.secret_files = {name: secrets.token_bytes(32) for name in SECRETS if name != "operator.key"}
        self.secret_files["operator.key"] = b"e2b_" + secrets.token_hex(20).encode() + b"\n"
        self._add_gateway()
        for name in self.masters:
            self._add_scheduler(name)
        if self.members:
            self._begin_several()
        for daemon in self.schedulers.values():
            if not daemon.alive():
                daemon.start()
        wait_for("a scheduler that admits work", 30, self.leader, 0.1)
        for name in self.hosts:
            self._add_agent(name)
        self.wait_warm(len(self.hosts))

    def _begin_several(self):
        """A scheduler that ran alone becomes the first of several: what it decided until then goes on to be so."""
        first = self.masters[0]
        alone = self.schedulers[first]
        replicas_argv, alone.argv = alone.argv, self._without_etcd(alone.argv)
        alone.start()
        self.early_key = self.tenant("early")
        alone.stop()
        alone.argv = replicas_argv
        self._add_etcd()
        done = subprocess.run([*self.network.run(first), os.path.join(BIN, "flotilla"), "ha", "init", "--etcd",
                               self.etcd.urls(), "--state-dir", self.path(f"scheduler-{first}")],
                              capture_output=True, text=True, timeout=60, env={**os.environ, "HOME": self.root})
        if done.returncode:
            raise Failed(f"flotilla ha init: {done.stdout}{done.stderr}")

    @staticmethod
    def _without_etcd(argv):
        at = argv.index("--etcd")
        return argv[:at] + argv[at + 8:]

    def _daemon(self, machine, program, name, options, env=None):
        ready = self.path(f"{name}.ready")
        return Daemon(name, [*self.network.run(machine), os.path.join(os.path.abspath(DAEMONS), program), *options,
                             "--ready-file", ready], self.path(f"{name}.log"), ready, env)

    def _put_secrets(self, folder, names=SECRETS):
        for name in names:
            with open(os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
                file.write(self.secret_files[name])

    def _add_gateway(self):
        at = self.network.address("gw")
        os.makedirs(self.path("gw"), mode=0o700)
        self._put_secrets(self.path("gw"), ["fleet.key"])
        self.gateway = self._daemon("gw", "flotilla-gateway", "gateway", [
            "--listen", f"{at}:{GATEWAY}", "--tunnel-listen", f"{at}:{TUNNEL}",
            "--fleet-key", self.path("gw", "fleet.key")]).start()

    def _add_etcd(self):
        addresses = {name: self.network.address(name) for name in self.members}
        members = {}
        for name in self.members:
            folder = self.disks.make(f"etcd-{name}", ETCD_DISK_MIB)
            members[name] = Member(name, self.network.run(name), folder, self.path(f"etcd-{name}.log"),
                                   addresses[name], addresses)
        self.etcd = Etcd(members)
        for member in members.values():
            member.start()
        self.etcd.wait_whole()

    def _add_scheduler(self, name):
        state, at = f"scheduler-{name}", self.network.address(name)
        self._put_secrets(self.disks.make(state))
        replica = []
        if self.members:
            urls = ",".join(f"http://{self.network.address(member)}:2379" for member in self.members)
            replica = ["--etcd", urls, "--replica-name", name, "--api-advertise", f"{at}:{API}",
                       "--bus-advertise", f"{at}:{BUS}"]
        self.schedulers[name] = self._daemon(name, "flotilla-scheduler", state, [
            "--state-dir", self.path(state), "--api-listen", f"{at}:{API}", "--bus-listen", f"{at}:{BUS}", *replica,
            "--gateway-tunnel", f"{self.network.address('gw')}:{TUNNEL}",
            "--gateway-url", f"http://{self.network.address('gw')}:{GATEWAY}",
            *self.scheduler_options], self.disks.env(state, "flotilla-scheduler"))

    def _add_agent(self, name):
        state = f"agent-{name}"
        self.disks.make(state)
        token = self.ask("POST", "/v1/nodes/tokens", {"ttl_s": 600}, key=self.operator_key())["token"]
        with open(os.open(self.path(f"{name}.token"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(token)
        self.agents[name] = self._daemon(name, "flotilla-agent", state, [
            "--state-dir", self.path(state), "--run-dir", self.path(f"run-{name}"), "--template-dir", self.templates,
            "--scheduler", ",".join(f"tcp://{self.network.address(master)}:{BUS}" for master in self.masters),
            "--enrol-token-file", self.path(f"{name}.token"), "--node-name", name, *self.agent_options],
            self.disks.env(state, "flotilla-agent")).start()

    # ---- who is what ----

    def readyz(self, name):
        """(status, text) of one scheduler; (None, "") when it does not answer."""
        try:
            return request(f"{self.network.address(name)}:{API}", "GET", "/readyz?verbose", seconds=2)
        except (OSError, ValueError, http.client.HTTPException):
            return None, ""

    def leader(self):
        """The machine whose scheduler admits work; None: none now."""
        if self.etcd:
            name = self.etcd.leader()
            return name if name in self.schedulers and f"replica: {name}, leading" in self.readyz(name)[1] else None
        return next((name for name in self.masters if self.readyz(name)[0] == 200), None)

    def operator_key(self):
        return self.secret_files["operator.key"].decode().strip()

    def daemons(self):
        members = self.etcd.members.values() if self.etcd else []
        return [*members, *self.schedulers.values(), *self.agents.values(), *filter(None, [self.gateway])]

    def database(self, name):
        return self.path(f"scheduler-{name}", "scheduler.db")

    def journal(self, host):
        return self.path(f"agent-{host}", "journal.db")

    def vm_processes(self):
        return Fleet.vm_processes(self)

    # ---- calls ----

    def api(self, method, path, body=None, key=None, headers=(), seconds=60, machine=None):
        """One call to a scheduler: the given one, else the first that answers."""
        failure = OSError("no scheduler")
        for name in [machine] if machine else self.masters:
            try:
                return request(f"{self.network.address(name)}:{API}", method, path, body, key, headers, seconds)
            except (OSError, http.client.HTTPException) as error:
                failure = error
        raise failure

    def ask(self, method, path, body=None, key=None, headers=None, seconds=60, wanted=(200, 201, 204)):
        """The answer to a call that is made until it succeeds; for what may be said twice."""
        last = [None]

        def once():
            try:
                status, answer = self.api(method, path, body, key, (headers or {}).items(), seconds=15)
            except (OSError, ValueError, http.client.HTTPException) as error:
                last[0] = repr(error)
                return None
            last[0] = (status, answer)
            return (answer,) if status in wanted else None
        try:
            return wait_for(f"{method} {path}", seconds, once, 0.2)[0]
        except Failed as failed:
            raise Failed(f"{failed}: {last[0]}") from None

    def in_guest(self, sandbox, method, path, body=None, port=49983, headers=(), seconds=60):
        route = {"E2b-Sandbox-Id": sandbox["sandboxID"], "E2b-Sandbox-Port": str(port),
                 "X-Access-Token": sandbox.get("envdAccessToken", ""), **dict(headers)}
        return request(f"{self.network.address('gw')}:{GATEWAY}", method, path, body, None, route.items(), seconds)

    def tenant(self, name, plan="pro", **caps):
        tenant = self.ask("POST", "/v1/tenants", {"name": name, "plan": plan, **caps}, key=self.operator_key())
        return self.ask("POST", f"/v1/tenants/{tenant['tenantID']}/keys", {"name": "test"},
                        key=self.operator_key())["key"]

    def env(self, key):
        return {"FLOTILLA_API_KEY": key, "FLOTILLA_API_URL": f"http://{self.network.address(self.leader() or 'm1')}:{API}",
                "FLOTILLA_GATEWAY_URL": f"http://{self.network.address('gw')}:{GATEWAY}", "HOME": self.root}

    def nodes(self):
        """{name: row}"""
        return {row["name"]: row for row in self.ask("GET", "/v1/nodes", key=self.operator_key())}

    def wait_warm(self, clones, seconds=120):
        def probe():
            rows = self.ask("GET", "/v1/templates", key=self.operator_key())
            return any(row["name"] == "base" and row["warm"] >= clones for row in rows)
        wait_for(f"{clones} warm clones", seconds, probe, 0.2)

    # ---- the end ----

    def __exit__(self, kind, value, trace):
        failed = kind is not None and not (kind is SystemExit and not value.code)
        self.disks.go_on_all()
        for daemon in self.daemons():
            if daemon.alive():
                os.kill(daemon.pid, signal.SIGCONT)
                daemon.kill()
        for pid in self.vm_processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait_for("the microVMs' end", 20, lambda: not self.vm_processes(), 0.1)
        if self.network:
            self.network.close()
        if failed:
            for daemon in filter(lambda daemon: os.path.exists(daemon.log), self.daemons()):
                print(f"--- {daemon.name}\n{daemon.tail()}", file=sys.stderr)
        self.disks.close()
        if self.keep:
            print(f"kept: {self.root}", file=sys.stderr)
        else:
            shutil.rmtree(self.root, ignore_errors=True)
            shutil.rmtree(self.templates or "", ignore_errors=True)
