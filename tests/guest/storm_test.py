#!/usr/bin/env python3
"""Many clients and bad ones at the guest's processes: nothing hangs, nothing leaks, nobody else notices.

usage: storm_test.py PROGRAM
"""
import base64
import json
import os
import random
import signal
import socket
import struct
import sys
import threading
import time
import unittest

import host_test
from host_test import DEADLINE_S, GuestTest, wait_until

SUBSCRIBERS_N = 300
STREAMS_N = 200


def in_threads(n, run):
    """Runs run(0) … run(n - 1) at a time; the first exception is raised again."""
    failures = []

    def guarded(number):
        try:
            run(number)
        except BaseException as failure:
            failures.append(failure)
    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * DEADLINE_S)
        assert not thread.is_alive(), "somebody hangs"
    if failures:
        raise failures[0]


def envelope(message):
    text = json.dumps(message).encode()
    return struct.pack(">BI", 0, len(text)) + text


class Storms(GuestTest):
    def setUp(self):
        super().setUp()
        self.guest.run("true")
        self.fds_n = self.fds()

    def tearDown(self):
        # Whatever happened, it lives, has forgotten nothing that it must close, and leaves no process.
        wait_until(lambda: not self.guest.call("process.Process/List", {})[1]["processes"])
        wait_until(lambda: self.fds() <= self.fds_n + 4)
        self.assertEqual(self.guest.run("echo alive")[0], b"alive\n")
        super().tearDown()

    def fds(self):
        return len(os.listdir(f"/proc/{self.guest.process.pid}/fd"))

    def resident_kib(self):
        with open(f"/proc/{self.guest.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    def send(self, pid, data=b"\n", kind="stdin"):
        return self.guest.call("process.Process/SendInput", {
            "process": {"pid": pid}, "input": {kind: base64.b64encode(data).decode()}})[0]

    def kill(self, pid):
        return self.guest.call("process.Process/SendSignal",
                               {"process": {"pid": pid}, "signal": "SIGNAL_SIGKILL"})[0]

    def raw(self, method, message):
        """A socket whose request is sent and whose answer nobody reads."""
        body = envelope(message)
        client = self.guest.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"POST /process.Process/%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/connect+json\r\n"
                       b"Content-Length: %d\r\n\r\n" % (method.encode(), len(body)) + body)
        return client

    def test_hundreds_listen_to_one_process(self):
        first = self.guest.start("read line; seq 1 20000; exit 3", stdin=True)
        pid = first.pid()
        others = [self.guest.stream("process.Process/Connect", {"process": {"pid": pid}})
                  for _ in range(SUBSCRIBERS_N)]
        for stream in others:
            stream.pid()
        self.assertEqual(self.send(pid), 200)
        wanted = b"".join(b"%d\n" % number for number in range(1, 20001))

        def hear(number):
            out, _, end = (first if number == SUBSCRIBERS_N else others[number]).finish()
            assert out == wanted and end["exitCode"] == 3, (len(out), end)
        in_threads(SUBSCRIBERS_N + 1, hear)

    def test_listeners_that_leave_in_the_middle_change_nothing_for_the_rest(self):
        first = self.guest.start("read line; for i in $(seq 200); do seq 1000; done", stdin=True)
        pid = first.pid()
        leavers = [self.raw("Connect", {"process": {"pid": pid}}) for _ in range(100)]
        time.sleep(0.2)
        self.assertEqual(self.send(pid), 200)

        def act(number):
            if number == len(leavers):
                assert len(first.finish()[0]) == 200 * 3893
                return
            time.sleep(random.random())
            leavers[number].close()
        in_threads(len(leavers) + 1, act)

    def test_two_hundred_streams_at_a_time(self):
        def use(number):
            stream = self.guest.start(f"read line; echo {number} $line; read line; exit {number}", stdin=True)
            pid = stream.pid()
            assert self.send(pid, b"first\n") == 200
            event = stream.next()[1]["event"]
            assert base64.b64decode(event["data"]["stdout"]) == b"%d first\n" % number, event
            assert self.send(pid) == 200
            end = stream.finish()[2]
            assert end["exitCode"] == number % 256, end
        in_threads(STREAMS_N, use)

    def test_readers_that_never_read_cost_little_and_nothing_once_gone(self):
        before = self.resident_kib()
        deaf = [self.raw("Start", {"process": {"cmd": "/usr/bin/yes"}}) for _ in range(60)]
        wait_until(lambda: len(self.guest.call("process.Process/List", {})[1]["processes"]) == 60)
        time.sleep(1)
        # A connection's own buffers, and what is on its way.
        self.assertLess(self.resident_kib() - before, 60 * 512)
        began = time.monotonic()
        self.assertEqual(self.guest.run("echo quick")[0], b"quick\n")
        self.assertLess(time.monotonic() - began, 10)
        for process in self.guest.call("process.Process/List", {})[1]["processes"]:
            self.assertEqual(self.kill(process["pid"]), 200)
        for client in deaf:
            client.close()

    def test_kills_from_everywhere_are_all_answered(self):
        for _ in range(5):
            stream = self.guest.start("trap '' TERM; while :; do sleep 0.01; done", stdin=False)
            pid = stream.pid()
            codes = []

            def attack(number):
                name = "SIGNAL_SIGKILL" if number == 25 else "SIGNAL_SIGTERM"
                for _ in range(4):
                    codes.append(self.guest.call("process.Process/SendSignal",
                                                 {"process": {"pid": pid}, "signal": name})[0])
            in_threads(50, attack)
            self.assertEqual(set(codes) - {200, 404}, set())
            self.assertEqual(len(codes), 200)
            self.assertFalse(stream.finish()[2]["exited"])

    def test_signallers_that_leave_before_the_answer_harm_nobody(self):
        stream = self.guest.start("trap '' TERM; echo ready; while :; do sleep 0.05; done", stdin=False)
        pid = stream.pid()
        stream.next()
        body = json.dumps({"process": {"pid": pid}, "signal": "SIGNAL_SIGTERM"}).encode()
        for _ in range(100):
            with self.guest.socket() as client:
                client.sendall(b"POST /process.Process/SendSignal HTTP/1.1\r\nHost: x\r\nContent-Type: application/json"
                               b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        self.assertEqual(self.kill(pid), 200)
        stream.finish()

    def test_writers_that_leave_before_their_input_is_taken_harm_nobody(self):
        stream = self.guest.start("sleep 0.7; exec wc -c", stdin=True)
        pid = stream.pid()
        data = base64.b64encode(bytes(30_000)).decode()
        body = json.dumps({"process": {"pid": pid}, "input": {"stdin": data}}).encode()
        clients = []
        for _ in range(50):
            client = self.guest.socket()
            client.sendall(b"POST /process.Process/SendInput HTTP/1.1\r\nHost: x\r\nContent-Type: application/json"
                           b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            clients.append(client)
        time.sleep(0.2)
        random.shuffle(clients)
        for client in clients:
            # As one that crashed: what had not been taken of its input is forgotten.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        time.sleep(0.1)
        self.assertEqual(self.guest.call("process.Process/CloseStdin", {"process": {"pid": pid}})[0], 200)
        self.assertLess(int(stream.finish()[0]), 50 * 30_000)

    def test_terminals_are_resized_and_typed_at_from_everywhere(self):
        stream = self.guest.start("stty -echo; while read line; do :; done",
                                  pty={"size": {"cols": 80, "rows": 24}})
        pid = stream.pid()
        reader = threading.Thread(target=lambda: [None for _ in iter(lambda: stream.next()[0], 2)])
        reader.start()

        def attack(number):
            for turn in range(20):
                size = {"cols": random.choice([0, 1, 80, 65535]), "rows": random.choice([0, 1, 24, 65535])}
                status = self.guest.call("process.Process/Update",
                                         {"process": {"pid": pid}, "pty": {"size": size}})[0]
                assert status == 200, status
                assert self.send(pid, b"x" * 500 + b"\n", kind="pty") == 200
        in_threads(20, attack)
        self.assertEqual(self.kill(pid), 200)
        reader.join(DEADLINE_S)
        stream.close()

    def test_ends_that_are_kept_make_room_for_what_is_new(self):
        def start(number):
            for _ in range(28):
                end = self.guest.start("exec true", stdin=False).finish()[2]
                assert end["exitCode"] == 0, end
        in_threads(40, start)  # 1120, within the time that ends are kept

    def test_the_number_of_processes_is_bounded_and_the_bound_is_told(self):
        pids = []

        def start(number):
            for _ in range(128):
                stream = self.guest.stream("process.Process/Start", {
                    "process": {"cmd": "/bin/sleep", "args": ["1000"]}, "stdin": False})
                pids.append(stream.pid())
                stream.close()
        in_threads(8, start)
        error = self.guest.run("true")[2]["error"]
        self.assertEqual(error["code"], "resource_exhausted")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.guest.call("process.Process/List", {})[1]["processes"])

    def test_a_stop_with_everything_under_way_is_clean(self):
        streams = [self.guest.start("sleep 1000", stdin=True) for _ in range(20)]
        streams += [self.guest.start("cat", pty={"size": {"cols": 1, "rows": 1}}) for _ in range(20)]
        pids = [stream.pid() for stream in streams]
        waiting = [self.raw("StreamInput", {"start": {"process": {"pid": pid}}}) for pid in pids]
        big = base64.b64encode(bytes(300_000)).decode()
        for pid in pids[:20]:
            body = json.dumps({"process": {"pid": pid}, "input": {"stdin": big}}).encode()
            client = self.guest.socket()
            client.sendall(b"POST /process.Process/SendInput HTTP/1.1\r\nHost: x\r\nContent-Type: application/json"
                           b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            waiting.append(client)
        time.sleep(0.3)
        self.guest.stop()  # and its code is looked at
        wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") and
                                   open(f"/proc/{pid}/stat").read().split()[2] != "Z" for pid in pids))
        for client in waiting:
            client.close()
        self.guest = host_test.Guest()


if __name__ == "__main__":
    signal.alarm(500)  # a hang is a failure
    host_test.PROGRAM = sys.argv.pop(1)
    unittest.main()
