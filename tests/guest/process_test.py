#!/usr/bin/env python3
"""What E2B's clients are promised of processes, beyond the first steps that host_test.py takes.

usage: process_test.py PROGRAM
"""
import base64
import grp
import json
import os
import pwd
import signal
import struct
import sys
import threading
import time
import unittest

import host_test
from host_test import DEADLINE_S, GuestTest, wait_until

NOBODY = {"authorization": "Basic " + base64.b64encode(b"nobody:").decode()}


def coded(data):
    return base64.b64encode(data).decode()


class ProcessTest(GuestTest):
    def of(self, pid):
        return {"process": {"pid": pid}}

    def kill(self, pid, name="SIGNAL_SIGKILL"):
        return self.guest.call("process.Process/SendSignal", {**self.of(pid), "signal": name})

    def write(self, pid, data):
        return self.guest.call("process.Process/SendInput", {**self.of(pid), "input": {"stdin": coded(data)}})

    def connect(self, pid, **headers):
        return self.guest.stream("process.Process/Connect", self.of(pid), headers)

    def refusal(self, method, message, status, code):
        """The text of a refused unary call."""
        got, answer = self.guest.call("process.Process/" + method, message)
        self.assertEqual((got, answer.get("code")), (status, code), answer)
        return answer["message"]


class Starts(ProcessTest):
    def test_every_wrong_start_has_its_code(self):
        cwd = self.path("a file")
        with open(cwd, "w"):
            pass
        rows = [
            ({}, "invalid_argument"),
            ({"process": {"cmd": "/bin/true", "cwd": cwd}}, "invalid_argument"),
            ({"process": {"cmd": "/bin/true", "cwd": "~nobody/x"}}, "invalid_argument"),
            ({"process": {"cmd": "/bin/true", "args": ["x" * 200_000]}}, "invalid_argument"),
            ({"process": {"cmd": self.folder}}, "invalid_argument"),
            ({"process": {"cmd": "/bin/true", "envs": {"A": None}}}, "invalid_argument"),
            ({"process": {"cmd": "/bin/true"}, "tag": {}}, "invalid_argument"),
        ]
        for message, code in rows:
            error = self.guest.stream("process.Process/Start", message).finish()[2]["error"]
            self.assertEqual(error["code"], code, message)
            self.assertTrue(error["message"])
        error = self.guest.start("true", process={"cwd": "/no where"}).finish()[2]["error"]
        self.assertEqual(error, {"code": "invalid_argument", "message": "cwd '/no where' does not exist"})
        self.assertEqual(self.guest.call("process.Process/List", {}), (200, {"processes": []}))

    def test_a_relative_folder_is_below_the_users_home(self):
        self.assertEqual(self.guest.run("pwd", process={"cwd": "."})[0].decode().strip(),
                         os.path.realpath(host_test.ME.pw_dir))
        self.assertEqual(self.guest.run("pwd", process={"cwd": "~"})[0].decode().strip(),
                         os.path.realpath(host_test.ME.pw_dir))

    def test_the_environment_is_login_then_sandbox_then_request(self):
        self.guest.request("POST", "/init", json.dumps({"envVars": {"A": "sandbox", "B": "sandbox", "USER": "me"}}))
        out = self.guest.run("env -0", process={"envs": {"B": "request", "EMPTY": ""}})[0]
        env = dict(line.split("=", 1) for line in out.decode().split("\0") if line)
        wanted = {"A": "sandbox", "B": "request", "EMPTY": "", "USER": "me", "LOGNAME": host_test.ME.pw_name,
                  "HOME": host_test.ME.pw_dir,
                  "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.assertEqual({name: env[name] for name in wanted}, wanted)
        self.assertLessEqual(set(env) - set(wanted), {"PWD", "SHLVL", "_", "OLDPWD"})

    def test_its_rank_is_ordinary_and_the_kernel_takes_it_first(self):
        out = self.guest.run("cat /proc/$$/oom_score_adj; nice; ionice -p $$; umask; ulimit -c")[0]
        self.assertEqual(out.decode().split("\n")[:4], ["100", "0", "best-effort: prio 4", "0022"])

    @unittest.skipIf(os.getuid(), "only root can become somebody else")
    def test_supplementary_groups_come_from_the_file_and_nowhere_else(self):
        script = "id -G; grep -E '^(Groups|Uid|Gid|CapEff|NoNewPrivs)' /proc/$$/status"
        user = pwd.getpwnam("nobody")
        stream = self.guest.start(script, process={"cwd": "/"}, headers=NOBODY)
        lines = stream.finish()[0].decode().splitlines()
        groups = {user.pw_gid} | {group.gr_gid for group in grp.getgrall() if "nobody" in group.gr_mem}
        self.assertEqual({int(gid) for gid in lines[0].split()}, groups)
        fields = dict(line.split(":\t") for line in lines[1:])
        self.assertEqual(fields["Uid"].split(), [str(user.pw_uid)] * 4)
        self.assertEqual(fields["Gid"].split(), [str(user.pw_gid)] * 4)
        self.assertEqual(int(fields["CapEff"], 16), 0)

    def test_nothing_of_ours_is_inherited(self):
        others = [self.guest.start("sleep 1000", stdin=True) for _ in range(3)]
        pids = [stream.pid() for stream in others]
        # Not through a pipe: the shell could still hold its ends.
        out = self.guest.run("ls /proc/$$/fd; grep -E 'Sig(Blk|Ign|Cgt)' /proc/self/status",
                             stdin=False)[0].decode().split("\n")
        self.assertEqual(set(out[:out.index("SigBlk:\t0000000000000000")]), {"0", "1", "2"})
        self.assertIn("SigIgn:\t0000000000000000", out)
        for pid, stream in zip(pids, others):
            self.kill(pid)
            stream.finish()

    def test_it_leads_a_session(self):
        out = self.guest.run("ps -o pid=,pgid=,sid= -p $$")[0].split()
        self.assertEqual(len(set(out)), 1)


class Ends(ProcessTest):
    def test_signals_have_the_names_that_go_gives_them(self):
        rows = {1: "hangup", 2: "interrupt", 3: "quit", 4: "illegal instruction", 5: "trace/breakpoint trap",
                6: "aborted", 7: "bus error", 8: "floating point exception", 9: "killed",
                10: "user defined signal 1", 11: "segmentation fault", 12: "user defined signal 2",
                13: "broken pipe", 14: "alarm clock", 15: "terminated", 16: "stack fault",
                24: "CPU time limit exceeded", 25: "file size limit exceeded", 26: "virtual timer expired",
                27: "profiling timer expired", 29: "I/O possible", 30: "power failure", 31: "bad system call",
                34: "signal 34", 64: "signal 64"}
        for number, name in rows.items():
            end = self.guest.run(f"ulimit -c 0; kill -{number} $$; sleep 10")[2]
            self.assertEqual(end["status"].replace(" (core dumped)", ""), "signal: " + name)
            self.assertEqual(end, {"exitCode": -1, "exited": False, "status": end["status"], "error": end["status"]})

    def test_codes_are_told(self):
        for code in 0, 1, 126, 255:
            text = f"exit status {code}"
            self.assertEqual(self.guest.run(f"exit {code}")[2],
                             {"exitCode": code, "exited": True, "status": text, **({"error": text} if code else {})})

    def test_a_grandchild_holds_up_the_end_unless_the_process_was_signalled(self):
        began = time.monotonic()
        self.assertEqual(self.guest.run("sleep 1 & echo parent; exit 0")[0], b"parent\n")
        self.assertGreater(time.monotonic() - began, 0.9)
        for name, status in ("SIGNAL_SIGKILL", "signal: killed"), ("SIGNAL_SIGTERM", "signal: terminated"):
            began = time.monotonic()
            stream = self.guest.start("sleep 1000 & echo $!; wait")
            pid, child = stream.pid(), int(base64.b64decode(stream.next()[1]["event"]["data"]["stdout"]))
            self.assertEqual(self.kill(pid, name)[0], 200)
            self.assertEqual(stream.finish()[2]["status"], status)
            self.assertLess(time.monotonic() - began, 30)
            os.kill(child, signal.SIGKILL)

    def test_a_grandchild_that_never_stops_writing_does_not_hold_up_the_end_either(self):
        stream = self.guest.start("for i in 1 2 3 4; do yes & all=\"$all $!\"; done; echo $all >&2; wait")
        pid, children = stream.pid(), None
        while children is None:
            event = stream.next()[1]["event"]["data"]
            children = base64.b64decode(event["stderr"]).split() if "stderr" in event else None
        done = []
        reader = threading.Thread(target=lambda: done.append(stream.finish()[2]))
        reader.start()
        self.assertEqual(self.kill(pid)[0], 200)
        reader.join(DEADLINE_S / 3)
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        self.assertFalse(reader.is_alive())
        self.assertEqual(done[0]["status"], "signal: killed")

    def test_all_that_was_written_before_a_kill_is_heard(self):
        for _ in range(10):
            stream = self.guest.start("head -c 60000 /dev/zero; kill -9 $$")
            stream.pid()
            time.sleep(0.05)
            self.assertEqual(len(stream.finish()[0]), 60000)

    def test_one_that_ignores_the_polite_signal_lives_and_the_answer_comes(self):
        stream = self.guest.start("trap '' TERM; echo ready; sleep 0.1; while :; do sleep 0.05; done", stdin=False)
        pid = stream.pid()
        stream.next()
        began = time.monotonic()
        self.assertEqual(self.kill(pid, "SIGNAL_SIGTERM"), (200, {}))
        self.assertLess(time.monotonic() - began, 10)
        os.kill(pid, 0)
        self.assertEqual(self.kill(pid, 9), (200, {}))  # enums may be numbers
        self.assertEqual(stream.finish()[2]["status"], "signal: killed")

    def test_numbers_name_signals_too(self):
        stream = self.guest.start("sleep 1000", stdin=False)
        pid = stream.pid()
        self.assertEqual(self.kill(pid, 15), (200, {}))
        self.assertEqual(stream.finish()[2]["status"], "signal: terminated")

    def test_an_end_is_forgotten_after_a_while(self):
        # Meanwhile one whose client never reads holds neither its pid nor its place in the list.
        stuffed = self.guest.start("exec head -c 30000000 /dev/zero", tag="stuffed")
        pid = stuffed.pid()
        time.sleep(1)
        self.assertEqual(self.kill(pid)[0], 200)
        with self.assertRaises(ProcessLookupError):
            os.kill(pid, 0)
        brief = self.guest.start("exit 6", tag="brief")
        brief.finish()
        self.assertEqual(self.guest.stream("process.Process/Connect", {"process": {"tag": "brief"}}).finish()[2]
                         ["exitCode"], 6)
        self.assertEqual(self.guest.call("process.Process/List", {})[1], {"processes": []})

        def is_forgotten():
            error = self.guest.stream("process.Process/Connect", {"process": {"tag": "brief"}}).finish()[2]
            return error.get("error") == {"code": "not_found", "message": "process with tag brief not found"}
        time.sleep(29)
        wait_until(is_forgotten)
        stuffed.close()
        self.assertEqual(self.guest.run("echo alive")[0], b"alive\n")


class Calls(ProcessTest):
    def test_a_list_tells_what_was_asked_for(self):
        first = self.guest.start("sleep 1000", tag="one", process={"envs": {"A": "b"}, "cwd": "/tmp"})
        second = self.guest.stream("process.Process/Start", {"process": {"cmd": "sleep", "args": ["1000"]}})
        pids = first.pid(), second.pid()
        listed = {process["pid"]: process for process in
                  self.guest.call("process.Process/List", {})[1]["processes"]}
        self.assertEqual(listed[pids[0]], {"pid": pids[0], "tag": "one", "config": {
            "cmd": "/bin/sh", "args": ["-c", "sleep 1000"], "envs": {"A": "b"}, "cwd": "/tmp"}})
        self.assertEqual(listed[pids[1]]["config"]["args"], ["1000"])
        self.assertNotIn("tag", listed[pids[1]])
        self.assertEqual(self.guest.call("process.Process/SendSignal", {
            "process": {"tag": "one"}, "signal": "SIGNAL_SIGKILL"})[0], 200)
        self.kill(pids[1])
        self.assertEqual(self.guest.call("process.Process/List", {})[1], {"processes": []})
        first.finish(), second.finish()

    def test_every_wrong_call_has_its_code(self):
        stream = self.guest.start("sleep 1000", stdin=False)
        mine = self.of(stream.pid())
        rows = [
            ("SendSignal", {"process": {"pid": 99999999}, "signal": 9}, 404, "not_found"),
            ("SendSignal", {"process": {"tag": "none"}, "signal": 9}, 404, "not_found"),
            ("SendSignal", {"process": {"pid": 4294967295}, "signal": 9}, 404, "not_found"),
            ("SendSignal", {"process": {"pid": 0}, "signal": 9}, 404, "not_found"),
            ("SendSignal", {"process": {"pid": -1}, "signal": 9}, 400, "invalid_argument"),
            ("SendSignal", {"process": {"pid": "many"}, "signal": 9}, 400, "invalid_argument"),
            ("SendSignal", {"process": {}, "signal": 9}, 501, "unimplemented"),
            ("SendSignal", {"signal": 9}, 501, "unimplemented"),
            ("SendSignal", mine, 501, "unimplemented"),
            ("SendSignal", {**mine, "signal": "SIGNAL_SIGSTOP"}, 501, "unimplemented"),
            ("SendSignal", {**mine, "signal": 19}, 501, "unimplemented"),
            ("SendInput", {**mine, "input": {"stdin": "eA=="}}, 400, "failed_precondition"),
            ("SendInput", {**mine, "input": {}}, 501, "unimplemented"),
            ("SendInput", mine, 501, "unimplemented"),
            ("SendInput", {"process": {"pid": 99999999}, "input": {"stdin": "eA=="}}, 404, "not_found"),
            ("CloseStdin", {"process": {"pid": 99999999}}, 404, "not_found"),
            ("Update", {**mine, "pty": {"size": {"cols": 1, "rows": 1}}}, 500, "internal"),
        ]
        for method, message, status, code in rows:
            self.refusal(method, message, status, code)
        self.assertEqual(self.refusal("SendSignal", {"process": {"pid": 99999999}, "signal": 9}, 404, "not_found"),
                         "process with pid 99999999 not found")
        self.assertEqual(self.refusal("SendInput", {**mine, "input": {"stdin": ""}}, 400, "failed_precondition"),
                         "error writing to stdin: stdin not enabled or closed")
        # Nothing to close is no error.
        self.assertEqual(self.guest.call("process.Process/CloseStdin", mine), (200, {}))
        status, body, _ = self.guest.request("POST", "/process.Process/List", "{", {"content-type": "application/json"})
        self.assertEqual((status, json.loads(body)["code"]), (400, "invalid_argument"))
        self.assertEqual(self.guest.request("POST", "/process.Process/List", "{}", {"content-type": "text/plain"})[0], 415)
        self.kill(mine["process"]["pid"])
        stream.finish()

    def test_closed_input_takes_no_more(self):
        stream = self.guest.start("cat; sleep 1000", stdin=True)
        pid = stream.pid()
        self.assertEqual(self.write(pid, b"all\n")[0], 200)
        heard = stream.next()[1]["event"]["data"]["stdout"]
        for _ in range(2):
            self.assertEqual(self.guest.call("process.Process/CloseStdin", self.of(pid)), (200, {}))
        self.assertEqual(self.write(pid, b"more")[1]["code"], "failed_precondition")
        self.kill(pid)
        self.assertEqual((base64.b64decode(heard), stream.finish()[0]), (b"all\n", b""))

    def test_input_for_one_who_closed_it_is_refused(self):
        stream = self.guest.start("exec <&-; echo closed; sleep 1000", stdin=True)
        pid = stream.pid()
        stream.next()
        self.assertEqual(self.write(pid, b"x")[1]["code"], "failed_precondition")
        self.kill(pid)
        stream.finish()

    def test_bad_base64_is_refused_and_nothing_is_written(self):
        stream = self.guest.start("cat", stdin=True)
        pid = stream.pid()
        status, answer = self.guest.call("process.Process/SendInput", {**self.of(pid), "input": {"stdin": "a b="}})
        self.assertEqual((status, answer["code"]), (400, "invalid_argument"))
        self.guest.call("process.Process/CloseStdin", self.of(pid))
        self.assertEqual(stream.finish()[0], b"")

    def test_keepalives_come_only_in_silence_and_to_everyone_at_their_pace(self):
        stream = self.guest.start("for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.25; done; read line",
                                  stdin=True, headers={"keepalive-ping-interval": "1"})
        pid = stream.pid()
        other = self.connect(pid, **{"keepalive-ping-interval": "2"})
        kinds = [list(stream.next()[1]["event"])[0] for _ in range(10)]
        self.assertEqual(kinds, ["data"] * 8 + ["keepalive"] * 2)
        self.write(pid, b"\n")
        stream.finish()
        kinds = []
        while (message := other.next())[0] == 0:
            kinds += list(message[1]["event"])
        self.assertLessEqual(kinds.count("keepalive"), 1)
        self.assertEqual(kinds[-1], "end")

    def test_a_connections_deadline_ends_the_call_and_not_the_process(self):
        stream = self.guest.start("read line; echo got $line", stdin=True)
        pid = stream.pid()
        late = self.connect(pid, **{"connect-timeout-ms": "100"})
        self.assertEqual(late.finish()[2]["error"]["code"], "deadline_exceeded")
        self.write(pid, b"it\n")
        self.assertEqual(stream.finish()[0], b"got it\n")

    def test_the_deadline_of_a_start_holds_when_its_client_has_left(self):
        stream = self.guest.start("sleep 1000", headers={"connect-timeout-ms": "700"})
        pid = stream.pid()
        stream.close()
        other = self.connect(pid)
        self.assertEqual(other.finish()[2]["status"], "signal: killed")

    def test_malformed_deadlines_are_refused(self):
        for value in "x", "-1", "12345678901":
            error = self.guest.start("true", headers={"connect-timeout-ms": value}).finish()[2]["error"]
            self.assertEqual(error["code"], "invalid_argument")

    def test_output_that_nobody_hears_is_dropped(self):
        stream = self.guest.start(f"read line; head -c 5000000 /dev/zero; touch {self.path('done')}; read line; echo end",
                                  stdin=True)
        pid = stream.pid()
        stream.close()
        self.write(pid, b"\n")
        wait_until(lambda: os.path.exists(self.path("done")))
        again = self.connect(pid)
        again.pid()
        self.write(pid, b"\n")
        self.assertEqual(again.finish()[0], b"end\n")

    def test_one_who_never_reads_holds_up_others_no_longer_than_its_own_call(self):
        stream = self.guest.start("read line; head -c 30000000 /dev/zero", stdin=True)
        pid = stream.pid()
        deaf = self.connect(pid, **{"connect-timeout-ms": "2000"})
        deaf.pid()
        self.write(pid, b"\n")
        began = time.monotonic()
        self.assertEqual(len(stream.finish()[0]), 30_000_000)
        self.assertLess(time.monotonic() - began, 12)
        deaf.close()

    def test_one_who_never_reads_is_given_up_for_the_others_sake(self):
        stream = self.guest.start("read line; head -c 100000000 /dev/zero", stdin=True)
        pid = stream.pid()
        deaf = self.connect(pid)
        deaf.pid()
        self.write(pid, b"\n")
        began = time.monotonic()
        out, _, end = stream.finish()
        self.assertEqual((len(out), end["exitCode"]), (100_000_000, 0))
        self.assertGreater(time.monotonic() - began, 14)
        with self.assertRaises(Exception):  # it was broken off, with no end that looks like one
            while deaf.next()[0] == 0:
                pass
        deaf.close()


def envelope(message):
    text = json.dumps(message).encode()
    return struct.pack(">BI", 0, len(text)) + text


class StreamInput(ProcessTest):
    def call_with(self, body, headers=None):
        """(messages, the end) of a client stream's answer; body: bytes, or pieces of them."""
        connection = self.guest.connection()
        connection.request("POST", "/process.Process/StreamInput", body,
                           {"content-type": "application/connect+json", **(headers or {})})
        response = connection.getresponse()
        self.assertEqual(response.status, 200)
        raw, messages = response.read(), []
        connection.close()
        while raw:
            flags, length = struct.unpack(">BI", raw[:5])
            message, raw = json.loads(raw[5:5 + length]), raw[5 + length:]
            if flags == 2:
                self.assertEqual(raw, b"")
                return messages, message
            messages.append(message)
        self.fail("no end")

    def start_and(self, pid, *chunks):
        return [envelope({"start": self.of(pid)})] + [
            envelope({"data": {"input": {"stdin": coded(chunk)}}}) for chunk in chunks]

    def test_several_messages_in_one_body_arrive_in_order(self):
        stream = self.guest.start("head -c 700000; echo done >&2", stdin=True)
        pid = stream.pid()
        chunks = [bytes([65 + number]) * 100_000 for number in range(7)]
        parts = self.start_and(pid, *chunks)
        parts.insert(3, envelope({"keepalive": {}}))
        heard = []
        reader = threading.Thread(target=lambda: heard.append(stream.finish()))
        reader.start()
        self.assertEqual(self.call_with(b"".join(parts)), ([{}], {}))
        reader.join(DEADLINE_S)
        self.assertEqual(heard[0][:2], (b"".join(chunks), b"done\n"))

    def test_pieces_of_any_size_are_the_same_messages(self):
        for size in 1, 3, 4096:
            stream = self.guest.start("head -c 60", stdin=True)
            whole = b"".join(self.start_and(stream.pid(), *[b"%02d\n" % number for number in range(20)]))
            pieces = (whole[at:at + size] for at in range(0, len(whole), size))
            self.assertEqual(self.call_with(pieces), ([{}], {}))
            self.assertEqual(stream.finish()[0], b"".join(b"%02d\n" % number for number in range(20)))

    def test_a_process_that_reads_nothing_holds_its_client_up(self):
        stream = self.guest.start("sleep 1000", stdin=True)
        pid = stream.pid()
        answers, sent = [], []

        def pieces():
            for part in self.start_and(pid, *[bytes(50_000)] * 4000):
                sent.append(len(part))
                yield part
        sender = threading.Thread(target=lambda: answers.append(self.call_with(pieces())))
        sender.start()
        sender.join(2)
        self.assertTrue(sender.is_alive())
        self.assertLess(sum(sent), 20_000_000)
        self.kill(pid)
        sender.join(DEADLINE_S)
        # What waited was not taken; or it was, and what came behind it found nobody.
        self.assertIn(answers[0][1]["error"]["code"], ("failed_precondition", "not_found"))

    def test_every_wrong_stream_has_its_code(self):
        stream = self.guest.start("sleep 1000", stdin=False)
        pid = stream.pid()
        data = envelope({"data": {"input": {"stdin": "eA=="}}})
        rows = [
            (data, "not_found"),
            (envelope({"start": self.of(99999999)}), "not_found"),
            (envelope({"start": {}}), "unimplemented"),
            (envelope({"start": 7}), "unimplemented"),
            (envelope({"start": None, "data": {}}), "not_found"),
            (envelope({}), "unimplemented"),
            (envelope({"start": self.of(pid)}) + data, "failed_precondition"),
            (envelope({"start": self.of(pid)}) + envelope({"data": {}}), "unimplemented"),
            (envelope({"start": self.of(pid)})[:-1], "invalid_argument"),
            (b"\0\0\0\0\2[]", "invalid_argument"),
            (b"\0\0\0\0\2x{", "invalid_argument"),
            (b"\1\0\0\0\2{}", "invalid_argument"),
            (b"\0\xff\xff\xff\xff{}", "invalid_argument"),
        ]
        for body, code in rows:
            messages, end = self.call_with(body)
            self.assertEqual((messages, end["error"]["code"]), ([], code), body)
        self.assertEqual(self.call_with(b""), ([{}], {}))
        self.kill(pid)
        stream.finish()

    def test_a_client_that_leaves_in_the_middle_harms_nobody(self):
        stream = self.guest.start("sleep 0.5; exec cat", stdin=True)
        pid = stream.pid()
        for cut in range(0, 400, 7):
            with self.guest.socket() as client:
                body = b"".join(self.start_and(pid, b"x" * 100, b"y" * 100))
                client.sendall(b"POST /process.Process/StreamInput HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
                               b"Content-Type: application/connect+json\r\n\r\n" + body[:cut])
        self.assertEqual(self.call_with(b"".join(self.start_and(pid, b"last"))), ([{}], {}))
        self.guest.call("process.Process/CloseStdin", self.of(pid))
        self.assertTrue(stream.finish()[0].endswith(b"last"))

    def test_it_writes_to_terminals_too(self):
        stream = self.guest.start("read line; echo got $line", pty={"size": {"cols": 80, "rows": 24}})
        body = envelope({"start": self.of(stream.pid())}) + envelope({"data": {"input": {"pty": coded(b"it\n")}}})
        self.assertEqual(self.call_with(body), ([{}], {}))
        shown = b""
        while (message := stream.next())[0] == 0:
            shown += base64.b64decode(message[1]["event"].get("data", {}).get("pty", ""))
        self.assertIn(b"got it\r\n", shown)


if __name__ == "__main__":
    host_test.PROGRAM = sys.argv.pop(1)
    unittest.main()
