"""Network namespaces of a test's own: nothing in them has a name that could be left behind."""
import ctypes
import fcntl
import os
import struct
import subprocess
import threading

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000


def _in_thread(enter, run):
    """What run returns, from a thread of its own, which alone is in the other namespace."""
    result = {}

    def body():
        try:
            enter()
            result["value"] = run()
        except BaseException as fault:  # told by whoever asked
            result["fault"] = fault

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if "fault" in result:
        raise result["fault"]
    return result["value"]


class Namespace:
    def __init__(self, here=False):
        """A new one; here: and the calling process goes into it, before it has threads."""
        if here and libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare: root is needed")
        if here:
            self.fd = os.open("/proc/self/ns/net", os.O_RDONLY)
            self.ip("link", "set", "lo", "up")
            return

        def enter():
            if libc.unshare(CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "unshare: root is needed")

        self.fd = _in_thread(enter, lambda: os.open("/proc/thread-self/ns/net", os.O_RDONLY))
        self.ip("link", "set", "lo", "up")

    def run(self, function):
        """Sockets made and processes started by function belong to the namespace for ever."""
        return _in_thread(lambda: libc.setns(self.fd, CLONE_NEWNET), function)

    def call(self, *words):
        return self.run(lambda: subprocess.run(words, check=True, capture_output=True, text=True).stdout)

    def ip(self, *words):
        return self.call("ip", *words)

    def popen(self, words, **how):
        return self.run(lambda: subprocess.Popen(words, **how))

    def tap(self, name):
        def make():
            fd = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
            return fd

        return self.run(make)

    def close(self):
        os.close(self.fd)


def join(one, one_address, other, other_address):
    """A wire between two, with an address and its prefix at each end; the ends are named for the addresses."""
    names = []
    for address in (one_address, other_address):
        names.append("e" + "".join(c for c in address.split("/")[0] if c.isdigit())[-10:])
    one.ip("link", "add", names[0], "type", "veth", "peer", "name", names[1])
    one.ip("link", "set", names[1], "netns", f"/proc/{os.getpid()}/fd/{other.fd}")
    for end, name, address in ((one, names[0], one_address), (other, names[1], other_address)):
        end.ip("address", "add", address, "dev", name)
        end.ip("link", "set", name, "up")
