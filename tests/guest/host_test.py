#!/usr/bin/env python3
"""flotilla-guest as it runs on a plain host, driven over TCP as E2B's clients drive it.

usage: host_test.py PROGRAM
"""
import base64
import http.client
import json
import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

PROGRAM = None
ME = pwd.getpwuid(os.getuid())
DEADLINE_S = 60  # of any single wait; reached only when a promise is broken


def wait_until(probe):
    end = time.monotonic() + DEADLINE_S
    while not probe():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


class Guest:
    """One running program, with a client for each of its faces."""

    def __init__(self):
        # What is freed is not to be taken for what is held, where memory is looked at.
        self.process = subprocess.Popen(
            [PROGRAM, "--listen", "127.0.0.1:0", "--user", ME.pw_name],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "ASAN_OPTIONS": "quarantine_size_mb=4"})
        self.port = int(self.process.stdout.readline().split()[-1])
        self.token = None

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(DEADLINE_S)
        self.process.stdout.close()
        assert code == 0, f"the program ended with {code}"

    def socket(self):
        return socket.create_connection(("127.0.0.1", self.port), DEADLINE_S)

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)

    def request(self, method, path, body=None, headers=None):
        connection = self.connection()
        headers = dict(headers or {})
        if self.token:
            headers["x-access-token"] = self.token
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        answer = response.status, response.read(), dict(response.getheaders())
        connection.close()
        return answer

    def call(self, method, message, headers=None):
        status, body, _ = self.request("POST", "/" + method, json.dumps(message),
                                       {"content-type": "application/json", **(headers or {})})
        return status, json.loads(body)

    def stream(self, method, message, headers=None):
        return Stream(self, method, message, headers or {})

    def start(self, script, headers=None, **fields):
        process = {"cmd": "/bin/sh", "args": ["-c", script], **fields.pop("process", {})}
        return self.stream("process.Process/Start", {"process": process, **fields}, headers)

    def run(self, script, **fields):
        """(stdout, stderr, end event)"""
        return self.start(script, **fields).finish()


class Stream:
    """A server stream of Connect."""

    def __init__(self, guest, method, message, headers):
        body = json.dumps(message).encode()
        self.connection = guest.connection()
        headers = {"content-type": "application/connect+json", **headers}
        if guest.token:
            headers["x-access-token"] = guest.token
        self.connection.request("POST", "/" + method, struct.pack(">BI", 0, len(body)) + body,
                                headers)
        self.response = self.connection.getresponse()

    def next(self):
        """(flags, message), or None at the end of the body."""
        head = self.response.read(5)
        if not head:
            return None
        flags, length = struct.unpack(">BI", head)
        return flags, json.loads(self.response.read(length))

    def pid(self):
        flags, message = self.next()
        assert flags == 0 and "start" in message["event"], message
        return message["event"]["start"]["pid"]

    def finish(self):
        out = {"stdout": bytearray(), "stderr": bytearray()}
        end = None
        while True:
            flags, message = self.next()
            if flags == 2:
                assert self.next() is None
                self.close()
                return bytes(out["stdout"]), bytes(out["stderr"]), end or message
            event = message["event"]
            end = event.get("end", end)
            for kind, data in event.get("data", {}).items():
                out[kind] += base64.b64decode(data)

    def close(self):
        self.response.close()
        self.connection.close()


class GuestTest(unittest.TestCase):
    def setUp(self):
        self.guest = Guest()
        self.folder = tempfile.mkdtemp()
        self.addCleanup(self.guest.process.kill)  # a test that failed before its end leaves nothing

    def tearDown(self):
        self.guest.stop()
        shutil.rmtree(self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)


class Health(GuestTest):
    def test_health_needs_no_token(self):
        self.assertEqual(self.guest.request("GET", "/health")[0], 204)
        self.guest.request("POST", "/init", json.dumps({"accessToken": "secret"}))
        self.assertEqual(self.guest.request("GET", "/health")[0], 204)

    def test_with_a_token_everything_else_asks_for_it(self):
        status, _, headers = self.guest.request("POST", "/init", json.dumps(
            {"accessToken": "secret", "envVars": {"A": "b"}, "timestamp": "2026-01-01T00:00:00Z"}))
        self.assertEqual(status, 204)
        self.assertEqual(headers["X-Envd-Version"], "0.6.13")
        for path in "/metrics", "/envs", "/files?path=/etc/passwd":
            status, body, _ = self.guest.request("GET", path)
            self.assertEqual(status, 401)
            self.assertEqual(json.loads(body)["code"], 401)
        self.assertEqual(self.guest.call("process.Process/List", {})[0], 401)
        self.assertEqual(self.guest.request("POST", "/init", "{}")[0], 401)
        self.assertEqual(self.guest.request(
            "POST", "/init", '{"accessToken":"other"}')[0], 401)
        self.guest.token = "secret"
        self.assertEqual(self.guest.request("POST", "/init", "{}")[0], 204)
        self.assertEqual(json.loads(self.guest.request("GET", "/envs")[1]), {"A": "b"})
        self.assertEqual(self.guest.run("echo $A")[0], b"b\n")

    def test_metrics_are_plausible(self):
        metrics = json.loads(self.guest.request("GET", "/metrics")[1])
        self.assertGreaterEqual(metrics["cpu_count"], 1)
        self.assertGreater(metrics["mem_total"], metrics["mem_used"])
        self.assertGreater(metrics["disk_total"], 0)


class Processes(GuestTest):
    def test_output_and_exit_code_come_back(self):
        out, err, end = self.guest.run("echo out; echo err >&2; exit 3")
        self.assertEqual((out, err), (b"out\n", b"err\n"))
        self.assertEqual(end, {"exitCode": 3, "exited": True, "status": "exit status 3",
                               "error": "exit status 3"})

    def test_environment_and_folder_are_the_requests(self):
        out = self.guest.run("pwd; echo $A $HOME $USER $LOGNAME",
                             process={"cwd": self.folder, "envs": {"A": "b"}})[0]
        self.assertEqual(out.decode(), f"{os.path.realpath(self.folder)}\nb {ME.pw_dir} "
                         f"{ME.pw_name} {ME.pw_name}\n")
        self.assertEqual(self.guest.run("pwd")[0].decode().strip(), os.path.realpath(ME.pw_dir))

    def test_what_cannot_start_is_refused_in_the_stream(self):
        rows = [
            ({"process": {"cmd": "/bin/true", "cwd": "/nope"}}, {}, "invalid_argument",
             "cwd '/nope' does not exist"),
            ({"process": {"cmd": "no-such-program"}}, {}, "invalid_argument", None),
            ({"process": {"cmd": "/etc/passwd"}}, {}, "invalid_argument", None),
            ({"process": {}}, {}, "invalid_argument", None),
            ({"process": {"cmd": "/bin/true"}},
             {"authorization": "Basic " + base64.b64encode(b"nobodyx:").decode()},
             "unauthenticated", "invalid username: 'nobodyx'"),
        ]
        for message, headers, code, text in rows:
            error = self.guest.stream("process.Process/Start", message, headers).finish()[2]
            self.assertEqual(error["error"]["code"], code)
            if text:
                self.assertEqual(error["error"]["message"], text)

    @unittest.skipIf(os.getuid(), "only root can become somebody else")
    def test_a_process_is_its_user_with_all_groups(self):
        nobody = pwd.getpwnam("nobody")
        authorization = "Basic " + base64.b64encode(b"nobody:").decode()
        stream = self.guest.start("id -u; id -g; echo $HOME", process={"cwd": "/"},
                                  headers={"authorization": authorization})
        self.assertEqual(stream.finish()[0].decode(),
                         f"{nobody.pw_uid}\n{nobody.pw_gid}\n{nobody.pw_dir}\n")

    def test_input_arrives_in_order_until_it_is_closed(self):
        stream = self.guest.start("cat", stdin=True)
        pid = stream.pid()
        sent = b""
        for i in range(20):
            data = bytes([65 + i]) * 10000  # together more than a pipe holds
            sent += data
            self.assertEqual(self.guest.call("process.Process/SendInput", {
                "process": {"pid": pid},
                "input": {"stdin": base64.b64encode(data).decode()}})[0], 200)
        self.assertEqual(
            self.guest.call("process.Process/CloseStdin", {"process": {"pid": pid}})[0], 200)
        self.assertEqual(stream.finish()[0], sent)

    def test_input_that_nobody_reads_waits_and_the_end_answers_it(self):
        stream = self.guest.start("sleep 1000", stdin=True)
        pid = stream.pid()
        big = base64.b64encode(bytes(200000)).decode()
        answers = []
        sender = threading.Thread(target=lambda: answers.append(self.guest.call(
            "process.Process/SendInput", {"process": {"pid": pid}, "input": {"stdin": big}})))
        sender.start()
        self.guest.call("process.Process/SendSignal",
                        {"process": {"pid": pid}, "signal": "SIGNAL_SIGKILL"})
        sender.join(DEADLINE_S)
        self.assertNotEqual(answers[0][0], 200)
        stream.finish()

    def test_no_stdin_means_none(self):
        self.assertEqual(self.guest.run("cat", stdin=False)[2]["exitCode"], 0)

    def test_a_killed_process_is_gone_when_the_answer_comes(self):
        stream = self.guest.start("sleep 1000 & echo started; wait", stdin=False)
        pid = stream.pid()
        listed = self.guest.call("process.Process/List", {})[1]["processes"]
        self.assertEqual([p["pid"] for p in listed], [pid])
        self.assertEqual(listed[0]["config"]["cmd"], "/bin/sh")
        self.assertIn("data", stream.next()[1]["event"])
        self.assertEqual(self.guest.call("process.Process/SendSignal", {
            "process": {"pid": pid}, "signal": "SIGNAL_SIGKILL"})[0], 200)
        with self.assertRaises(ProcessLookupError):
            os.kill(pid, 0)
        # Though a grandchild still holds the pipes.
        self.assertEqual(stream.finish()[2], {
            "exitCode": -1, "exited": False, "status": "signal: killed",
            "error": "signal: killed"})
        status, answer = self.guest.call("process.Process/SendSignal", {
            "process": {"pid": pid}, "signal": "SIGNAL_SIGKILL"})
        self.assertEqual((status, answer["code"]), (404, "not_found"))

    def test_a_client_that_leaves_does_not_end_its_process(self):
        stream = self.guest.start("read line; echo got $line", stdin=True)
        pid = stream.pid()
        stream.close()
        again = self.guest.stream("process.Process/Connect", {"process": {"pid": pid}})
        self.assertEqual(again.pid(), pid)
        self.guest.call("process.Process/SendInput", {
            "process": {"pid": pid}, "input": {"stdin": base64.b64encode(b"x\n").decode()}})
        self.assertEqual(again.finish()[0], b"got x\n")

    def test_everyone_who_listens_hears_everything(self):
        first = self.guest.start("read line; seq 100000", stdin=True, tag="t")
        pid = first.pid()
        second = self.guest.stream("process.Process/Connect", {"process": {"tag": "t"}})
        second.pid()
        self.guest.call("process.Process/SendInput", {
            "process": {"pid": pid}, "input": {"stdin": base64.b64encode(b"\n").decode()}})
        heard = []
        listener = threading.Thread(target=lambda: heard.append(second.finish()))
        listener.start()
        out = first.finish()[0]
        listener.join(DEADLINE_S)
        self.assertEqual(out, b"".join(b"%d\n" % i for i in range(1, 100001)))
        self.assertEqual(heard[0][0], out)

    def test_an_end_is_told_to_those_who_ask_late(self):
        stream = self.guest.start("exit 5")
        pid = stream.pid()
        stream.finish()
        late = self.guest.stream("process.Process/Connect", {"process": {"pid": pid}})
        self.assertEqual(late.pid(), pid)
        self.assertEqual(late.finish()[2]["exitCode"], 5)

    def test_the_deadline_ends_the_process_and_the_call(self):
        stream = self.guest.start("sleep 1000", headers={"connect-timeout-ms": "100"})
        pid = stream.pid()
        self.assertEqual(stream.finish()[2]["error"]["code"], "deadline_exceeded")
        late = self.guest.stream("process.Process/Connect", {"process": {"pid": pid}})
        self.assertEqual(late.finish()[2]["status"], "signal: killed")

    def test_silence_is_broken_by_keepalives(self):
        stream = self.guest.start("read line", stdin=True,
                                  headers={"keepalive-ping-interval": "1"})
        pid = stream.pid()
        self.assertEqual(stream.next()[1], {"event": {"keepalive": {}}})
        self.guest.call("process.Process/CloseStdin", {"process": {"pid": pid}})
        stream.finish()

    def test_a_slow_client_slows_the_process_and_costs_no_memory(self):
        stream = self.guest.start("head -c 300000000 /dev/zero", stdin=False)
        stream.pid()
        for _ in range(10):
            stream.next()
        with open(f"/proc/{self.guest.process.pid}/status") as status:
            resident_kib = [int(line.split()[1]) for line in status if line.startswith("VmHWM")]
        self.assertLess(resident_kib[0], 200 * 1024)
        self.assertEqual(self.guest.request("GET", "/health")[0], 204)
        stream.close()


class Files(GuestTest):
    def upload(self, parts, query=""):
        body = b"".join(
            b'--XX\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n%s\r\n'
            % (name.encode(), data) for name, data in parts) + b"--XX--\r\n"
        return self.guest.request("POST", "/files" + query, body,
                                  {"content-type": "multipart/form-data; boundary=XX"})

    def test_what_is_uploaded_is_downloaded(self):
        parts = [(self.path(f"a/b{i}"), os.urandom(i * 70001)) for i in range(5)]
        status, body, _ = self.upload(parts)
        self.assertEqual(status, 200)
        self.assertEqual([entry["path"] for entry in json.loads(body)], [p for p, _ in parts])
        for path, data in parts:
            status, body, headers = self.guest.request("GET", "/files?path=" + path)
            self.assertEqual((status, body), (200, data))
            self.assertEqual(headers["Content-Length"], str(len(data)))
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o644)

    def test_raw_and_chunked_bodies_are_taken(self):
        data = os.urandom(1000000)
        pieces = iter([data[:10], data[10:500000], data[500000:]])
        connection = self.guest.connection()
        connection.request("POST", "/files?path=" + self.path("raw"), pieces,
                           {"content-type": "application/octet-stream"}, encode_chunked=True)
        self.assertEqual(connection.getresponse().status, 200)
        connection.close()
        with open(self.path("raw"), "rb") as file:
            self.assertEqual(file.read(), data)

    def test_the_query_names_the_file_before_the_part_does(self):
        self.upload([("other", b"x")], "?path=" + self.path("named"))
        self.assertTrue(os.path.exists(self.path("named")))

    def test_writing_again_replaces_the_content(self):
        self.upload([(self.path("f"), b"long content")])
        self.upload([(self.path("f"), b"short")])
        self.assertEqual(self.guest.request("GET", "/files?path=" + self.path("f"))[1], b"short")

    def test_a_range_is_a_part(self):
        self.upload([(self.path("f"), b"0123456789")])
        status, body, headers = self.guest.request("GET", "/files?path=" + self.path("f"),
                                                   headers={"Range": "bytes=2-4"})
        self.assertEqual((status, body, headers["Content-Range"]),
                         (206, b"234", "bytes 2-4/10"))

    def test_errors_carry_e2bs_codes(self):
        octets = {"content-type": "application/octet-stream"}
        rows = [
            ("GET", "/files?path=/nope", None, {}, 404, "path '/nope' does not exist"),
            ("GET", "/files?path=" + self.folder, None, {}, 400,
             f"path '{self.folder}' is a directory"),
            ("GET", "/files?path=/etc/passwd&username=nobodyx", None, {}, 401,
             "error looking up user 'nobodyx': user: unknown user nobodyx"),
            ("GET", "/files?path=%zz", None, {}, 400, None),
            ("POST", "/files", b"x", octets, 400, None),
            ("POST", "/files?path=/tmp/x", b"x", {"content-type": "text/plain"}, 400, None),
            ("POST", "/files?path=" + self.folder, b"x", octets, 400, None),
            ("POST", "/files?path=/tmp/x", b"x", {**octets, "content-encoding": "br"}, 400,
             "error decompressing request body: unsupported Content-Encoding: br, "
             "supported: [gzip]"),
            ("POST", "/files", b"--YY--", {"content-type": "multipart/form-data; boundary=XX"},
             400, None),
            ("POST", "/files", b"x", {"content-type": "multipart/form-data"}, 400, None),
        ]
        for method, path, body, headers, code, message in rows:
            status, answer, _ = self.guest.request(method, path, body, headers)
            answer = json.loads(answer)
            self.assertEqual((status, answer["code"]), (code, code), path)
            if message:
                self.assertEqual(answer["message"], message)

    @unittest.skipUnless(os.path.exists("/dev/full"), "no device that is always full")
    def test_a_full_disk_is_told(self):
        status, body, _ = self.guest.request("POST", "/files?path=/dev/full", b"x" * 100000,
                                             {"content-type": "application/octet-stream"})
        self.assertEqual((status, json.loads(body)["message"]), (507, "not enough disk space"))

    def rpc(self, method, **message):
        return self.guest.call("filesystem.Filesystem/" + method, message)

    def test_folders_are_made_listed_moved_and_removed(self):
        self.assertEqual(self.rpc("MakeDir", path=self.path("b/c"))[0], 200)
        self.assertEqual(self.rpc("MakeDir", path=self.path("b/c"))[1]["code"], "already_exists")
        self.upload([(self.path("a"), b"1"), (self.path("b/c/d"), b"22")])
        listed = self.rpc("ListDir", path=self.folder, depth=9)[1]["entries"]
        self.assertEqual([e["path"] for e in listed],
                         [self.path(p) for p in ("a", "b", "b/c", "b/c/d")])
        self.assertEqual(len(self.rpc("ListDir", path=self.folder)[1]["entries"]), 2)
        self.assertEqual(self.rpc("MakeDir", path=self.path("a"))[1]["code"], "invalid_argument")
        self.assertEqual(self.rpc("ListDir", path=self.path("a"))[1]["code"], "invalid_argument")
        self.assertEqual(self.rpc("ListDir", path=self.path("x"))[1]["code"], "not_found")
        status, answer = self.rpc("Move", source=self.path("b"), destination=self.path("n/m"))
        self.assertEqual(answer["entry"]["path"], self.path("n/m"))
        entry = self.rpc("Stat", path=self.path("n/m/c/d"))[1]["entry"]
        self.assertEqual((entry["type"], entry["size"], entry["permissions"], entry["owner"]),
                         ("FILE_TYPE_FILE", "2", "-rw-r--r--", ME.pw_name))
        for _ in range(2):  # nothing there is fine
            self.assertEqual(self.rpc("Remove", path=self.path("n")), (200, {}))
        self.assertEqual(self.rpc("Stat", path=self.path("n"))[1]["code"], "not_found")
        self.assertEqual(self.rpc("Move", source=self.path("n"),
                                  destination=self.path("o"))[1]["code"], "not_found")

    def test_links_tell_their_target(self):
        os.mkdir(self.path("target"))
        os.symlink("target", self.path("link"))
        os.symlink("loop", self.path("loop"))
        entry = self.rpc("Stat", path=self.path("link"))[1]["entry"]
        self.assertEqual((entry["type"], entry["permissions"], entry["symlinkTarget"]),
                         ("FILE_TYPE_DIRECTORY", "Lrwxrwxrwx",
                          os.path.realpath(self.path("target"))))
        self.assertEqual(self.rpc("ListDir", path=self.path("loop"))[1]["code"],
                         "failed_precondition")
        self.rpc("Remove", path=self.path("link"))
        self.assertTrue(os.path.isdir(self.path("target")))


class BadClients(GuestTest):
    def raw(self, data, shut=False):
        with self.guest.socket() as client:
            client.sendall(data)
            if shut:
                client.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := client.recv(65536):
                answer += piece
        return answer

    def tearDown(self):
        self.assertEqual(self.guest.request("GET", "/health")[0], 204)
        super().tearDown()

    def test_garbage_is_told_apart_from_requests(self):
        self.assertIn(b" 400 ", self.raw(b"\x00\x01\x02\r\n\r\n"))
        self.assertIn(b" 505 ", self.raw(b"GET / HTTP/3.0\r\n\r\n"))
        self.assertIn(b" 431 ", self.raw(b"GET /" + b"a" * 33000))
        self.assertIn(b" 400 ", self.raw(
            b"POST /init HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))

    def test_pipelined_requests_are_answered_in_order(self):
        answer = self.raw(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 50 +
                          b"GET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        self.assertEqual(answer.count(b"HTTP/1.1 204"), 50)
        self.assertTrue(answer.rfind(b"HTTP/1.1 404") > answer.rfind(b"HTTP/1.1 204"))

    def test_a_client_that_half_closes_gets_its_answer(self):
        self.assertIn(b" 204 ", self.raw(b"GET /health HTTP/1.0\r\n\r\n", shut=True))

    def test_unknown_paths_and_methods_are_told(self):
        self.assertEqual(self.guest.request("GET", "/nope")[0], 404)
        self.assertEqual(self.guest.request("DELETE", "/health")[0], 405)
        self.assertEqual(self.guest.request("POST", "/process.Process/List", "{}",
                                            {"content-type": "text/plain"})[0], 415)

    def test_malformed_messages_are_refused(self):
        json_type = {"content-type": "application/json"}
        for body in b"{", b"[]", b"\xff", b'{"process":' + b"[" * 3000, b"7":
            status, answer, _ = self.guest.request("POST", "/filesystem.Filesystem/Stat", body,
                                                   json_type)
            self.assertEqual((status, json.loads(answer)["code"]), (400, "invalid_argument"))
        self.assertEqual(self.guest.request("POST", "/init", b"[")[0], 400)
        self.assertEqual(self.guest.request("POST", "/init", b'{"envVars":{"A":1}}')[0], 400)

    def test_a_body_too_large_is_refused_and_the_connection_lives(self):
        connection = self.guest.connection()
        connection.request("POST", "/filesystem.Filesystem/Stat", bytes(9 * 1024 * 1024),
                           {"content-type": "application/json"})
        response = connection.getresponse()
        self.assertEqual(response.status, 413)
        response.read()
        connection.request("GET", "/health")
        self.assertEqual(connection.getresponse().status, 204)
        connection.close()

    def test_an_upload_that_breaks_off_is_forgotten(self):
        with self.guest.socket() as client:
            client.sendall(b"POST /files?path=" + self.path("half").encode() +
                           b" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
                           b"Content-Type: application/octet-stream\r\n\r\npart")
        self.raw(b"POST /files HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                 b"Content-Type: application/octet-stream\r\n\r\nzz\r\n")

    def test_idle_connections_make_room_for_new_ones(self):
        idle = [self.guest.socket() for _ in range(600)]
        self.assertEqual(self.guest.request("GET", "/health")[0], 204)
        for client in idle:
            client.close()

    def test_leave_to_send_a_body_is_given(self):
        with self.guest.socket() as client:
            client.sendall(b"POST /init HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
                           b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
            self.assertIn(b" 100 ", client.recv(100))
            client.sendall(b"{}")
            self.assertIn(b" 204 ", client.recv(1000))


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
