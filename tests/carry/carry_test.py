"""Copies of templates between two stores, by way of a real gateway: what arrives is what was sent, holes
and all; what is cut off goes on; what is meddled with is refused; and nobody else can fetch it."""
import http.client
import os
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from carrying import ID, MIB, World, said  # noqa: E402
from fleet import Failed, wait_for  # noqa: E402

BIN = sys.argv.pop(1)
def install(child):
    """The fault that it ends by."""
    child.stdin.write("install\n")
    child.stdin.flush()
    try:
        said(child, "installed")
    except Failed as failed:
        return str(failed)
    raise Failed("it was installed")


def same(a, b):
    listing = sorted(os.path.relpath(os.path.join(folder, name), a) for folder, _, names in os.walk(a) for name in names
                     if "/snapshot/" in folder + "/" or "/rootfs/" in folder + "/")
    assert len(listing) == 5, listing
    for name in listing:
        one, other = os.path.join(a, name), os.path.join(b, name)
        assert os.stat(one).st_size == os.stat(other).st_size, name
        assert os.stat(one).st_mode == os.stat(other).st_mode, name
        with open(one, "rb") as x, open(other, "rb") as y:
            while piece := x.read(MIB):
                assert piece == y.read(MIB), name


def fails(child, refusal):
    try:
        said(child, "arrived")
    except Failed as failed:
        assert str(failed).startswith(f"failed {refusal} "), failed
        child.wait(10)
        return str(failed)
    raise Failed(f"it arrived, and should fail by {refusal}")


class Relay:
    """Between fetcher and gateway: passes bytes on, slowly or changed, and can be cut."""

    def __init__(self, world, change=None, rate=None):
        self.to, self.change, self.rate = world.tenants, change, rate
        self.passed, self.cut = 0, threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://%s:%d" % self.listener.getsockname()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            near, _ = self.listener.accept()
            host, port = self.to.split(":")
            try:
                far = socket.create_connection((host, int(port)))
            except OSError:
                near.close()
                continue
            for a, b, back in ((near, far, False), (far, near, True)):
                threading.Thread(target=self.pass_on, args=(a, b, back), daemon=True).start()

    def pass_on(self, a, b, back):
        try:
            while data := a.recv(65536):
                if back:
                    self.passed += len(data)
                    if self.rate:
                        time.sleep(len(data) / self.rate)
                    if self.change:
                        data = self.change(data)
                if self.cut.is_set():
                    break
                b.sendall(data)
        except OSError:
            pass
        for it in (a, b):
            try:
                it.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def what_arrives_is_what_was_sent_holes_and_all(world):
    _, digest = world.send(1)
    child = world.fetch(1, digest)
    assert said(child, "arrived") == f"arrived {digest} {ID}"
    same(world.path("from"), world.fetched(digest))
    mem = os.path.join("snapshot", ID, "mem")
    sent, got = (os.stat(os.path.join(path, mem)).st_blocks for path in (world.path("from"), world.fetched(digest)))
    assert got < sent - 1900, (sent, got)  # not even its zeros
    assert not os.path.exists(world.path("to", "snapshot")) and not os.path.exists(world.path("to", "name"))
    # Nothing is installed that this host cannot restore.
    assert install(child).startswith("failed transfer_unusable ")
    assert not os.path.exists(world.path("to", "snapshot", ID)) and not os.path.exists(world.path("to", "name", "base"))


def what_was_cut_off_goes_on_where_it_was(world):
    _, digest = world.send(2)
    relay = Relay(world, rate=4 * MIB)
    child = world.fetch(2, digest, relay.url, "cut")
    wait_for("a part of it", 30, lambda: relay.passed > 7 * MIB)
    child.kill()
    child.wait()
    # What is there is not believed unseen: a piece that a crash or somebody spoiled is fetched again.
    mem = os.path.join(world.fetched(digest, "cut"), "snapshot", ID, "mem")
    with open(mem, "r+b") as file:
        file.seek(5 * MIB)  # in a hole
        file.write(b"rubbish")
    again = Relay(world)
    said(world.fetch(2, digest, again.url, "cut"), "arrived")
    same(world.path("from"), world.fetched(digest, "cut"))
    assert again.passed < 15 * MIB, again.passed  # of 18


def a_gateway_and_a_sender_that_are_started_again_only_delay_it(world):
    sender, digest = world.send(3)
    relay = Relay(world, rate=6 * MIB)
    child = world.fetch(3, digest, relay.url, "restarts")
    wait_for("a part of it", 30, lambda: relay.passed > 2 * MIB)
    world.stop_gateway()
    world.start_gateway()
    wait_for("more of it", 30, lambda: relay.passed > 6 * MIB)
    sender.kill()
    sender.wait()
    _, same_digest = world.send(3)
    assert same_digest == digest
    said(child, "arrived")
    same(world.path("from"), world.fetched(digest, "restarts"))


def what_a_relay_changes_is_refused(world):
    _, digest = world.send(4)
    flips = iter(range(1 << 30))

    def change(data):  # one bit of each so many reads, in what is most of it: pieces
        return data[:-1] + bytes([data[-1] ^ 1]) if len(data) > 4096 and next(flips) % 64 == 7 else data

    child = world.fetch(4, digest, Relay(world, change).url, "changed")
    try:
        said(child, "arrived")
        same(world.path("from"), world.fetched(digest, "changed"))  # it was asked for again
    except Failed as failed:
        assert str(failed).startswith("failed transfer_corrupt "), failed
    always = Relay(world, lambda data: data[:-1] + bytes([data[-1] ^ 1]) if len(data) > 4096 else data)
    fails(world.fetch(4, digest, always.url, "always"), "transfer_corrupt")
    fails(world.fetch(4, "0" * 64, None, "other"), "transfer_corrupt")


def nobody_else_can_fetch_it(world):
    world.send(5)
    for headers, status in (({}, 401), ({"e2b-traffic-access-token": "0" * 48}, 401), ({"e2b-traffic-access-token": world.token(4)}, 401),
                            ({"e2b-traffic-access-token": world.token(5)}, 200)):
        connection = http.client.HTTPConnection(world.tenants, timeout=10)
        connection.request("GET", "/listing", headers={"e2b-sandbox-id": f"x{5:020d}", "e2b-sandbox-port": "1", **headers})
        got = connection.getresponse().status
        assert got == status or (status == 401 and got in (401, 403)), (headers, got)
        connection.close()
    connection = http.client.HTTPConnection(world.tenants, timeout=10)
    for path in ("/", "/piece/0/99", "/piece/99/0", "/piece/0/0/../../key", "/piece/-1/0", "/listing/", "/piece/4294967296/0"):
        connection.request("GET", path, headers={"e2b-sandbox-id": f"x{5:020d}", "e2b-sandbox-port": "1",
                                                 "e2b-traffic-access-token": world.token(5)})
        answer = connection.getresponse()
        assert answer.status == 404, (path, answer.status)
        answer.read()


def a_full_disk_is_told_and_leaves_nothing_offered(world):
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", _made(world.path("small"))],
                                           capture_output=True).returncode:
        print("skip carry.a_full_disk_is_told_and_leaves_nothing_offered: no file system can be mounted here")
        return
    try:
        _, digest = world.send(6)
        fails(world.fetch(6, digest, None, "small"), "transfer_no_space")
        assert os.listdir(world.path("small")) == ["fetch"]
    finally:
        subprocess.run(["umount", world.path("small")], check=True)


def what_is_saved_of_a_sandbox_travels_as_well(world):
    folder = world.path("paused", "vm3", "saved")
    world.make_saved(folder)
    sender, digest = world.send(7, saved=folder)
    child = world.fetch(7, digest, saved=world.path("vms", "vm9"))
    assert said(child, "arrived") == f"arrived {digest} {ID}"
    got = world.path("vms", "fetch", digest, "saved", ID)
    assert sorted(os.listdir(got)) == sorted(os.listdir(folder))
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as one, open(os.path.join(got, name), "rb") as other:
            assert one.read() == other.read(), name
        assert os.stat(os.path.join(got, name)).st_mode & 0o777 == 0o600, name
    # Without the template that it goes on from it is nothing; and nothing is left in its place.
    assert install(child).startswith("failed transfer_unusable ")
    assert not os.path.exists(world.path("vms", "vm9"))
    # It is never taken for a template, nor a template for it.
    fails(world.fetch(7, digest, None, "taken"), "transfer_corrupt")
    _, template = world.send(8)
    fails(world.fetch(8, template, saved=world.path("vms", "vm10")), "transfer_corrupt")


def _made(path):
    os.makedirs(path)
    return path


def main():
    world = World(BIN)
    failed = 0
    try:
        for test in (what_arrives_is_what_was_sent_holes_and_all, what_was_cut_off_goes_on_where_it_was,
                     a_gateway_and_a_sender_that_are_started_again_only_delay_it, what_a_relay_changes_is_refused,
                     nobody_else_can_fetch_it, what_is_saved_of_a_sandbox_travels_as_well, a_full_disk_is_told_and_leaves_nothing_offered):
            began = time.monotonic()
            try:
                test(world)
                print(f"ok carry.{test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
            except Exception:
                import traceback
                traceback.print_exc()
                failed += 1
                print(f"not ok carry.{test.__name__}", flush=True)
    finally:
        world.close()
    sys.exit(failed > 0)


main()
