"""Both ends of a copy between two stores, around a real gateway, for tests and benches."""
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import tempfile

from fleet import Failed, free_port, wait_for

ID, ROOTFS = "5" * 40, "a" * 40
MIB = 1 << 20
INGRESS = bytes([0x81, 0x01, 0xC3])  # private_traffic


def derive(key, number, context, label, name, more=b"", n=32):
    subkey = hashlib.blake2b(key=key, digest_size=32, salt=number.to_bytes(8, "little") + bytes(8),
                             person=context + bytes(8)).digest()
    return hashlib.blake2b(label + name.encode() + (b"\0" + more if more else b""), key=subkey, digest_size=n).digest()


def large_files_with_holes(snapshot):
    with open(os.path.join(snapshot, "mem"), "wb") as file:
        file.truncate(300 * MIB)
        for at in range(0, 300, 10):
            file.seek(at * MIB + 1234)
            file.write(secrets.token_bytes(MIB // 2))
        file.seek(299 * MIB)
        file.write(bytes(MIB))  # zeros that are no hole
    with open(os.path.join(snapshot, "state"), "wb") as file:
        file.write(secrets.token_bytes(70000))
    open(os.path.join(snapshot, "disk.img"), "wb").close()
    os.truncate(os.path.join(snapshot, "disk.img"), 5 * MIB)


class World:
    def __init__(self, programs, make=None):
        """programs: where they are; make: fills snapshot/ID with what there is to copy."""
        self.programs = programs
        self.root = tempfile.mkdtemp(prefix="flotilla-carry-")
        self.key = secrets.token_bytes(32)
        self.children = []
        with open(os.open(self.path("key"), os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(self.key)
        self.tenants, self.tunnels = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.gateway = None
        self.start_gateway()
        self.make_store(make or large_files_with_holes)

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def start_gateway(self):
        ready = self.path("ready")
        if os.path.exists(ready):
            os.unlink(ready)
        self.gateway = subprocess.Popen([os.path.join(self.programs, "flotilla-gateway"), "--listen", self.tenants, "--tunnel-listen",
                                         self.tunnels, "--fleet-key", self.path("key"), "--timeout-grace", "0s",
                                         "--ready-file", ready], stderr=subprocess.DEVNULL)
        wait_for("the gateway", 20, lambda: os.path.exists(ready))

    def stop_gateway(self):
        self.gateway.kill()
        self.gateway.wait()

    def make_store(self, make):
        """A template that no QEMU could load, but that has what matters here."""
        snapshot, rootfs = self.path("from", "snapshot", ID), self.path("from", "rootfs", ROOTFS)
        os.makedirs(snapshot), os.makedirs(rootfs)
        make(snapshot)
        with open(os.path.join(snapshot, "manifest.json"), "w") as file:
            json.dump({"format": 1, "name": "base", "id": ID, "rootfs": ROOTFS, "guest": "b" * 40, "vcpus": 1, "mem_mib": 300,
                       "disk_mib": 64, "accel": "tcg", "qemu": "0", "machine": "of no emulator", "created_wall_ns": 1}, file)
        with open(os.path.join(rootfs, "rootfs.img"), "wb") as file:
            file.write(secrets.token_bytes(3 * MIB + 17))
        os.chmod(os.path.join(rootfs, "rootfs.img"), 0o444)

    def carry(self, what, number, store, **words):
        name = f"x{number:020d}"
        child = subprocess.Popen([os.path.join(self.programs, "flotilla-carry"), what], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.children.append(child)
        words = {"store": self.path(store), "name": "base", "id": ID, "transfer": name, **words}
        child.stdin.write("".join(f"{word} {value}\n" for word, value in words.items()) + "\n")
        child.stdin.flush()
        return child

    def send(self, number, **words):
        """The sender, and the digest of what it offers."""
        ticket = derive(self.key, 1, b"gatewayk", b"flotilla-ticket-1", f"x{number:020d}", INGRESS)
        child = self.carry("send", number, "from", gateway=self.tunnels, ticket=ticket.hex(), ingress=INGRESS.hex(),
                           **words)
        return child, said(child, "offered").split()[2]

    def token(self, number):
        return derive(self.key, 3, b"trfctokn", b"flotilla-traffic-1", f"x{number:020d}", n=24).hex()

    def fetch(self, number, digest, url=None, store="to", **words):
        return self.carry("fetch", number, store, url=url or "http://" + self.tenants, token=self.token(number), digest=digest, **words)

    def fetched(self, digest, store="to"):
        return self.path(store, "fetch", digest)

    def make_saved(self, folder):
        """What is saved of a sandbox of that template, as far as anything looks at it on the way."""
        os.makedirs(folder)
        for name, data in (("disk.qcow2", secrets.token_bytes(3 * MIB) + bytes(2 * MIB)), ("memory", secrets.token_bytes(40 * 4096)),
                           ("device", secrets.token_bytes(90001)), ("envs", b'{"SECRET":"value"}')):
            with open(os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
                file.write(data)
        with open(os.open(os.path.join(folder, "manifest.json"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            json.dump({"format": 1, "vm": "vm3", "save": 9, "template": ID, "machine": "of no emulator", "qemu": "0", "accel": "tcg",
                       "vcpus": 1, "mem_mib": 300, "disk_mib": 64, "has_memory": True, "pages_n": 39, "runs_n": 4, "memory_sum": 1,
                       "device_bytes": 90001, "device_sum": 1, "disk_bytes": 5 * MIB, "bytes": 6 * MIB, "stopped_mono_ns": 1,
                       "stopped_wall_ns": 1}, file)

    def close(self):
        for child in self.children:
            child.kill()
            child.wait()
        self.stop_gateway()
        shutil.rmtree(self.root)


def said(child, word, seconds=60):
    """The first line of a child that begins with this word; any other end of it is a failure."""
    for line in child.stdout:
        if line.split()[0] == word:
            return line.strip()
        if line.startswith("failed"):
            raise Failed(line.strip())
    raise Failed(f"it ended without `{word}`")
