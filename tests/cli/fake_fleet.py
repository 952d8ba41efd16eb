"""A scheduler's API and a gateway in one small server, for tests of the command.

Sandboxes are entries in a dictionary, and their processes run right here.  Requests are kept in
`seen`, so that a test can say what was sent.
"""
import base64
import http.server
import json
import os
import queue
import signal
import struct
import subprocess
import threading
import urllib.parse

KEY, OPERATOR = "e2b_" + "0" * 40, "e2b_" + "f" * 40
REFUSALS = {
    "missing": (404, {"code": 404, "message": "template 'missing' not found"}),
    "full": (429, {"code": 429, "message": "you have reached the maximum number of concurrent E2B sandboxes (20)"}),
    "busy": (503, {"code": 503, "message": "no capacity"}),
    "clash": (409, {"code": 409, "message": "in flight"}),
    "broken": (500, {"code": 500, "message": "internal"}),
    "slow": (504, {"code": 504, "message": "placement took too long"}),
}
NODES = {"nod_1": ("n1", "ready"), "nod_2": ("dead", "silent"), "nod_3": ("twin", "ready"), "nod_4": ("twin", "silent")}


class FakeFleet:
    def __init__(self):
        self.seen, self.sandboxes, self.ended, self.processes = [], {}, {}, {}
        self.made = 0
        self.page_n = 100
        self.secrets = {}
        self.cause = None  # of a sandbox that is lost
        handler = type("Bound", (Handler,), {"fleet": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # clients may leave in the middle
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        for process in list(self.processes.values()):
            if process.poll() is None:
                process.kill()
            process.wait()
        self.server.shutdown()
        self.server.server_close()

    def sandbox(self, template="base", metadata=None):
        self.made += 1
        name = "i%020d" % self.made
        self.sandboxes[name] = {
            "sandboxID": name, "templateID": template, "clientID": "x", "cpuCount": 2, "memoryMB": 512,
            "diskSizeMB": 1024, "startedAt": "2026-11-22T10:00:00.000Z", "endAt": "2026-11-22T11:00:00.000Z",
            "state": "running", "envdVersion": "0.6.13", "metadata": metadata or {}}
        return name

    def usage(self, wanted):
        lines = []
        for name in wanted:
            ended = self.ended.get(name)
            lines.append({"sandboxID": name, "templateID": "base", "state": "ended" if ended else "running",
                          "startedAt": "2026-11-22T10:00:00.000Z", "endedAt": "2026-11-22T10:00:03.000Z" if ended else "",
                          "seconds": 3, "unbilledSeconds": 0, "vcpus": 2, "memoryMiB": 512, "vcpuSeconds": 6, "gibSeconds": "1.5",
                          "amount": "0.000090750", "cause": ended or ""})
        return {"tenant": "ten_1", "currency": "USD", "from": "", "to": "", "rule": "r1", "total": "0.000090750",
                "credit_left": "99.0", "sandboxes": lines}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    fleet = None

    def log_message(self, *_):
        pass

    def answer(self, status, body=None, headers=()):
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def handle_any(self):
        url = urllib.parse.urlsplit(self.path)
        data = self.body()
        message = data
        if url.path == "/process.Process/Start":
            message = data[5:] if data[:1] == b"\0" and struct.unpack(">I", data[1:5])[0] == len(data) - 5 else b"{}"
        body = json.loads(message) if message else None
        self.fleet.seen.append((self.command, self.path, body, dict(self.headers)))
        if url.path.startswith("/process.Process/"):
            return self.envd(url.path.rsplit("/", 1)[1], body)
        return self.api(url.path, dict(urllib.parse.parse_qsl(url.query)), body)

    do_GET = do_POST = do_DELETE = handle_any

    def api(self, path, query, body):
        fleet, key = self.fleet, self.headers.get("X-API-KEY")
        parts = path.strip("/").split("/")
        if key not in (KEY, OPERATOR):
            return self.answer(401, {"code": 401, "message": "invalid API key"})
        if parts[:2] in (["v1", "nodes"], ["v1", "tenants"]) and key != OPERATOR:
            return self.answer(403, {"code": 403, "message": "the operator's key is wanted"})
        if self.command == "POST" and path == "/v2/sandboxes":
            if body["templateID"] in REFUSALS:
                return self.answer(*REFUSALS[body["templateID"]])
            name = fleet.sandbox(body["templateID"], body.get("metadata"))
            return self.answer(201, {"sandboxID": name, "templateID": body["templateID"], "clientID": "x",
                                     "envdVersion": "0.6.13", "envdAccessToken": "token-" + name})
        if path == "/v2/sandboxes":
            rows = sorted(fleet.sandboxes.values(), key=lambda row: row["sandboxID"])
            first = int(query.get("nextToken", 0))
            more = [("X-Next-Token", str(first + fleet.page_n))] if len(rows) > first + fleet.page_n else []
            return self.answer(200, rows[first:first + fleet.page_n], more)
        if parts[0] == "sandboxes":
            if parts[1] not in fleet.sandboxes:
                return self.answer(404, {"code": 404, "message": "Sandbox \"%s\" doesn't exist" % parts[1]})
            if self.command == "DELETE":
                del fleet.sandboxes[parts[1]]
                fleet.ended[parts[1]] = "request"
                return self.answer(204)
            return self.answer(200, {**fleet.sandboxes[parts[1]], "envdAccessToken": "token-" + parts[1]})
        if parts[0] == "secrets":
            return self.secret(parts[1:], query, body)
        if path == "/v1/usage":
            known = [*fleet.ended, *fleet.sandboxes]
            return self.answer(200, fleet.usage([name for name in known if query.get("sandbox", name) == name]))
        if path == "/v1/limits":
            return self.answer(200, {"plan": "hobby", "concurrentSandboxes": {"limit": 20, "current": 1},
                                     "maxSessionSeconds": 3600, "vcpuSecondPrice": "0.000014"})
        if path == "/v1/templates":
            return self.answer(200, [{"templateID": "t1", "name": "base", "vcpus": 2, "memoryMiB": 512, "diskMiB": 1024,
                                      "nodes": 1, "warm": 3}])
        if path == "/v1/nodes":
            size = {"vcpus": 8, "memoryMiB": 4096, "sandboxes": 20}
            return self.answer(200, [{"nodeID": name, "name": NODES[name][0], "state": NODES[name][1], "version": "0.1.0",
                                      "lastSeenAt": "2026-11-22T10:00:00Z", "capacity": size, "committed": size,
                                      "templates": [{"name": "base", "warm": 2}]} for name in NODES])
        if path == "/v1/nodes/tokens":
            return self.answer(201, {"token": "once-%d" % body["ttl_s"]})
        if parts[:2] == ["v1", "nodes"] and parts[2] in NODES and parts[3] in ("cordon", "uncordon", "lost"):
            if parts[3] == "lost" and NODES[parts[2]][1] != "silent":
                return self.answer(409, {"code": "node_alive", "detail": "The node is heard of"})
            return self.answer(200, {"nodeID": parts[2], "name": NODES[parts[2]][0], "cordoned": parts[3] == "cordon"})
        if path == "/v1/tenants" and self.command == "POST":
            return self.answer(201, {"tenantID": "ten_2", **body})
        if path == "/v1/tenants":
            return self.answer(200, [{"tenantID": "ten_1", "name": "acme", "plan": "pro"},
                                     {"tenantID": "ten_2", "name": "twin", "plan": "pro"},
                                     {"tenantID": "ten_3", "name": "twin", "plan": "pro"}])
        if parts[:2] == ["v1", "tenants"] and parts[3:] == ["keys"]:
            return self.answer(201, {"keyID": "key_1", "key": "e2b_abc", "tenant": parts[2]})
        return self.answer(404, {"code": 404, "message": "no such route"})

    def secret(self, name, query, body):
        kept = self.fleet.secrets
        if not name and self.command == "GET":
            rows = [kept[one] for one in sorted(kept) if one > query.get("nextToken", "")]
            more = [("X-Next-Token", rows[self.fleet.page_n - 1]["name"])] if len(rows) > self.fleet.page_n else []
            return self.answer(200, rows[:self.fleet.page_n], more)
        named = body["name"] if not name else urllib.parse.unquote(name[0])
        if name and named not in kept:
            return self.answer(404, {"code": 404, "message": "Secret '%s' not found" % named})
        if self.command == "DELETE":
            del kept[named]
            return self.answer(204)
        if self.command == "POST":
            before = kept.get(named, {"currentVersion": 0, "metadata": {}})
            kept[named] = {"secretID": "sec_" + "0" * 20, "name": named, "currentVersion": before["currentVersion"] + 1,
                           "metadata": body.get("metadata", before["metadata"]),
                           "createdAt": "2026-11-22T10:00:00.000Z", "updatedAt": "2026-11-22T10:00:00.000Z"}
        return self.answer(200 if name else 201, kept[named])

    # --- envd, at the gateway

    def envd(self, method, body):
        name = self.headers.get("E2b-Sandbox-Id")
        if name not in self.fleet.sandboxes or self.headers.get("E2b-Sandbox-Port") != "49983":
            return self.answer(502, {"sandboxId": name, "message": "The sandbox was not found", "code": 502})
        if self.headers.get("X-Access-Token") != "token-" + name:
            return self.answer(401, {"code": "unauthenticated", "message": "invalid token"})
        if method == "Start":
            return self.start(name, body)
        process = self.fleet.processes.get(body["process"]["pid"])
        if process is None:
            return self.answer(404, {"code": "not_found", "message": "no such process"})
        if method == "SendSignal":
            process.send_signal(signal.SIGKILL if body["signal"] == "SIGNAL_SIGKILL" else signal.SIGTERM)
        elif method == "CloseStdin":
            process.stdin.close()
        elif method == "SendInput":
            try:
                process.stdin.write(base64.b64decode(body["input"]["stdin"]))
                process.stdin.flush()
            except (BrokenPipeError, ValueError):
                return self.answer(400, {"code": "failed_precondition", "message": "stdin not enabled or closed"})
        return self.answer(200, {})

    def envelope(self, message, flags=0):
        data = json.dumps(message).encode()
        data = bytes([flags]) + struct.pack(">I", len(data)) + data
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def finish_stream(self, message):
        self.envelope(message, 2)
        self.wfile.write(b"0\r\n\r\n")

    def start(self, name, body):
        wanted = body["process"]
        self.send_response(200)
        self.send_header("Content-Type", "application/connect+json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if wanted["cmd"] == "die":  # as when the sandbox is gone: cut in the middle
            self.envelope({"event": {"start": {"pid": 1}}})
            self.envelope({"event": {"data": {"stdout": base64.b64encode(b"half").decode()}}})
            del self.fleet.sandboxes[name]
            self.fleet.ended[name] = self.fleet.cause
            self.close_connection = True
            self.connection.shutdown(2)
            return
        if wanted["cmd"] == "overdue":
            self.envelope({"event": {"start": {"pid": 1}}})
            return self.finish_stream({"error": {"code": "deadline_exceeded", "message": "context deadline exceeded"}})
        if wanted["cmd"] == "garbage":
            self.wfile.write(b"5\r\n\0\xff\xff\xff\xff\r\n0\r\n\r\n")
            return
        try:
            process = subprocess.Popen([wanted["cmd"], *wanted["args"]], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       stdin=subprocess.PIPE if body["stdin"] else subprocess.DEVNULL,
                                       cwd=wanted.get("cwd"), env={"PATH": os.environ["PATH"], **wanted["envs"]})
        except FileNotFoundError:
            return self.finish_stream({"error": {"code": "invalid_argument", "message": "error starting process '%s': "
                                                 "executable file not found in $PATH" % wanted["cmd"]}})
        self.fleet.processes[process.pid] = process
        self.envelope({"event": {"start": {"pid": process.pid}}})
        chunks = queue.Queue()

        def pump(stream, label):
            while data := stream.read1(32768):
                chunks.put((label, data))
            chunks.put((label, b""))
        for stream, label in ((process.stdout, "stdout"), (process.stderr, "stderr")):
            threading.Thread(target=pump, args=(stream, label), daemon=True).start()
        open_n = 2
        while open_n:
            label, data = chunks.get()
            open_n -= not data
            if data:
                self.envelope({"event": {"data": {label: base64.b64encode(data).decode()}}})
        code = process.wait()
        if code < 0:
            text = "signal: " + {9: "killed", 15: "terminated"}[-code]
            end = {"exitCode": -1, "exited": False, "status": text, "error": text}
        else:
            end = {"exitCode": code, "exited": True, "status": "exit status %d" % code}
        self.envelope({"event": {"end": end}})
        self.finish_stream({})
