"""A real fleet on this machine, for tests and benches: a scheduler, a gateway and any number of
agents, each with its own directories under one temporary root, on free ports of 127.0.0.1.

    with Fleet(agents=1) as fleet:
        key = fleet.tenant("acme", "pro")
        status, body = fleet.api("POST", "/v2/sandboxes", {"templateID": "base"}, key=key)

Everything a fleet starts, it stops; shims and microVMs included.  Python's standard library only.
"""
import contextlib
import http.client
import json
import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import own_domain  # noqa: E402
import own_store  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("FLOTILLA_BUILD", os.path.join(ROOT, "build", "release"))
BIN = os.path.join(BUILD, "bin")
DAEMONS = os.environ.get("FLOTILLA_DAEMONS", BIN)  # those with sanitizers, say, on templates of the others
TEMPLATES = os.environ.get("FLOTILLA_TEST_TEMPLATE_DIR", os.path.join(ROOT, "build", "templates"))


class Failed(Exception):
    pass


def wait_for(what, seconds, probe, pause=0.05):
    """The first true answer of probe(); Failed when the deadline passes first."""
    end = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > end:
            raise Failed(f"waited {seconds} s for {what}")
        time.sleep(pause)


def free_port():
    """One that no outgoing connection takes while its daemon is down: the kernel gives those 32768 and more."""
    while True:
        port = random.randrange(10240, 32768)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Daemon:
    """One process that says it is ready by writing name=address lines into a file."""

    def __init__(self, name, argv, log, ready, env=None):
        self.name, self.argv, self.log, self.ready, self.env = name, argv, log, ready, env
        self.process, self.addresses = None, {}

    def start(self, seconds=60):
        if os.path.exists(self.ready):
            os.unlink(self.ready)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **(self.env or {})})

        def probe():
            if self.process.poll() is not None:
                raise Failed(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
            if not os.path.exists(self.ready):
                return None
            with open(self.ready) as lines:
                return dict(line.strip().split("=", 1) for line in lines if "=" in line) or {"ready": "yes"}

        try:
            self.addresses = wait_for(f"{self.name} to be ready", seconds, probe)
        except Failed as failed:
            raise Failed(f"{failed}\n{self.tail()}") from None
        return self

    def tail(self, lines=40):
        with open(self.log, errors="replace") as log:
            return "".join(log.readlines()[-lines:])

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self, number=signal.SIGKILL):
        if self.alive():
            self.process.send_signal(number)
            self.process.wait(20)

    def stop(self, seconds=20):
        if not self.alive():
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
            raise Failed(f"{self.name} did not stop within {seconds} s:\n{self.tail()}") from None
        if self.process.returncode:
            raise Failed(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")


def ensure_template(name="base"):
    """Builds the template if the shared store does not have it: minutes once, nothing after.  What is no
    recipe's a test has built by itself."""
    if not os.path.isdir(os.path.join(ROOT, "deploy", "templates", name)):
        return
    done = subprocess.run([os.path.join(BIN, "flotilla-template"), "build", name, "--template-dir", TEMPLATES],
                          capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"flotilla-template build {name}: {done.stderr}")


class Fleet:
    def __init__(self, agents=1, template="base", agent_options=(), scheduler_options=(), volumes_options=(), keep=False,
                 also=(), domain=None, tls_port=443):
        """template: the one that is waited for; also: more of those in the shared store.
        domain: tenants come in by its names, with TLS; see own_domain.py for where that can be done."""
        self.keep, self.template, self.also = keep, template, also
        self.templates = None  # the store of its agents
        self.agent_n, self.agent_options = agents, list(agent_options)
        self.scheduler_options, self.volumes_options = list(scheduler_options), list(volumes_options)
        self.domain, self.tls_port = domain, tls_port
        self.root = tempfile.mkdtemp(prefix="flotilla-test-")
        self.agents = []
        self.scheduler = self.gateway = self.volumes = None

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def _daemon(self, program, name, options, env=None):
        ready = self.path(f"{name}.ready")
        return Daemon(name, [os.path.join(os.path.abspath(DAEMONS), program), *options, "--ready-file", ready],
                      self.path(f"{name}.log"), ready, env)

    def _start(self):
        ensure_template(self.template)
        self.templates = own_store.make(TEMPLATES, [self.template, *self.also])
        self.api_backend = f"127.0.0.1:{free_port()}"  # the gateway asks there before anybody listens
        os.makedirs(self.path("scheduler"), mode=0o700)
        # Both sides read the fleet's key; made here, so that neither has to wait for the other.
        key = os.open(self.path("scheduler", "fleet.key"), os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(key, secrets.token_bytes(32))
        os.close(key)
        volumes_at = f"127.0.0.1:{free_port()}"
        # What agents and clients remember must be the same after a restart.
        self.gateway = self._daemon("flotilla-gateway", "gateway", [
            "--listen", f"127.0.0.1:{free_port()}", "--tunnel-listen", f"127.0.0.1:{free_port()}", "--admin-listen", "127.0.0.1:0",
            "--fleet-key", self.path("scheduler", "fleet.key"), "--api-backend", self.api_backend,
            "--volumes-backend", volumes_at, *self._domain_options()]).start()
        self.volumes = self._daemon("flotilla-volumes", "volumes", [
            "--state-dir", self.path("volumes"), "--listen", volumes_at, "--api-backend", self.api_backend,
            "--gateway", self.gateway.addresses["tenants"], "--fleet-key", self.path("scheduler", "fleet.key"), "--reserve", "0",
            *self.volumes_options]).start()
        self.scheduler = self._daemon("flotilla-scheduler", "scheduler", [
            "--state-dir", self.path("scheduler"), "--bus-listen", f"127.0.0.1:{free_port()}",
            "--api-listen", self.api_backend,
            *(["--domain", self.domain_text()] if self.domain else []),
            "--gateway-tunnel", self.gateway.addresses["tunnels"],
            "--gateway-url", "http://" + self.gateway.addresses["tenants"], "--volumes", volumes_at, *self.scheduler_options]).start()
        for number in range(self.agent_n):
            self.add_agent(number)
        if self.agents:
            self.wait_warm(self.agent_n)

    def domain_text(self):
        return self.domain if self.tls_port == 443 else f"{self.domain}:{self.tls_port}"

    def _domain_options(self):
        if not self.domain:
            return []
        self.ca, certificate, key = own_domain.certificates(self.root, self.domain)
        return ["--tls-listen", f"127.0.0.1:{self.tls_port}", "--tls-cert", certificate, "--tls-key", key]

    def add_agent(self, number, options=()):
        name = f"agent{number}"
        token = self.api("POST", "/v1/nodes/tokens", {"ttl_s": 600}, key=self.operator_key())[1]["token"]
        token_file = self.path(f"{name}.token")
        with open(os.open(token_file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(token)
        agent = self._daemon("flotilla-agent", name, [
            "--state-dir", self.path(name), "--run-dir", self.path(name, "run"), "--template-dir", self.templates,
            "--scheduler", "tcp://" + self.scheduler.addresses["bus"], "--enrol-token-file", token_file,
            "--node-name", name, *self.agent_options, *options])
        self.agents.append(agent.start())
        return agent

    def wait_warm(self, clones, seconds=90):
        """Until the scheduler knows of so many warm clones of the template."""
        def probe():
            for agent in self.agents:
                if not agent.alive():
                    raise Failed(f"{agent.name} ended:\n{agent.tail()}")
            status, rows = self.api("GET", "/v1/templates", key=self.operator_key())
            return status == 200 and any(row["name"] == self.template and row["warm"] >= clones for row in rows)
        wait_for(f"{clones} warm clones of {self.template}", seconds, probe, 0.1)

    def operator_key(self):
        with open(self.path("scheduler", "operator.key")) as file:
            return file.read().strip()

    def tenant(self, name, plan="pro", **more):
        """A new tenant's API key."""
        status, tenant = self.api("POST", "/v1/tenants", {"name": name, "plan": plan, **more}, key=self.operator_key())
        if status != 201:
            raise Failed(f"tenant: {status} {tenant}")
        status, key = self.api("POST", f"/v1/tenants/{tenant['tenantID']}/keys", {"name": "test"},
                               key=self.operator_key())
        if status != 201:
            raise Failed(f"key: {status} {key}")
        return key["key"]

    def capped_tenant(self):
        """The key of one that may have a single sandbox, and has it."""
        status, tenant = self.api("POST", "/v1/tenants", {"name": "capped", "plan": "hobby", "concurrentSandboxes": 1},
                                  key=self.operator_key())
        if status != 201:
            raise Failed(f"tenant: {status} {tenant}")
        key = self.api("POST", f"/v1/tenants/{tenant['tenantID']}/keys", {"name": "test"}, key=self.operator_key())[1]["key"]
        status, made = self.api("POST", "/v2/sandboxes", {"templateID": self.template, "timeout": 3600}, key=key)
        if status != 201:
            raise Failed(f"create: {status} {made}")
        return key

    def api(self, method, path, body=None, key=None, headers=(), seconds=60):
        """(status, decoded JSON or text) of one API call."""
        return request(self.scheduler.addresses["api"], method, path, body, key, headers, seconds)

    def in_guest(self, sandbox, method, path, body=None, port=49983, headers=(), seconds=60):
        """(status, decoded answer) of one call through the gateway; sandbox is a create's answer."""
        route = {"E2b-Sandbox-Id": sandbox["sandboxID"], "E2b-Sandbox-Port": str(port),
                 "X-Access-Token": sandbox.get("envdAccessToken", ""), **dict(headers)}
        return request(self.gateway.addresses["tenants"], method, path, body, None, route.items(), seconds)

    def env(self, key):
        if self.domain:
            return {"E2B_API_KEY": key, "E2B_DOMAIN": self.domain_text(), "NODE_EXTRA_CA_CERTS": self.ca, "SSL_CERT_FILE": self.ca}
        return {"E2B_API_KEY": key, "E2B_API_URL": "http://" + self.scheduler.addresses["api"],
                "E2B_SANDBOX_URL": "http://" + self.gateway.addresses["tenants"],
                "E2B_VOLUME_API_URL": "http://" + self.gateway.addresses["tenants"]}

    def vm_processes(self):
        """{pid: command line} of every shim and QEMU of this fleet."""
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    line = file.read().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if self.root in line and re.search(r"flotilla-shim|qemu-system", line):
                found[int(pid)] = line
        return found

    def __exit__(self, kind, value, trace):
        faults = []
        for daemon in [*self.agents, self.scheduler, self.gateway, self.volumes]:
            try:
                if daemon:
                    daemon.stop()
            except Failed as failed:
                faults.append(str(failed))
        # VMs outlive their agent by design; a test's fleet takes them along.
        for pid in self.vm_processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        failed = kind is not None and not (kind is SystemExit and not value.code)
        if failed:
            for daemon in [self.scheduler, self.gateway, self.volumes, *self.agents]:
                if daemon and os.path.exists(daemon.log):
                    print(f"--- {daemon.name}\n{daemon.tail()}", file=sys.stderr)
        if not self.keep:
            shutil.rmtree(self.root, ignore_errors=True)
            shutil.rmtree(self.templates or "", ignore_errors=True)
        if faults and not failed:
            raise Failed("\n".join(faults))


def request(address, method, path, body=None, key=None, headers=(), seconds=60):
    connection = http.client.HTTPConnection(address, timeout=seconds)
    sent = dict(headers)
    data = body
    if body is not None and not isinstance(body, (bytes, str)):
        data = json.dumps(body)
        sent.setdefault("Content-Type", "application/json")
    if key:
        sent["X-API-Key"] = key
    try:
        connection.request(method, path, body=data, headers=sent)
        answer = connection.getresponse()
        raw = answer.read()
    finally:
        connection.close()
    if raw and "json" in (answer.getheader("Content-Type") or ""):
        return answer.status, json.loads(raw)
    return answer.status, raw.decode(errors="replace")


def run_tests(tests):
    """Runs functions in order and prints a line for each, as tests/run counts them."""
    wanted = sys.argv[1:]
    failed = 0
    for test in tests:
        if wanted and test.__name__ not in wanted:
            continue
        began = time.monotonic()
        try:
            test()
        except Exception:  # a failed test must not hide the others
            import traceback
            traceback.print_exc()
            failed += 1
            print(f"not ok {test.__name__}", flush=True)
        else:
            print(f"ok {test.__name__}", flush=True)
            print(f"   in {time.monotonic() - began:.1f} s", flush=True)
    sys.exit(1 if failed else 0)
