#!/usr/bin/env python3
"""Processes on a terminal, as E2B's clients start and use them.

usage: terminal_test.py PROGRAM
"""
import base64
import os
import signal
import sys
import threading
import unittest

import host_test
from host_test import DEADLINE_S, GuestTest


class TerminalTest(GuestTest):
    def open(self, script, cols=80, rows=24, **fields):
        """A stream whose first event has been read, and its pid."""
        stream = self.guest.start(script, pty={"size": {"cols": cols, "rows": rows}}, **fields)
        return stream, stream.pid()

    def send(self, pid, data, kind="pty"):
        return self.guest.call("process.Process/SendInput", {
            "process": {"pid": pid}, "input": {kind: base64.b64encode(data).decode()}})

    def resize(self, pid, **size):
        return self.guest.call("process.Process/Update",
                               {"process": {"pid": pid}, "pty": {"size": size}})

    def kill(self, pid, name="SIGNAL_SIGKILL"):
        return self.guest.call("process.Process/SendSignal",
                               {"process": {"pid": pid}, "signal": name})

    def until(self, stream, wanted):
        """What the terminal shows up to and with some bytes."""
        shown = b""
        while wanted not in shown:
            event = stream.next()[1]["event"]
            self.assertEqual(list(event["data"]), ["pty"], event)
            data = base64.b64decode(event["data"]["pty"])
            self.assertTrue(0 < len(data) <= 16 * 1024)
            shown += data
        return shown

    def finish(self, stream):
        """(what the terminal still shows, the end event)"""
        shown, end = b"", None
        while True:
            flags, message = stream.next()
            if flags == 2:
                self.assertEqual(message, {})
                self.assertIsNone(stream.next())
                stream.close()
                return shown, end
            event = message["event"]
            end = event.get("end", end)
            shown += base64.b64decode(event.get("data", {}).get("pty", ""))


def foreground_of(pid):
    """The group of processes that has the terminal of this one."""
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rsplit(")", 1)[1].split()[5])


def name_of(pid):
    """What a process runs; None when it is gone."""
    try:
        with open(f"/proc/{pid}/comm") as comm:
            return comm.read().strip()
    except FileNotFoundError:
        return None


class Terminals(TerminalTest):
    def test_a_process_has_a_terminal_of_its_own(self):
        stream, pid = self.open("test -t 0 && test -t 1 && test -t 2 && stty size && "
                                "test -w /dev/tty && echo it is mine > /dev/tty; "
                                "ps -o pid=,sid=,tpgid= -p $$; exit 7", cols=101, rows=33)
        shown, end = self.finish(stream)
        lines = shown.decode().split("\r\n")
        self.assertEqual(lines[:2], ["33 101", "it is mine"])
        self.assertEqual([int(number) for number in lines[2].split()], [pid] * 3)
        self.assertEqual(end, {"exitCode": 7, "exited": True, "status": "exit status 7",
                               "error": "exit status 7"})

    @unittest.skipIf(os.getuid(), "only root can become somebody else")
    def test_the_terminal_belongs_to_its_user(self):
        authorization = "Basic " + base64.b64encode(b"nobody:").decode()
        stream, _ = self.open("id -un; stat -c %U $(tty); echo again > $(tty); echo err > /dev/stderr",
                              process={"cwd": "/"}, headers={"authorization": authorization})
        self.assertEqual(self.finish(stream)[0], b"nobody\r\nnobody\r\nagain\r\nerr\r\n")

    def test_a_shell_is_used_as_the_sdk_does(self):
        stream = self.guest.stream("process.Process/Start", {
            "process": {"cmd": "/bin/bash", "args": ["-i", "-l"],
                        "envs": {"TERM": "xterm-256color", "LANG": "C.UTF-8", "PS1": "$ "}},
            "pty": {"size": {"cols": 80, "rows": 24}}})
        pid = stream.pid()
        self.assertEqual(self.send(pid, b"echo $TERM $((6*7))\n"), (200, {}))
        self.until(stream, b"xterm-256color 42\r\n")
        self.send(pid, b"sleep 1000\n")
        self.until(stream, b"sleep 1000")
        host_test.wait_until(lambda: name_of(foreground_of(pid)) == "sleep")  # no longer a copy of the shell
        self.send(pid, b"\x03")  # ^C reaches what runs in the foreground
        self.send(pid, b"echo code $?\n")
        self.until(stream, b"code 130\r\n")
        self.send(pid, b"echo start; cat; echo end of cat\n")
        self.until(stream, b"start\r\n")
        self.send(pid, b"\x04")  # ^D is the end of its input
        self.until(stream, b"end of cat\r\n")
        self.send(pid, b"exit 9\n")
        self.assertEqual(self.finish(stream)[1]["exitCode"], 9)

    def test_a_new_size_is_told_and_known(self):
        stream, pid = self.open("trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.01; done")
        self.until(stream, b"ready")
        self.assertEqual(self.resize(pid, cols=132, rows=50), (200, {}))
        self.assertEqual(self.finish(stream)[0].strip(), b"50 132")

    def test_absurd_sizes_are_taken_or_refused_but_never_harm(self):
        stream, pid = self.open("read line; stty size", cols=0, rows=0)
        rows = [({"cols": 65535, "rows": 65535}, 200), ({"cols": 65536, "rows": 1}, 400),
                ({"cols": 1, "rows": 4294967295}, 400), ({"cols": 1 << 40, "rows": 1}, 400),
                ({"cols": -1, "rows": 1}, 400), ({"cols": "80", "rows": "24"}, 200),
                ({"cols": "x", "rows": 1}, 400), ({"cols": 1.5, "rows": 1}, 400),
                ({"cols": None}, 200), ({}, 200), ({"cols": 7, "rows": 9}, 200)]
        for size, wanted in rows:
            status, answer = self.resize(pid, **size)
            self.assertEqual(status, wanted, size)
            if wanted == 400:
                self.assertEqual(answer["code"], "invalid_argument")
        self.send(pid, b"\n")
        self.assertTrue(self.finish(stream)[0].endswith(b"9 7\r\n"))
        for pty in [1, {"size": 1}, {"size": {"cols": 70000}}]:
            error = self.guest.start("true", pty=pty).finish()[2]["error"]
            self.assertEqual(error["code"], "invalid_argument")

    def test_an_update_without_a_size_changes_nothing(self):
        stream, pid = self.open("read line; stty size", cols=44, rows=22)
        self.assertEqual(self.guest.call("process.Process/Update", {"process": {"pid": pid}}), (200, {}))
        self.send(pid, b"\n")
        self.assertTrue(self.finish(stream)[0].endswith(b"22 44\r\n"))

    def test_what_is_not_meant_for_terminals_is_refused(self):
        stream, pid = self.open("read line")
        status, answer = self.send(pid, b"x", kind="stdin")
        self.assertEqual((status, answer["code"]), (400, "failed_precondition"))
        self.assertIn("written to the pty, not the stdin", answer["message"])
        status, answer = self.guest.call("process.Process/CloseStdin", {"process": {"pid": pid}})
        self.assertEqual((status, answer["code"]), (400, "failed_precondition"))
        self.assertEqual(answer["message"], "error closing stdin: cannot close stdin for PTY process "
                         "— send Ctrl+D (0x04) instead")
        self.send(pid, b"\n")
        self.finish(stream)

    def test_what_is_meant_for_terminals_is_refused_elsewhere(self):
        stream = self.guest.start("read line", stdin=True)
        pid = stream.pid()
        status, answer = self.resize(pid, cols=1, rows=1)
        self.assertEqual((status, answer), (500, {
            "code": "internal", "message": "error resizing tty: tty not assigned to process"}))
        status, answer = self.send(pid, b"x")
        self.assertEqual((status, answer["code"]), (400, "failed_precondition"))
        self.assertIn("tty not assigned to process", answer["message"])
        self.send(pid, b"\n", kind="stdin")
        stream.finish()
        status, answer = self.resize(99999999, cols=1, rows=1)
        self.assertEqual((status, answer["code"]), (404, "not_found"))

    def test_all_that_was_written_before_the_end_is_shown(self):
        for _ in range(20):
            stream, _ = self.open("seq 1 20000")
            self.assertEqual(self.finish(stream)[0],
                             b"".join(b"%d\r\n" % number for number in range(1, 20001)))

    def test_much_input_arrives_whole(self):
        sent = os.urandom(300_000)
        path = self.path("got")
        stream, pid = self.open(f"stty raw -echo; echo ready; head -c {len(sent)} > {path}; echo done")
        self.until(stream, b"ready")
        for at in range(0, len(sent), 50_000):
            self.assertEqual(self.send(pid, sent[at:at + 50_000])[0], 200)
        self.until(stream, b"done")
        with open(path, "rb") as file:
            self.assertEqual(file.read(), sent)
        self.finish(stream)

    def test_its_end_hangs_up_what_it_leaves_behind(self):
        script = "stty -echo; sh -c 'echo $$; exec sleep 1000' & read line; " \
                 "sh -c 'trap \"\" HUP; echo $$; exec sleep 1000' & read line; exit 4"
        stream, pid = self.open(script)
        hung_up = int(self.until(stream, b"\n"))
        self.send(pid, b"\n")
        immune = int(self.until(stream, b"\n"))
        self.send(pid, b"\n")
        self.assertEqual(self.finish(stream)[1]["exitCode"], 4)  # though somebody still holds the terminal
        host_test.wait_until(lambda: not os.path.exists(f"/proc/{hung_up}"))
        os.kill(immune, signal.SIGKILL)

    def test_one_that_is_killed_ends_at_once(self):
        stream, pid = self.open("echo ready; sleep 1000")
        self.until(stream, b"ready")
        self.assertEqual(self.kill(pid), (200, {}))
        with self.assertRaises(ProcessLookupError):
            os.kill(pid, 0)
        self.assertEqual(self.finish(stream)[1], {
            "exitCode": -1, "exited": False, "status": "signal: killed", "error": "signal: killed"})
        self.assertEqual(self.kill(pid)[0], 404)

    def test_one_that_lets_go_of_its_terminal_can_take_it_up_again(self):
        gone, go_on = self.path("gone"), self.path("go-on")
        stream, pid = self.open("echo bye; exec < /dev/null > /dev/null 2>&1; "
                                f"touch {gone}; until test -e {go_on}; do sleep 0.01; done; "
                                "stty size > /dev/tty < /dev/tty; exit 3")
        self.assertEqual(self.until(stream, b"bye\r\n"), b"bye\r\n")
        host_test.wait_until(lambda: os.path.exists(gone))
        self.assertEqual(self.resize(pid, cols=3, rows=2)[0], 200)
        with open(go_on, "w"):
            pass
        shown, end = self.finish(stream)
        self.assertEqual((shown, end["exitCode"]), (b"2 3\r\n", 3))

    def test_it_can_be_left_and_found_again(self):
        stream, pid = self.open("echo ready; read line; echo got $line", tag="shell")
        self.until(stream, b"ready")
        stream.close()
        again = self.guest.stream("process.Process/Connect", {"process": {"tag": "shell"}})
        self.assertEqual(again.pid(), pid)
        self.send(pid, b"it\n")
        self.assertEqual(self.finish(again)[0], b"it\r\ngot it\r\n")

    def test_a_deadline_ends_it(self):
        # Long enough for the start to be told of on a busy machine.
        stream, pid = self.open("sleep 1000", headers={"connect-timeout-ms": "2000"})
        self.assertEqual(stream.finish()[2]["error"]["code"], "deadline_exceeded")
        late = self.guest.stream("process.Process/Connect", {"process": {"pid": pid}})
        self.assertEqual(late.finish()[2]["status"], "signal: killed")

    def test_what_cannot_start_leaves_no_terminal(self):
        open_n = lambda: len(os.listdir(f"/proc/{self.guest.process.pid}/fd"))
        before = open_n()
        for process in [{"cmd": "/no/such"}, {"cmd": "/bin/sh", "cwd": "/etc/passwd"}] * 50:
            error = self.guest.stream("process.Process/Start", {
                "process": process, "pty": {"size": {"cols": 1, "rows": 1}}}).finish()[2]["error"]
            self.assertEqual(error["code"], "invalid_argument")
        host_test.wait_until(lambda: open_n() < before + 3)  # connections that we closed, it may still close

    def test_many_at_a_time_each_show_their_own(self):
        shown = {}

        def use(number):
            stream, pid = self.open(f"read line; echo {number}-$line")
            self.send(pid, b"x\n")
            shown[number] = self.finish(stream)[0]
        threads = [threading.Thread(target=use, args=(number,)) for number in range(60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
        self.assertEqual(shown, {number: b"x\r\n%d-x\r\n" % number for number in range(60)})

    def test_one_that_nobody_hears_is_not_held_up(self):
        stream, _ = self.open(f"read line; seq 1 300000; echo done > {self.path('done')}", tag="unheard")
        stream.close()
        self.guest.call("process.Process/SendInput", {
            "process": {"tag": "unheard"}, "input": {"pty": base64.b64encode(b"\n").decode()}})
        host_test.wait_until(lambda: os.path.exists(self.path("done")))


if __name__ == "__main__":
    host_test.PROGRAM = sys.argv.pop(1)
    unittest.main()
