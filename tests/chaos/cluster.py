"""A fleet as operators run it, each part on a machine of its own: one with the scheduler, hosts with an agent, one with
the gateway.  See network.py for what a machine is.  Databases are on loop devices and behind faulty_disk, so that their
disks can fail.
"""
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from fleet import BIN, DAEMONS, TEMPLATES, Daemon, Failed, Fleet, request, wait_for  # noqa: E402
from network import Network  # noqa: E402

API, GATEWAY, TUNNEL, BUS = 3000, 3001, 3002, 3003
DISK_MIB = 48


class Cluster:
    def __init__(self, hosts=("h1", "h2"), scheduler_options=(), agent_options=(), faulty=True, keep=False):
        self.masters = ["m1"]
        self.hosts, self.keep, self.faulty = list(hosts), keep, faulty
        self.scheduler_options, self.agent_options = list(scheduler_options), list(agent_options)
        self.root = tempfile.mkdtemp(prefix="flotilla-chaos-")
        self.mounts, self.schedulers, self.agents = [], {}, {}
        self.gateway = self.network = None

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    # ---- disks ----

    def _disk(self, name):
        """A folder that is a small file system of its own."""
        image, folder = self.path(f"{name}.img"), self.path(name)
        os.makedirs(folder, exist_ok=True)
        with open(image, "wb") as file:
            file.truncate(DISK_MIB << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", image, folder], check=True)
        self.mounts.append(folder)
        os.chmod(folder, 0o700)
        return folder

    def disk_env(self, name, program):
        if not self.faulty:
            return {}
        return {"LD_PRELOAD": os.path.join(os.path.dirname(BIN), "lib", "libfaulty_disk.so"),
                "FAULTY_PROGRAM": program, "FAULTY_DIR": self.path(name), "FAULTY_CONTROL": self.path(f"{name}.faults")}

    def disk_fault(self, name, mode, delay_ms=0):
        """ok, fail, slow, full or readonly; of the folder of that name."""
        with open(self.path(f"{name}.faults.new"), "w") as file:
            file.write(f"{mode} {delay_ms}\n")
        os.rename(self.path(f"{name}.faults.new"), self.path(f"{name}.faults"))

    def fill_disk(self, name):
        with open(self.path(name, "filler"), "wb") as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
                    file.flush()
            except OSError:
                pass

    def free_disk(self, name):
        if os.path.exists(self.path(name, "filler")):
            os.unlink(self.path(name, "filler"))

    # ---- daemons ----

    def _daemon(self, machine, program, name, options, env=None):
        ready = self.path(f"{name}.ready")
        return Daemon(name, [*self.network.run(machine), os.path.join(os.path.abspath(DAEMONS), program), *options,
                             "--ready-file", ready], self.path(f"{name}.log"), ready, env)

    def _secrets(self, folder):
        for name, content in self.secret_files.items():
            with open(os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
                file.write(content)

    def _start(self):
        Fleet.ensure_template(type("Template", (), {"template": "base", "templates": TEMPLATES})())
        self.network = Network([*self.masters, *self.hosts, "gw"])
        at = self.network.address
        self.secret_files = {name: secrets.token_bytes(32) for name in ("fleet.key", "key.pepper", "bus.key")}
        self.secret_files["operator.key"] = b"e2b_" + secrets.token_hex(20).encode() + b"\n"
        os.makedirs(self.path("gw"), mode=0o700)
        self._secrets(self.path("gw"))
        self.gateway = self._daemon("gw", "flotilla-gateway", "gateway", [
            "--listen", f"{at('gw')}:{GATEWAY}", "--tunnel-listen", f"{at('gw')}:{TUNNEL}",
            "--fleet-key", self.path("gw", "fleet.key")]).start()
        for name in self.masters:
            state = f"scheduler-{name}"
            self._secrets(self._disk(state))
            self.disk_fault(state, "ok")
            self.schedulers[name] = self._daemon(name, "flotilla-scheduler", state, [
                "--state-dir", self.path(state),
                "--api-listen", f"{at(name)}:{API}", "--bus-listen", f"{at(name)}:{BUS}",
                "--gateway-tunnel", f"{at('gw')}:{TUNNEL}", "--gateway-url", f"http://{at('gw')}:{GATEWAY}",
                *self.scheduler_options], self.disk_env(state, "flotilla-scheduler")).start()
        wait_for("a scheduler that admits work", 30, self.leader, 0.1)
        for name in self.hosts:
            self._add_agent(name)
        self.wait_warm(len(self.hosts))

    def _add_agent(self, name):
        state = f"agent-{name}"
        self._disk(state)
        self.disk_fault(state, "ok")
        token = self.api("POST", "/v1/nodes/tokens", {"ttl_s": 600}, key=self.operator_key())[1]["token"]
        with open(os.open(self.path(f"{name}.token"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(token)
        self.agents[name] = self._daemon(name, "flotilla-agent", state, [
            "--state-dir", self.path(state), "--run-dir", self.path(f"run-{name}"), "--template-dir", TEMPLATES,
            "--scheduler", ",".join(f"tcp://{self.network.address(master)}:{BUS}" for master in self.masters),
            "--enrol-token-file", self.path(f"{name}.token"), "--node-name", name, *self.agent_options],
            self.disk_env(state, "flotilla-agent")).start()

    def leader(self):
        """The name of the machine whose scheduler admits work; None: none now."""
        for name in self.masters:
            try:
                status, text = request(f"{self.network.address(name)}:{API}", "GET", "/metrics", seconds=2)
            except OSError:
                continue
            if status == 200 and "\nflotilla_ready 1" in text:
                return name
        return None

    # ---- as in fleet.py ----

    def operator_key(self):
        return self.secret_files["operator.key"].decode().strip()

    def api(self, method, path, body=None, key=None, headers=(), seconds=60, machine=None):
        """One call to a scheduler: the given one, else whichever answers."""
        for name in [machine] if machine else self.masters:
            try:
                return request(f"{self.network.address(name)}:{API}", method, path, body, key, headers, seconds)
            except OSError as error:
                failure = error
        raise failure

    def in_guest(self, sandbox, method, path, body=None, port=49983, headers=(), seconds=60):
        route = {"E2b-Sandbox-Id": sandbox["sandboxID"], "E2b-Sandbox-Port": str(port),
                 "X-Access-Token": sandbox.get("envdAccessToken", ""), **dict(headers)}
        return request(f"{self.network.address('gw')}:{GATEWAY}", method, path, body, None, route.items(), seconds)

    def tenant(self, name, plan="pro", **caps):
        status, tenant = self.api("POST", "/v1/tenants", {"name": name, "plan": plan, **caps}, key=self.operator_key())
        if status != 201:
            raise Failed(f"tenant: {status} {tenant}")
        status, key = self.api("POST", f"/v1/tenants/{tenant['tenantID']}/keys", {"name": "test"},
                               key=self.operator_key())
        if status != 201:
            raise Failed(f"key: {status} {key}")
        return key["key"]

    def env(self, key):
        return {"FLOTILLA_API_KEY": key, "FLOTILLA_API_URL": f"http://{self.network.address('m1')}:{API}",
                "FLOTILLA_GATEWAY_URL": f"http://{self.network.address('gw')}:{GATEWAY}", "HOME": self.root}

    def wait_warm(self, clones, seconds=120):
        def probe():
            status, rows = self.api("GET", "/v1/templates", key=self.operator_key())
            return status == 200 and any(row["name"] == "base" and row["warm"] >= clones for row in rows)
        wait_for(f"{clones} warm clones", seconds, probe, 0.2)

    def daemons(self):
        return [*self.schedulers.values(), *self.agents.values(), self.gateway]

    def vm_processes(self):
        return Fleet.vm_processes(self)

    def __exit__(self, kind, value, trace):
        failed = kind is not None and not (kind is SystemExit and not value.code)
        for daemon in filter(None, self.daemons()):
            if daemon.alive():
                os.kill(daemon.pid, signal.SIGCONT)
                daemon.kill()
        for pid in self.vm_processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.network:
            self.network.close()
        if failed:
            for daemon in filter(None, [*self.schedulers.values(), *self.agents.values(), self.gateway]):
                print(f"--- {daemon.name}\n{daemon.tail()}", file=sys.stderr)
        for folder in self.mounts:
            for _ in range(50):  # until the last microVM has let go
                if subprocess.run(["umount", folder], capture_output=True).returncode == 0:
                    break
                time.sleep(0.1)
            else:
                subprocess.run(["umount", "-l", folder], capture_output=True)
        if self.keep:
            print(f"kept: {self.root}", file=sys.stderr)
        else:
            shutil.rmtree(self.root, ignore_errors=True)
