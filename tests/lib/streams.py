"""What a tenant holds open while the fleet changes under it: a command's output, and a connection into the guest."""
import os
import socket
import subprocess
import threading
import time

from fleet import BIN, wait_for

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
COUNT = "n=0; mkfifo /tmp/never; exec 4<>/tmp/never; while :; do n=$((n+1)); echo n=$n; read -t 0.1 -u 4; done"


class Output(threading.Thread):
    """A command that counts, ten lines a second, as the tenant sees it.  env: the command line's."""

    def __init__(self, env, sandbox):
        super().__init__(daemon=True)
        self.process = subprocess.Popen([os.path.join(BIN, "flotilla"), "sandbox", "exec", sandbox["sandboxID"], "--",
                                         "bash", "-c", COUNT], env={**os.environ, **env}, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, text=True)
        self.lines = []
        self.start()

    def run(self):
        for line in self.process.stdout:
            self.lines.append(int(line[2:]))

    def check(self):
        assert self.process.poll() is None, "the command's output ended"
        assert self.lines == list(range(1, len(self.lines) + 1)), f"lost or repeated: {self.lines[-5:]}"

    def check_goes_on(self, seconds=10):
        n = len(self.lines)
        wait_for("more output", seconds, lambda: len(self.lines) > n + 5)
        self.check()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Connection(threading.Thread):
    """A connection through the gateway (host:port) to a port in the guest, on which every byte comes back."""

    def __init__(self, gateway, sandbox):
        super().__init__(daemon=True)
        host, port = gateway.rsplit(":", 1)
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
        self.start()

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

    def check_goes_on(self, seconds=10):
        n = self.rounds
        wait_for("more rounds", seconds, lambda: self.rounds > n + 5)
        self.check()

    def close(self):
        self.stopping = True
        self.join(10)
        self.check()
        self.socket.close()


def serve_echo(fleet, env, sandbox):
    """Starts the echo in the guest."""
    status, answer = fleet.in_guest(sandbox, "POST", "/files?path=/tmp/echo.py", body=ECHO,
                                    headers={"Content-Type": "application/octet-stream"}.items())
    assert status == 200, answer
    subprocess.run([os.path.join(BIN, "flotilla"), "sandbox", "exec", sandbox["sandboxID"], "--", "bash", "-c",
                    "setsid python3 /tmp/echo.py </dev/null >/dev/null 2>/tmp/echo.log &"], env={**os.environ, **env},
                   check=True, timeout=60)


def connect(gateway, sandbox):
    """The first connection that the echo takes."""
    def attempt():
        try:
            return Connection(gateway, sandbox)
        except (OSError, AssertionError):
            return None
    return wait_for("the connection", 30, attempt, 0.2)
