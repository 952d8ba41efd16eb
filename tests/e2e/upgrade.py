#!/usr/bin/env python3
"""The agent is replaced by another build while a tenant streams output and holds a connection: both go on unbroken."""
import os
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from fleet import BIN, BUILD, ROOT, Failed, Fleet, run_tests, wait_for  # noqa: E402

NEWER = os.path.join(os.path.dirname(os.path.abspath(BUILD)), "newer")
NEWER_VERSION = "99.0.0"
PORT = 8700
# Takes one connection, agrees to whatever protocol is asked for, and returns each byte it gets.
ECHO = f"""
import socket
server = socket.socket(); server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(('127.0.0.1', {PORT})); server.listen()
peer, _ = server.accept(); peer.recv(65536)
peer.sendall(b'HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\n\\r\\n')
while data := peer.recv(65536):
    peer.sendall(data)
"""

fleet = None


def build_newer():
    for argv in (["cmake", "-S", ROOT, "-B", NEWER, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DFLOTILLA_TESTS=OFF",
                  f"-DFLOTILLA_VERSION={NEWER_VERSION}"],
                 ["cmake", "--build", NEWER, "--target", "flotilla-agent", "flotilla-shim"]):
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"{' '.join(argv)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


class Output(threading.Thread):
    """A command that counts, ten lines a second, as the tenant sees it."""

    def __init__(self, key, sandbox):
        super().__init__(daemon=True)
        env = {**os.environ, "FLOTILLA_API_URL": fleet.env(key)["E2B_API_URL"], "FLOTILLA_API_KEY": key,
               "FLOTILLA_GATEWAY_URL": fleet.env(key)["E2B_SANDBOX_URL"], "HOME": fleet.root}
        script = "n=0; mkfifo /tmp/never; exec 4<>/tmp/never; while :; do n=$((n+1)); echo n=$n; read -t 0.1 -u 4; done"
        self.process = subprocess.Popen([os.path.join(BIN, "flotilla"), "sandbox", "exec", sandbox["sandboxID"], "--",
                                         "bash", "-c", script], env=env, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, text=True)
        self.lines = []

    def run(self):
        for line in self.process.stdout:
            self.lines.append(int(line[2:]))

    def check(self):
        assert self.process.poll() is None, "the command's output ended"
        assert self.lines == list(range(1, len(self.lines) + 1)), f"lost or repeated: {self.lines[-5:]}"

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Connection(threading.Thread):
    """A connection through the gateway to a port in the guest, on which every byte comes back."""

    def __init__(self, sandbox):
        super().__init__(daemon=True)
        host, port = fleet.gateway.addresses["tenants"].rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        self.socket.sendall((f"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n"
                             f"E2b-Sandbox-Id: {sandbox['sandboxID']}\r\nE2b-Sandbox-Port: {PORT}\r\n\r\n").encode())
        head = b""
        while b"\r\n\r\n" not in head:
            more = self.socket.recv(4096)
            assert more, f"no connection: {head}"
            head += more
        assert head.startswith(b"HTTP/1.1 101"), head
        self.rounds, self.fault, self.stopping = 0, None, False

    def run(self):
        try:
            while not self.stopping:
                said = b"%08d" % self.rounds * 512
                self.socket.sendall(said)
                heard = b""
                while len(heard) < len(said):
                    more = self.socket.recv(65536)
                    if not more:
                        raise OSError("closed")
                    heard += more
                if heard != said:
                    raise OSError("other bytes came back")
                self.rounds += 1
                time.sleep(0.02)
        except OSError as error:
            self.fault = self.fault or repr(error)

    def check(self):
        assert not self.fault, self.fault


def version():
    rows = fleet.api("GET", "/v1/nodes", key=fleet.operator_key())[1]
    return rows[0].get("version")


def replaced(end):
    """One life of a sandbox across a change of agents and back."""
    key = fleet.tenant("upgrade")
    began = time.time()
    status, sandbox = fleet.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 600}, key=key)
    assert status == 201, sandbox
    assert fleet.in_guest(sandbox, "POST", "/files?path=/tmp/echo.py", body=ECHO,
                          headers={"Content-Type": "application/octet-stream"}.items())[0] == 200
    serve(key, sandbox)
    output = Output(key, sandbox)
    output.start()
    connection = wait_for("the connection", 30, lambda: connect(sandbox), 0.2)
    connection.start()
    wait_for("output", 20, lambda: len(output.lines) > 5)
    agent = fleet.agents[0]
    old = agent.argv[0]
    for program, wanted in ((os.path.join(NEWER, "bin", "flotilla-agent"), NEWER_VERSION), (old, None)):
        lines, rounds = len(output.lines), connection.rounds
        end(agent)
        time.sleep(0.5)  # it is away for a while
        agent.argv[0] = program
        agent.start()
        if wanted:
            wait_for("the newer agent", 20, lambda: version() == wanted)
        else:
            wait_for("the older agent", 20, lambda: version() != NEWER_VERSION)
        wait_for("more output", 10, lambda n=lines: len(output.lines) > n + 10)
        wait_for("more rounds", 10, lambda n=rounds: connection.rounds > n + 10)
        output.check()
        connection.check()
    connection.stopping = True
    connection.join(10)
    connection.check()
    output.check()
    output.close()
    assert fleet.api("DELETE", f"/sandboxes/{sandbox['sandboxID']}", key=key)[0] == 204
    ran = time.time() - began

    def bill():
        rows = fleet.api("GET", "/v1/usage", key=key)[1]["sandboxes"]
        return rows[0] if rows and rows[0]["endedAt"] else None
    row = wait_for("the bill", 20, bill)
    assert abs(row["seconds"] - ran) <= 1.5, (row, ran)


def serve(key, sandbox):
    env = {**os.environ, "FLOTILLA_API_URL": fleet.env(key)["E2B_API_URL"], "FLOTILLA_API_KEY": key,
           "FLOTILLA_GATEWAY_URL": fleet.env(key)["E2B_SANDBOX_URL"], "HOME": fleet.root}
    subprocess.run([os.path.join(BIN, "flotilla"), "sandbox", "exec", sandbox["sandboxID"], "--", "bash", "-c",
                    "setsid python3 /tmp/echo.py </dev/null >/dev/null 2>/tmp/echo.log &"], env=env, check=True, timeout=60)


def connect(sandbox):
    try:
        return Connection(sandbox)
    except (OSError, AssertionError):
        return None


def an_agent_told_to_stop_is_replaced_and_streams_go_on():
    replaced(lambda agent: agent.stop())


def an_agent_killed_is_replaced_and_streams_go_on():
    replaced(lambda agent: agent.kill(signal.SIGKILL))


if __name__ == "__main__":
    build_newer()
    with Fleet(agents=1) as fleet:
        run_tests([an_agent_told_to_stop_is_replaced_and_streams_go_on, an_agent_killed_is_replaced_and_streams_go_on])
