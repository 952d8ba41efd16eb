#!/usr/bin/env python3
"""
What a sandbox's keeper of its network lets through, by the real program: the test plays the shim and the
sandbox, whose packets go by hand from a tap of its own to the one that QEMU would get.

usage: keeper_test.py FLOTILLA-EGRESS
"""
import array
import os
import select
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
import netns  # noqa: E402
from internet import DNS, HOST, World  # noqa: E402

PROGRAM = sys.argv[1]
ALL = "0.0.0.0/0"


# ---- the rules on the wire: msgpack maps of tags, as proto/wire.def has them ----

def _integer(value):
    return struct.pack(">BI", 0xCE, value)


def _list(items):
    return struct.pack(">BH", 0xDC, len(items)) + b"".join(items)


def _range(text):
    address, _, bits = text.partition("/")
    number = struct.unpack(">I", socket.inet_aton(address))[0]
    fields = [(1, number)] if number else []
    if int(bits or 32):
        fields.append((2, int(bits or 32)))
    return bytes([0x80 | len(fields)]) + b"".join(bytes([tag]) + _integer(value) for tag, value in fields)


def _name(text):
    return b"\x81\x01" + bytes([0xD9, len(text)]) + text.encode()


def rules(allow=(), deny=(), names=()):
    fields = [(1, [_range(each) for each in allow]), (2, [_range(each) for each in deny]),
              (3, [_name(each) for each in names])]
    fields = [(tag, items) for tag, items in fields if items]
    return bytes([0x80 | len(fields)]) + b"".join(bytes([tag]) + _list(items) for tag, items in fields)


# ---- a sandbox ----

class Sandbox:
    def __init__(self, world, settings=f"dns={DNS}", **first):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel, self.change = ours, 0

        def begin():
            netns.libc.setns(world.host.fd, netns.CLONE_NEWNET)
            os.dup2(theirs.fileno(), 3)

        # By this thread, which stays: a keeper dies with the thread that started it.
        self.process = subprocess.Popen([PROGRAM, settings], pass_fds=[3], preexec_fn=begin)
        theirs.close()
        bytes_, ancillary, _, _ = ours.recvmsg(9000, socket.CMSG_SPACE(4))
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
        answer = self.channel.recv(9000)
        assert struct.unpack("=Q", answer[:8])[0] == self.change, answer
        return answer[8:]

    def connect(self, address, port=8080):
        connection = self.inside.run(lambda: socket.socket())
        connection.settimeout(10)
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
        self.inside.close()


# ---- promises ----

def nothing_passes_before_there_are_rules(world, make):
    sandbox = make()
    sandbox.allow(deny=[ALL])
    assert sandbox.asks("203.0.113.10") is None
    assert sandbox.looks_up("good.example") == 5, "a question carries data out"
    assert sandbox.looks_up("secret.good.example", at="203.0.113.53") == 5
    assert world.asked == [], world.asked


def all_but_closed_networks_is_reached(world, make):
    sandbox = make()
    assert sandbox.asks("203.0.113.10") == "203.0.113.10:8080 got 5"
    assert sandbox.looks_up("good.example") == ["203.0.113.10"]
    assert sandbox.looks_up("GOOD.example", at="203.0.113.53") == ["203.0.113.10"], "a server of its own choice"
    assert sandbox.looks_up("good.example", kind=28) == [], "there is no way by IPv6"
    assert sandbox.looks_up("nobody.example") == 3
    assert sandbox.sends_datagram("203.0.113.10", 7777, b"abc") == b"cba"
    for address in ("10.9.9.9", "127.0.0.1", "169.254.169.254", "169.254.0.22", "192.168.0.1", HOST):
        assert sandbox.asks(address, 80) is None, address
    assert sandbox.sends_datagram("10.9.9.9", 53, b"x", 0.3) is None


def an_operator_opens_networks(world, make):
    sandbox = make(f"dns={DNS};open=10.9.0.0/16,{HOST}/32")
    assert sandbox.asks("10.9.9.9") == "10.9.9.9:8080 got 5"
    assert sandbox.asks(HOST, 80) == f"{HOST}:80 got 5"
    sandbox.allow(deny=["10.0.0.0/8"])
    assert sandbox.asks("10.9.9.9") is None, "the tenant denies it still"


def addresses_are_allowed_and_denied(world, make):
    sandbox = make(deny=["203.0.113.10/31"], allow=["203.0.113.11"])
    assert sandbox.asks("203.0.113.10") is None
    assert sandbox.asks("203.0.113.11") == "203.0.113.11:8080 got 5", "allowed is more than denied"
    assert sandbox.sends_datagram("203.0.113.10", 7777, b"abc", 0.3) is None


def names_are_allowed(world, make):
    sandbox = make(deny=[ALL], names=["*.good.example", "private.example"])
    assert sandbox.gets("203.0.113.10", "www.good.example") .startswith("203.0.113.10:80 ")
    assert sandbox.greets("203.0.113.10", "www.good.example").startswith("203.0.113.10:443 got ")
    assert sandbox.gets("203.0.113.10", "other.example") is None
    assert sandbox.greets("203.0.113.10", "other.example") is None
    assert sandbox.gets("203.0.113.10", "good.example") is None, "it is not below itself"
    assert sandbox.asks("203.0.113.10", 8080, b"\x00\x01 neither TLS nor HTTP") is None
    assert sandbox.gets("203.0.113.11", "www.good.example").startswith("203.0.113.10:80 "), "the name's own address"
    assert sandbox.gets("203.0.113.10", "private.example") is None, "a name opens no closed network"
    assert sandbox.looks_up("www.good.example") == ["203.0.113.10"]
    assert sandbox.looks_up("other.example") == 5
    asked = len(world.asked)
    assert sandbox.looks_up("data.evil.example", at="203.0.113.53") == 5 and len(world.asked) == asked


def a_greeting_in_pieces_is_waited_for(world, make):
    sandbox = make(deny=[ALL], names=["good.example"])
    with sandbox.connect("203.0.113.11", 80) as connection:
        for piece in (b"GET / HT", b"TP/1.1\r\nHo", b"st: good.example:80\r\n", b"\r\n"):
            connection.sendall(piece)
            time.sleep(0.05)
        assert b"203.0.113.10:80" in connection.recv(4096)
    assert sandbox.asks("203.0.113.10", 80, b"GET / HTTP/1.1\r\nHost: good.example\r\nHost: x\r\n\r\n") is None
    assert sandbox.asks("203.0.113.10", 80, b"GET http://x/ HTTP/1.1\r\nHost: good.example\r\n\r\n") is None


def rules_change_under_what_is_open(world, make):
    sandbox = make()
    connection, other = sandbox.connect("203.0.113.10"), sandbox.connect("203.0.113.11")
    for each in (connection, other):
        each.sendall(b"1")
        assert each.recv(100)
    sandbox.allow(deny=["203.0.113.10"])
    try:
        assert connection.recv(100) == b"", "reset or ended"
    except ConnectionError:
        pass
    other.sendall(b"2")
    assert other.recv(100) == b"2", "what is still allowed goes on"
    assert sandbox.asks("203.0.113.10") is None
    sandbox.allow()
    assert sandbox.asks("203.0.113.10")
    assert sandbox.send(b"\x81\x01\x01") != b"", "what is no rules changes nothing"
    assert sandbox.asks("203.0.113.10")
    other.close()
    connection.close()


def much_goes_both_ways_and_ends_by_halves(world, make):
    sandbox = make()
    sent = os.urandom(1 << 20) * 8
    got = bytearray()
    with sandbox.connect("203.0.113.10") as connection:
        connection.sendall(b"first")
        assert connection.recv(100) == b"203.0.113.10:8080 got 5\n"

        def send():
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        while piece := connection.recv(1 << 16):
            got += piece
        sender.join()
    assert bytes(got) == sent, (len(got), len(sent))


def connections_are_counted(world, make):
    sandbox = make(f"dns={DNS};connections=20")
    held = [sandbox.connect("203.0.113.10") for _ in range(20)]
    for each in held:
        each.sendall(b"x")
        assert each.recv(100)
    assert sandbox.asks("203.0.113.10") is None
    held.pop().close()
    deadline = time.monotonic() + 10
    while sandbox.asks("203.0.113.10") is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for each in held:
        each.close()


def sandboxes_do_not_reach_each_other(world, make):
    one, other = make(), make()
    server = other.inside.run(lambda: socket.create_server(("169.254.0.21", 8080)))
    server.settimeout(0.3)
    assert one.asks("169.254.0.21") is None
    assert one.asks("169.254.0.22") is None
    server.close()


def a_keeper_has_no_rights_left(world, make):
    sandbox = make()
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{sandbox.process.pid}/status").read_text().splitlines()
                  if ":\t" in line)
    assert int(status["CapEff"], 16) == 0 and int(status["CapPrm"], 16) == 0 and status["NoNewPrivs"] == "1", status
    assert status["Uid"].split() == ["65534"] * 4, status["Uid"]


def a_setting_that_is_none_is_refused(world, make):
    for settings in ("dns=name", "open=10.0.0.0/33", "connections=0", "connections=2501", "x=1", "dns"):
        told = subprocess.run([PROGRAM, settings], capture_output=True, text=True)
        assert told.returncode == 1 and settings.split(";")[0].split("=")[0] in told.stderr, told


def main():
    world = World()
    failed = False
    for test in (nothing_passes_before_there_are_rules, all_but_closed_networks_is_reached, an_operator_opens_networks,
                 addresses_are_allowed_and_denied, names_are_allowed, a_greeting_in_pieces_is_waited_for,
                 rules_change_under_what_is_open, much_goes_both_ways_and_ends_by_halves, connections_are_counted,
                 sandboxes_do_not_reach_each_other, a_keeper_has_no_rights_left, a_setting_that_is_none_is_refused):
        made = []

        def make(*settings, **rules_):
            made.append(Sandbox(world, *settings, **rules_))
            return made[-1]

        world.asked.clear()
        try:
            test(world, make)
            for each in made:
                each.close()
            print("ok", test.__name__, flush=True)
        except Exception as fault:
            import traceback
            traceback.print_exc()
            for each in made:
                each.process.kill()
            print("not ok", test.__name__, flush=True)
            failed = True
    world.close()
    os._exit(failed)


main()
