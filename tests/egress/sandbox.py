"""
A sandbox played by hand: the test is its shim, which tells the keeper (the real program) the rules, and the
sandbox itself, whose packets go from a tap of its own to the one that QEMU would get.
"""
import array
import http.client
import os
import select
import socket
import ssl
import struct
import subprocess
import sys
import threading
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import netns  # noqa: E402
from internet import DNS  # noqa: E402

ALL = "0.0.0.0/0"
PACKET_MAX = 128 * 1024


# ---- the rules on the wire: msgpack maps of tags, as proto/wire.def has them ----

def _integer(value):
    return struct.pack(">BI", 0xCE, value)


def _text(text):
    return struct.pack(">BB", 0xD9, len(text.encode())) + text.encode()


def _bytes(bytes_):
    return struct.pack(">BH", 0xC5, len(bytes_)) + bytes_


def _list(items):
    return struct.pack(">BH", 0xDC, len(items)) + b"".join(items)


def _map(*fields):
    """Of (tag, how it is written, value); what is empty is left out."""
    fields = [(tag, write(value)) for tag, write, value in fields if value]
    return bytes([0x80 | len(fields)]) + b"".join(bytes([tag]) + value for tag, value in fields)


def _true(_):
    return b"\xc3"


def _range(text):
    address, _, bits = text.partition("/")
    return _map((1, _integer, struct.unpack(">I", socket.inet_aton(address))[0]), (2, _integer, int(bits or 32)))


def _header(name, value):
    if isinstance(value, Problem):
        return _map((1, _text, name), (3, _text, value.text))
    return _map((1, _text, name), (2, _bytes, value.encode()))


def _rule(host, headers):
    return _map((1, _text, host), (2, _list, [_header(*each) for each in headers.items()]))


class Problem:
    """In place of a field's value: why there is none."""

    def __init__(self, text):
        self.text = text


def rules(allow=(), deny=(), names=(), rules={}, mute=False, proxy=None, authority=None):
    """
    rules: {host: {field: value}}, with authority: a certificate (PEM) and its key (DER)
    proxy: {"host", "port" and, if need be, "user", "password", "tls", "tls_name", "tls_ca"}
    """
    proxy, (certificate, key) = proxy or {}, authority or (b"", b"")
    return _map((1, _list, [_range(each) for each in allow]), (2, _list, [_range(each) for each in deny]),
                (3, _list, [_map((1, _text, each)) for each in names]),
                (4, _list, [_rule(*each) for each in rules.items()]), (5, _true, mute),
                (6, _text, proxy.get("host")), (7, _integer, proxy.get("port")), (8, _text, proxy.get("user")),
                (9, _text, proxy.get("password")), (10, _true, proxy.get("tls")), (11, _text, proxy.get("tls_name")),
                (12, _bytes, proxy.get("tls_ca")), (13, _bytes, certificate), (14, _bytes, key))


# ---- a sandbox ----

class Sandbox:
    def __init__(self, program, world, settings=f"dns={DNS}", **first):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel, self.change = ours, 0

        def begin():
            netns.libc.setns(world.host.fd, netns.CLONE_NEWNET)
            os.dup2(theirs.fileno(), 3)

        # By this thread, which stays: a keeper dies with the thread that started it.
        self.process = subprocess.Popen([program, settings], pass_fds=[3], preexec_fn=begin)
        theirs.close()
        bytes_, ancillary, _, _ = ours.recvmsg(PACKET_MAX, socket.CMSG_SPACE(4))
        assert bytes_ == bytes(8), bytes_
        self.tap = array.array("i", ancillary[0][2])[0]
        self.inside = netns.Namespace()
        own = self.inside.tap("eth0")
        self.stop = os.pipe()
        self.pump = threading.Thread(target=self._carry, args=(own,), daemon=True)
        self.pump.start()
        self.inside.ip("address", "add", "169.254.0.21/30", "dev", "eth0")
        self.inside.ip("link", "set", "eth0", "up")
        self.inside.ip("route", "add", "default", "via", "169.254.0.22")
        self.allow(**first)

    def _carry(self, own):
        while True:
            for fd in select.select([own, self.tap, self.stop[0]], [], [])[0]:
                if fd == self.stop[0]:
                    os.close(own)
                    os.close(self.tap)
                    return
                try:
                    os.write(self.tap if fd == own else own, os.read(fd, 65536))
                except (BlockingIOError, OSError):
                    pass

    def allow(self, **what):
        answer = self.send(rules(**what))
        assert answer == b"", answer

    def send(self, bytes_):
        self.change += 1
        self.channel.send(struct.pack("=Q", self.change) + bytes_)
        answer = self.channel.recv(PACKET_MAX)
        assert struct.unpack("=Q", answer[:8])[0] == self.change, answer
        return answer[8:]

    def connect(self, address, port=8080, patience_s=10):
        connection = self.inside.run(lambda: socket.socket())
        connection.settimeout(patience_s)
        connection.connect((address, port))
        return connection

    def asks(self, address, port=8080, first=b"hello"):
        """What the far end says it was called as; None: it was not let through."""
        try:
            with self.connect(address, port) as connection:
                connection.sendall(first)
                return connection.recv(65536).decode().split("\n")[-2] or None
        except (ConnectionError, IndexError):
            return None

    def gets(self, address, name, port=80):
        return self.asks(address, port, f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())

    def greets(self, address, name, port=443):
        outgoing = ssl.MemoryBIO()
        try:
            ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self.asks(address, port, outgoing.read())

    def opens(self, address, name, trust=None, port=None):
        """For requests to a host, by TLS if there is an SSLContext; one connection and no other is used for all."""
        client = http.client.HTTPConnection(name)
        client.auto_open = 0
        client.sock = self.connect(address, port or (443 if trust else 80), 60)
        if trust:
            client.sock = trust.wrap_socket(client.sock, server_hostname=name)
        return client

    def looks_up(self, name, at="169.254.0.22", kind=1):
        """Addresses, or the code of a refusal, or None when nobody answers."""
        query = struct.pack(">HHHHHH", 4711, 0x100, 1, 0, 0, 0)
        for label in name.split("."):
            query += bytes([len(label)]) + label.encode()
        reply = self.sends_datagram(at, 53, query + struct.pack(">xHH", kind, 1))
        if reply is None:
            return None
        number, flags, _, answers = struct.unpack(">HHHH", reply[:8])
        assert number == 4711 and flags & 0x8000, reply
        if flags & 15:
            return flags & 15
        return [socket.inet_ntoa(reply[-4:])] if answers else []

    def sends_datagram(self, address, port, bytes_, patience_s=1.0):
        with self.inside.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
            client.settimeout(patience_s)
            client.connect((address, port))
            client.send(bytes_)
            try:
                return client.recv(4096)
            except (TimeoutError, ConnectionError):
                return None

    def close(self):
        self.channel.close()
        assert self.process.wait(10) == 0, self.process.returncode
        os.write(self.stop[1], b"x")
        self.pump.join()
        for fd in self.stop:
            os.close(fd)
        self.inside.close()


# ---- promises ----

def run(tests, program, world, before_each):
    """Each test gets the world and a maker of sandboxes, whose keepers must be well when it ends; the exit status."""
    failed = False
    for test in tests:
        made = []

        def make(*settings, **rules_):
            made.append(Sandbox(program, world, *settings, **rules_))
            return made[-1]

        before_each()
        try:
            test(world, make)
            for each in made:
                each.close()
            print("ok", test.__name__, flush=True)
        except Exception:  # told, and the others go on
            traceback.print_exc()
            for each in made:
                each.process.kill()
            print("not ok", test.__name__, flush=True)
            failed = True
    return failed
