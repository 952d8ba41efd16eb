"""The real scheduler with fake nodes, over loopback.  Python's standard library only.

    with Rig(agents=1) as rig:
        key = rig.tenant("acme", "pro")
        status, body = rig.api("POST", "/v2/sandboxes", {"templateID": "base"}, key=key)
"""
import http.client
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from fleet import BIN, Daemon, Failed, free_port, run_tests, wait_for  # noqa: E402,F401


class Rig:
    def __init__(self, agents=1, options=(), agent_options=()):
        self.agent_n, self.options, self.agent_options = agents, list(options), list(agent_options)
        self.root = tempfile.mkdtemp(prefix="flotilla-rig-")
        self.agents, self.schedulers = [], []
        self.scheduler = None  # the one that is asked, if not said otherwise
        self.last = None  # headers of the last answer

    def __enter__(self):
        try:
            self.start()
            for number in range(self.agent_n):
                self.add_agent(f"fake{number}")
            return self
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise

    def start(self):
        self.scheduler = self.start_scheduler("scheduler", "state", self.options)

    def start_scheduler(self, name, state, options):
        ready = self.path(f"{name}.ready")
        # What agents and clients remember must be the same after a restart.
        scheduler = Daemon(name, [
            os.path.join(BIN, "flotilla-scheduler"), "--state-dir", self.path(state), "--api-listen", f"127.0.0.1:{free_port()}",
            "--bus-listen", f"127.0.0.1:{free_port()}", "--store-retry", "50ms", "--ready-file", ready, *options],
            self.path(f"{name}.log"), ready)
        self.schedulers.append(scheduler)
        scheduler.start()
        return scheduler

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    @property
    def operator_key(self):
        with open(self.path("state", "operator.key")) as file:
            return file.read().strip()

    def token(self):
        status, body = self.api("POST", "/v1/nodes/tokens", {"ttl_s": 600}, key=self.operator_key)
        assert status == 201, body
        return body["token"]

    def add_agent(self, name, options=None, token=None):
        """A fake node, heard of with its templates."""
        log = open(self.path(f"{name}.log"), "wb")
        agent = subprocess.Popen(
            [os.path.join(BIN, "fake_agent"), "--token", token or self.token(), "--name", name,
             "--truth", self.path(f"{name}.truth"),
             *(word for scheduler in self.schedulers for word in ("--bus", "tcp://" + scheduler.addresses["bus"])),
             *(self.agent_options if options is None else options)], stdin=subprocess.DEVNULL,
            stdout=log, stderr=log)
        log.close()
        agent.truth = self.path(f"{name}.truth")
        self.agents.append(agent)

        def is_there():
            if agent.poll() is not None:
                raise Failed(f"{name} ended: " + open(self.path(f"{name}.log")).read())
            return any(node["name"] == name and node["state"] not in ("silent", "joining") and node["templates"]
                       for node in self.api("GET", "/v1/nodes", key=self.operator_key)[1])
        wait_for(f"{name} to be known", 20, is_there, 0.01)
        return agent

    def truth(self, agent):
        """{sandbox: milliseconds that it ran, in all its lives}; ends the agent."""
        agent.terminate()
        agent.wait(20)
        ran = {}
        with open(agent.truth) as lines:
            for line in lines:
                sandbox, ms = line.split()[:2]
                ran[sandbox] = ran.get(sandbox, 0) + int(ms)
        return ran

    def tenant(self, name="acme", plan="pro", **more):
        status, tenant = self.api("POST", "/v1/tenants", {"name": name, "plan": plan, **more}, key=self.operator_key)
        assert status == 201, tenant
        status, key = self.api("POST", f"/v1/tenants/{tenant['tenantID']}/keys", {"name": "test"}, key=self.operator_key)
        assert status == 201, key
        return key["key"]

    def api(self, method, path, body=None, key=None, headers=(), seconds=60, to=None):
        """(status, decoded answer) of a scheduler; the answer's headers are in .last."""
        connection = http.client.HTTPConnection((to or self.scheduler).addresses["api"], timeout=seconds)
        sent = dict(headers)
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        if key:
            sent["X-API-Key"] = key
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        self.last = answer.headers
        if raw and "json" in (answer.getheader("Content-Type") or ""):
            return answer.status, json.loads(raw)
        return answer.status, raw.decode()

    def create(self, key, headers=(), to=None, **body):
        return self.api("POST", "/v2/sandboxes", {"templateID": "base", **body}, key=key, headers=headers, to=to)

    def disk_is_full(self, full):
        """From now on the scheduler's files cannot grow; or they can again."""
        limit = 4096 if full else resource.RLIM_INFINITY
        resource.prlimit(self.scheduler.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def __exit__(self, kind, value, trace):
        for agent in self.agents:
            if agent.poll() is None:
                agent.kill()
                agent.wait(20)
        faults = []
        for scheduler in self.schedulers:
            try:
                scheduler.stop()
                if scheduler.process and scheduler.process.returncode not in (0, -signal.SIGKILL):
                    faults.append(f"{scheduler.name} ended with {scheduler.process.returncode}\n{scheduler.tail()}")
            except Failed as failed:
                faults.append(str(failed))
        if kind or faults:
            for scheduler in self.schedulers:
                print(f"--- {scheduler.name}\n{scheduler.tail()}", file=sys.stderr)
        shutil.rmtree(self.root, ignore_errors=True)
        if faults and kind is None:
            raise Failed("\n".join(faults))
