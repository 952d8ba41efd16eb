"""A network of the test's own: machines in network namespaces, and a router between them that can cut, delay and lose.

    network = Network(["a", "b"])      # this process moves into a namespace of its own, as machine "test"
    network.run("a")                   # argv prefix that starts a program on that machine
    network.address("a")               # its address
    network.cut("a", "b")              # one way; restore(...) ends it
    network.trouble("a", "b", delay_ms=50, loss=0.1)
    network.close()

Every machine has one TUN device; the router is a process that holds them all and forwards IPv4 packets by their
destination.  There is no netem on many machines, and none is needed.
"""
import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
SUBNET = "10.213.7"
libc = ctypes.CDLL(None, use_errno=True)


def check(result):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def make_tun(address):
    """A TUN device in the namespace this process is in."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"net0", IFF_TUN | IFF_NO_PI))
    ip("link", "set", "lo", "up")
    ip("addr", "add", f"{address}/24", "dev", "net0")
    ip("link", "set", "net0", "up", "mtu", "1400", "txqueuelen", "2000")
    return fd


class Network:
    def __init__(self, machines):
        self.machines = ["test", *machines]
        self.holders = {}
        check(libc.unshare(CLONE_NEWNET))
        own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        tuns = {"test": make_tun(self.address("test"))}
        for name in machines:
            holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL)
            self.holders[name] = holder
            namespace = self._namespace(holder.pid, own)
            check(libc.setns(namespace, CLONE_NEWNET))
            tuns[name] = make_tun(self.address(name))
            check(libc.setns(own, CLONE_NEWNET))
            os.close(namespace)
        ours, theirs = socket.socketpair()
        self.router = os.fork()
        if self.router == 0:
            ours.close()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            try:
                Router({self.address(name): fd for name, fd in tuns.items()}, theirs).run()
            finally:
                os._exit(1)
        theirs.close()
        for fd in tuns.values():
            os.close(fd)
        self.control = ours

    @staticmethod
    def _namespace(pid, own):
        end = time.monotonic() + 10
        while time.monotonic() < end:  # until unshare has done its work
            fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            if os.fstat(fd).st_ino != os.fstat(own).st_ino:
                return fd
            os.close(fd)
            time.sleep(0.002)
        raise OSError("no namespace")

    def address(self, name):
        return f"{SUBNET}.{self.machines.index(name) + 1}"

    def run(self, name):
        return ["nsenter", f"--net=/proc/{self.holders[name].pid}/ns/net", "--"]

    def _say(self, source, target, **conditions):
        self.control.sendall(json.dumps({"from": self.address(source), "to": self.address(target), **conditions})
                             .encode() + b"\n")

    def cut(self, source, target):
        self._say(source, target, loss=1)

    def trouble(self, source, target, delay_ms=0, loss=0):
        self._say(source, target, delay_ms=delay_ms, loss=loss)

    def restore(self, source, target):
        self._say(source, target)

    def close(self):
        os.kill(self.router, signal.SIGKILL)
        os.waitpid(self.router, 0)
        for holder in self.holders.values():
            holder.kill()
            holder.wait()


class Router:
    def __init__(self, tuns, control):
        self.tuns, self.control = tuns, control
        self.conditions = {}  # (source, target): (delay_s, loss)
        self.delayed, self.order = [], 0
        self.rest = b""

    def read_control(self):
        data = self.control.recv(65536)
        if not data:
            os._exit(0)
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in map(json.loads, lines):
            link = (socket.inet_aton(line["from"]), socket.inet_aton(line["to"]))
            self.conditions[link] = (line.get("delay_ms", 0) / 1000, line.get("loss", 0))

    def send(self, target, packet):
        try:
            os.write(target, packet)
        except OSError:
            pass  # its queue is full: lost, as on any network

    def forward(self, packet, targets):
        target = targets.get(packet[16:20])
        if target is None or packet[0] >> 4 != 4:
            return
        delay, loss = self.conditions.get((packet[12:16], packet[16:20]), (0, 0))
        if loss and random.random() < loss:
            return
        if delay:
            self.order += 1
            heapq.heappush(self.delayed, (time.monotonic() + delay, self.order, target, packet))
        else:
            self.send(target, packet)

    def run(self):
        targets = {socket.inet_aton(address): fd for address, fd in self.tuns.items()}
        poll = select.epoll()
        for fd in [*targets.values(), self.control.fileno()]:
            poll.register(fd, select.EPOLLIN)
        while True:
            wait = max(0, self.delayed[0][0] - time.monotonic()) if self.delayed else -1
            for fd, _ in poll.poll(wait):
                if fd == self.control.fileno():
                    self.read_control()
                    continue
                for _ in range(64):
                    try:
                        self.forward(os.read(fd, 65536), targets)
                    except BlockingIOError:
                        break
            now = time.monotonic()
            while self.delayed and self.delayed[0][0] <= now:
                _, _, target, packet = heapq.heappop(self.delayed)
                self.send(target, packet)


def self_test():
    """Packets arrive, are cut one way, are delayed."""
    network = Network(["a", "b"])
    try:
        def ping():
            return subprocess.run([*network.run("a"), sys.executable, "-c", (
                "import socket,sys,time\n"
                "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(0.5)\n"
                f"s.connect(('{network.address('test')}',7007)); t=time.monotonic(); s.send(b'x')\n"
                "s.recv(1); print(time.monotonic()-t)")], capture_output=True, text=True)
        echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        echo.bind((network.address("test"), 7007))
        if os.fork() == 0:
            while True:
                data, sender = echo.recvfrom(10)
                echo.sendto(data, sender)
        assert float(ping().stdout) < 0.5
        network.cut("test", "a")
        assert ping().returncode != 0
        network.trouble("test", "a", delay_ms=100)
        assert float(ping().stdout) > 0.09
        print("ok")
    finally:
        network.close()
        os.killpg(0, signal.SIGTERM)


if __name__ == "__main__":
    os.setpgrp()
    self_test()
