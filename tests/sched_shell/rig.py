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
from fleet import BIN, Daemon, Failed, run_tests, wait_for  # noqa: E402,F401


class Rig:
    def __init__(self, agents=1, options=(), agent_options=()):
        self.agent_n, self.options, self.agent_options = agents, list(options), list(agent_options)
        self.root = tempfile.mkdtemp(prefix="flotilla-rig-")
        self.agents, self.scheduler = [], None
        self.last = None  # headers of the last answer

    def __enter__(self):
        try:
            ready = self.path("ready")
            self.scheduler = Daemon("scheduler", [
                os.path.join(BIN, "flotilla-scheduler"), "--state-dir", self.path("state"),
                "--api-listen", "127.0.0.1:0", "--bus-listen", "127.0.0.1:0", "--store-retry", "50ms",
                "--ready-file", ready, *self.options], self.path("scheduler.log"), ready).start()
            for flag, name in (("--api-listen", "api"), ("--bus-listen", "bus")):
                self.scheduler.argv[self.scheduler.argv.index(flag) + 1] = self.scheduler.addresses[name]
            for number in range(self.agent_n):
                self.add_agent(f"fake{number}")
            return self
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise

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
            [os.path.join(BIN, "fake_agent"), "--bus", "tcp://" + self.scheduler.addresses["bus"], "--token",
             token or self.token(), "--name", name, "--truth", self.path(f"{name}.truth"),
             *(self.agent_options if options is None else options)], stdin=subprocess.DEVNULL,
            stdout=log, stderr=log)
        log.close()
        agent.truth = self.path(f"{name}.truth")
        self.agents.append(agent)

        def is_there():
            if agent.poll() is not None:
                raise Failed(f"{name} ended: " + open(self.path(f"{name}.log")).read())
            return any(node["name"] == name and node["state"] != "silent" and node["templates"]
                       for node in self.api("GET", "/v1/nodes", key=self.operator_key)[1])
        wait_for(f"{name} to be known", 20, is_there, 0.01)
        return agent

    def truth(self, agent):
        """{sandbox: milliseconds that it ran}; ends the agent."""
        agent.terminate()
        agent.wait(20)
        with open(agent.truth) as lines:
            return {line.split()[0]: int(line.split()[1]) for line in lines}

    def tenant(self, name="acme", plan="pro", **more):
        status, tenant = self.api("POST", "/v1/tenants", {"name": name, "plan": plan, **more}, key=self.operator_key)
        assert status == 201, tenant
        status, key = self.api("POST", f"/v1/tenants/{tenant['tenantID']}/keys", {"name": "test"}, key=self.operator_key)
        assert status == 201, key
        return key["key"]

    def api(self, method, path, body=None, key=None, headers=(), seconds=60):
        """(status, decoded answer); the answer's headers are in .last."""
        connection = http.client.HTTPConnection(self.scheduler.addresses["api"], timeout=seconds)
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

    def create(self, key, headers=(), **body):
        return self.api("POST", "/v2/sandboxes", {"templateID": "base", **body}, key=key, headers=headers)

    def disk_is_full(self, full):
        """From now on the scheduler's files cannot grow; or they can again."""
        limit = 4096 if full else resource.RLIM_INFINITY
        resource.prlimit(self.scheduler.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def __exit__(self, kind, value, trace):
        for agent in self.agents:
            if agent.poll() is None:
                agent.kill()
                agent.wait(20)
        fault = None
        try:
            if self.scheduler:
                self.scheduler.stop()
                if self.scheduler.process.returncode not in (0, -signal.SIGKILL):
                    fault = f"the scheduler ended with {self.scheduler.process.returncode}\n{self.scheduler.tail()}"
        except Failed as failed:
            fault = str(failed)
        if (kind or fault) and self.scheduler:
            print(self.scheduler.tail(), file=sys.stderr)
        shutil.rmtree(self.root, ignore_errors=True)
        if fault and kind is None:
            raise Failed(fault)
