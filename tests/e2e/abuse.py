#!/usr/bin/env python3
"""What hostile or broken clients, guests and hosts may do to a fleet, and what it keeps up all the
same.  After each test every daemon lives, no sanitizer spoke, the tenant's bills have ended and are
plausible, and nothing is held any more."""
import concurrent.futures
import contextlib
import glob
import json
import os
import re
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from fleet import Failed, Fleet, run_tests, wait_for  # noqa: E402

SANITIZERS = re.compile(r"ERROR: \w+Sanitizer|runtime error:|broken promise")
MIB = 1 << 20
ANSWERED = b"YW5zd2VyZWQK"  # base64 of what "echo answered" prints
fleet = None


# ---- what every test leaves behind ----

def daemons():
    return [fleet.scheduler, fleet.gateway, *fleet.agents]


def logs():
    return [*(daemon.log for daemon in daemons()), *glob.glob(fleet.path("*", "run", "**", "*.log"), recursive=True)]


def usage(key):
    return {row["sandboxID"]: row for row in fleet.api("GET", "/v1/usage", key=key)[1]["sandboxes"]}


def settle(key, seconds=20):
    """Ends what the tenant has and returns its bills, by sandbox; all of them ended."""
    for row in fleet.api("GET", "/v2/sandboxes", key=key)[1]:
        assert fleet.api("DELETE", f"/sandboxes/{row['sandboxID']}", key=key)[0] in (204, 404)
    wait_for("nothing to be held", seconds, lambda: fleet.api("GET", "/v1/limits", key=key)[1]
             ["concurrentSandboxes"]["current"] == 0)
    wait_for("the bills", seconds, lambda: all(row["endedAt"] for row in usage(key).values()))
    return usage(key)


def check(*keys):
    """The part of every promise here that is the same."""
    for daemon in daemons():
        assert daemon.alive(), f"{daemon.name} ended:\n{daemon.tail()}"
    for path in logs():
        with contextlib.suppress(FileNotFoundError), open(path, errors="replace") as log:
            said = [line for line in log if SANITIZERS.search(line)]
            assert not said, (path, said[:5])
    for key in keys:
        for bill in settle(key).values():
            assert 1 <= bill["seconds"] + bill["unbilledSeconds"] <= 600 and bill["cause"], bill
            assert bill["vcpuSeconds"] == bill["seconds"] * bill["vcpus"], bill


def create(key, **body):
    status, sandbox = fleet.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 300, **body}, key=key)
    assert status == 201, (status, sandbox)
    return sandbox


def end_of(sandbox, key, seconds=15):
    """The bill of a sandbox, once it has ended."""
    return wait_for("the end", seconds, lambda: (lambda row: row if row and row["endedAt"] else None)(
        usage(key).get(sandbox["sandboxID"])))


# ---- bytes ----

def connect(address, seconds=10):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=seconds)


def said(address, data, seconds=10, shut=True):
    """All that is answered to these bytes until the other side closes or is silent."""
    answer = b""
    with connect(address, seconds) as stream:
        try:
            stream.sendall(data)
            if shut:
                stream.shutdown(socket.SHUT_WR)
            while part := stream.recv(65536):
                answer += part
        except (ConnectionResetError, BrokenPipeError):
            pass
    return answer


def statuses(answer):
    return [int(code) for code in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]


def head(sandbox, method="GET", path="/health", *more, port=49983):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"E2b-Sandbox-Id: {sandbox['sandboxID']}",
             f"E2b-Sandbox-Port: {port}", f"X-Access-Token: {sandbox['envdAccessToken']}", *more, "", ""]
    return "\r\n".join(lines).encode()


def rss_mib(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) / 1024


def fds(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def pids_of(sandbox):
    """(shim, QEMU) of a sandbox."""
    for path in glob.glob(fleet.path("agent*", "run", "vm", "*", "shim.log")):
        with contextlib.suppress(FileNotFoundError), open(path, errors="replace") as log:
            if sandbox["sandboxID"] not in log.read():
                continue
            folder = os.path.dirname(path)
            mine = {"qemu-system" in line: pid for pid, line in fleet.vm_processes().items()
                    if re.search(re.escape(folder) + r"\b", line)}
            return mine[False], mine[True]
    raise Failed(f"no shim knows {sandbox['sandboxID']}")


def start_bytes(sandbox, command, user="user"):
    """A request that starts a command; its answer streams the output."""
    body = json.dumps({"process": {"cmd": "/bin/bash", "args": ["-c", command]}, "stdin": False}).encode()
    body = b"\0" + len(body).to_bytes(4, "big") + body
    basic = {"user": "dXNlcjo=", "root": "cm9vdDo="}[user]
    return head(sandbox, "POST", "/process.Process/Start", "Content-Type: application/connect+json",
                "Connect-Protocol-Version: 1", "Connection: close", f"Authorization: Basic {basic}", f"Content-Length: {len(body)}") + body


def run(sandbox, command, user="user", seconds=60):
    """All that the answer to a command says; the text, as it came."""
    return said(fleet.gateway.addresses["tenants"], start_bytes(sandbox, command, user), seconds, shut=False)


def upload(sandbox, path, size, seconds=120):
    """The answer to writing so many zeroes as a file."""
    answer = b""
    with connect(fleet.gateway.addresses["tenants"], seconds) as stream:
        stream.sendall(head(sandbox, "POST", f"/files?path={path}&username=user", f"Content-Length: {size}",
                            "Content-Type: application/octet-stream", "Connection: close"))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before its end
            for _ in range(size // MIB):
                stream.sendall(bytes(MIB))
        with contextlib.suppress(ConnectionResetError):
            while part := stream.recv(65536):
                answer += part
    return answer


# ---- the API ----

def nothing_sent_to_the_api_breaks_it():
    key = fleet.tenant("noise")
    api = fleet.scheduler.addresses["api"]
    sandbox = create(key)["sandboxID"]

    def post(body, *more, path="/v2/sandboxes", kind="application/json"):
        body = body.encode() if isinstance(body, str) else body
        return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", f"X-API-Key: {key}", f"Content-Type: {kind}",
                            f"Content-Length: {len(body)}", "Connection: close", *more, "", ""]).encode() + body

    def get(path, *more):
        return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", f"X-API-Key: {key}", "Connection: close", *more, "",
                            ""]).encode()

    timeout = f"/sandboxes/{sandbox}/timeout"
    rows = [
        post('{"templateID":"base","timeout":' + "9" * 400 + "}"), post('{"templateID":"base","timeout":1e308}'),
        post('{"templateID":"base","timeout":-9223372036854775808}'), post('{"templateID":"base","timeout":0}'),
        post('{"templateID":"base","timeout":1.5}'), post('{"templateID":"base","timeout":"60"}'),
        post('{"templateID":"base","timeout":NaN}'), post('{"templateID":"nope","templateID":"base"}'),
        post(b'{"templateID":"ba\xff\xfese"}'), post('{"templateID":"base\\u0000"}'), post('{"templateID":"\\ud800"}'),
        post('{"templateID":"base","metadata":{"a":{}}}'), post('{"templateID":"base","envVars":{"A=B":"1"}}'),
        post('{"templateID":"base","envVars":{"":"1"}}'), post('{"templateID":"base","envVars":{"A":"x\\u0000y"}}'),
        post('{"templateID":"base","metadata":' + json.dumps({str(at): "x" * 1000 for at in range(65)}) + "}"),
        post("[" * 100000), post('{"a":' * 20000 + "1" + "}" * 20000), post(""), post("null"), post(b"\0"),
        post("{}", kind="application/x-www-form-urlencoded"), post("{}", "Content-Length: 2"),
        post('{"timeout":60}x', path=timeout), post('{"timeout":true}', path=timeout),
        post('{"timeout":9223372036854775808}', path=timeout), post("{}", "Transfer-Encoding: gzip"),
        get("/sandboxes/%2e%2e%2fv1%2ftenants"), get("/sandboxes/..%2f..%2f"), get("//v2/sandboxes"), get("/v2//sandboxes"),
        get("/sandboxes/%00"), get("/sandboxes/i%"), get("/sandboxes/" + "i" * 7000), get("/v2/sandboxes?limit=0"),
        get("/v2/sandboxes?limit=99999999999999999999"), get("/v1/usage?from=never"),
        get("/v2/sandboxes?metadata=" + "%25" * 2000), get("/v2/sandboxes?nextToken=%00%ff"), get("/v2/sandboxes?order=up"),
        get("/v1/tenants"), get("/v1/nodes"), get("/" + "a" * 100000), get("/v2/sandboxes", *["X: " + "y" * 1000] * 100),
        get("/nothing", *[f"X-{at}: y" for at in range(2000)]), b"GET\r\n\r\n", 
        b"GET /livez HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n", 
        b"POST /v2/sandboxes HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v2/sandboxes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        f"POST /v2/sandboxes HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".encode(),
    ]
    surprises = []
    for row in rows:
        answer = said(api, row, shut=False) if b"Connection: close" in row else said(api, row)
        codes = statuses(answer)
        if any(not 400 <= code < 500 for code in codes) or b"Connection: close" in row and len(codes) > 1:
            surprises.append((row[:300], answer[:400]))
    for row, answer in surprises:
        print("  ", row, "=>", answer)
    assert not surprises, len(surprises)
    assert [row["sandboxID"] for row in fleet.api("GET", "/v2/sandboxes", key=key)[1]] == [sandbox]
    check(key)


def pipelined_requests_are_each_answered_once():
    key = fleet.tenant("hasty")
    one = f"GET /v2/sandboxes HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n".encode()
    last = one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert statuses(said(fleet.scheduler.addresses["api"], one * 99 + last, shut=False)) == [200] * 100
    check(key)


def idle_and_dribbling_connections_leave_room_for_others():
    key = fleet.tenant("patient")
    sandbox = create(key)
    with contextlib.ExitStack() as held:
        for address in (fleet.scheduler.addresses["api"], fleet.gateway.addresses["tenants"],
                        fleet.gateway.addresses["tunnels"], fleet.scheduler.addresses["bus"]):
            for number in range(400):
                stream = held.enter_context(connect(address))
                if number % 2:
                    stream.sendall(b"POST /v2/sandboxes HTTP/1.1\r\nContent-Le"[:number % 40])
        began = time.monotonic()
        assert fleet.api("GET", "/v2/sandboxes", key=key)[0] == 200
        assert fleet.in_guest(sandbox, "GET", "/health")[0] == 204
        another = create(key)
        assert fleet.in_guest(another, "GET", "/health")[0] == 204
        assert time.monotonic() - began < 20
    check(key)


def storms_on_one_sandbox_end_in_one_bill():
    key = fleet.tenant("stormy")
    made, lock, stopping = [create(key)["sandboxID"]], threading.Lock(), threading.Event()
    seen = {}

    def storm(number):
        turn = number
        while not stopping.is_set():
            turn += 1
            with lock:
                name = made[-1 - turn % min(3, len(made))]
            kind = turn % 7
            if kind == 0:
                status, answer = fleet.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 300}, key=key)
                if status == 201:
                    with lock:
                        made.append(answer["sandboxID"])
            elif kind == 1:
                status = fleet.api("DELETE", f"/sandboxes/{name}", key=key)[0]
            elif kind in (2, 3):
                status = fleet.api("POST", f"/sandboxes/{name}/timeout", {"timeout": 60 + turn}, key=key)[0]
            elif kind == 4:
                status = fleet.api("GET", f"/sandboxes/{name}", key=key)[0]
            else:
                status = fleet.api("POST", f"/v2/sandboxes/{name}/connect", {"timeout": 30}, key=key)[0]
            with lock:
                seen[kind, status] = seen.get((kind, status), 0) + 1

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(storm, number) for number in range(8)]
        time.sleep(4)
        stopping.set()
        for one in runs:
            one.result()
    assert {status for _, status in seen} <= {200, 201, 204, 404, 503}, seen
    bills = settle(key)
    assert set(made) <= set(bills), set(made) - set(bills)
    check(key)


def a_create_that_nobody_waits_for_is_listed_or_gone():
    key = fleet.tenant("fickle")
    body = b'{"templateID":"base","timeout":300}'
    sent = f"POST /v2/sandboxes HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\n" \
           f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    for number in range(12):
        with connect(fleet.scheduler.addresses["api"]) as stream:
            stream.sendall(sent)
            time.sleep(number * 0.01)
            if number % 2:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # RST
    wait_for("creates to be decided", 30, lambda: all(row["state"] == "running" for row in fleet.api(
        "GET", "/v1/sandboxes", key=fleet.operator_key())[1]))
    listed = {row["sandboxID"] for row in fleet.api("GET", "/v2/sandboxes", key=key)[1]}
    assert fleet.api("GET", "/v1/limits", key=key)[1]["concurrentSandboxes"]["current"] == len(listed)
    assert listed <= set(settle(key))
    check(key)


# ---- bus and tunnels ----

class Tap:
    """A TCP proxy that keeps what was sent to the other side."""

    def __init__(self, to):
        self.to, self.sent = to, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server, kept = connect(self.to, None), bytearray()
                self.sent.append(kept)
                threading.Thread(target=self._pass, args=(client, server, kept), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, None), daemon=True).start()

    @staticmethod
    def _pass(source, sink, kept):
        with contextlib.suppress(OSError):
            while part := source.recv(65536):
                if kept is not None:
                    kept += part
                sink.sendall(part)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def nodes():
    return {row["nodeID"]: row for row in fleet.api("GET", "/v1/nodes", key=fleet.operator_key())[1]}


def sp(body):
    return len(body).to_bytes(8, "big") + body


def strangers_on_the_bus_change_nothing():
    key = fleet.tenant("wary")
    bus = fleet.scheduler.addresses["bus"]
    sandbox, before = create(key), set(nodes())
    hello = b"\0SP\0\0\x30\0\0"
    for noise in (b"", b"\0SP\0", b"\0SP\0\0\x31\0\0", hello + sp(b""), hello + sp(b"\x80\0\0\1"), hello + sp(b"\0\0\0\1x"),
                  hello + (1 << 62).to_bytes(8, "big") + b"x" * 65536, hello + (3 << 20).to_bytes(8, "big"),
                  hello + sp(b"\0\0\0\1" * 1000), hello + sp(b"\x80\0\0\1" + b"\xdf\xff\xff\xff\xff"),
                  hello + sp(b"\x80\0\0\1" + b"\x91" * 5000), hello + sp(b"\x80\0\0\1" + os.urandom(3000)) * 50):
        with connect(bus, 1) as stream, contextlib.suppress(OSError):
            stream.sendall(noise)
            stream.recv(65536)
    assert create(key)["sandboxID"]

    # Somebody records all that an agent says, and says it again: at once, often, and in pieces.
    tap = Tap(bus)
    fleet.add_agent(7, ["--scheduler", "tcp://" + tap.address])
    wait_for("the tapped node", 30, lambda: len(nodes()) == len(before) + 1)
    for _ in range(4):
        create(key)
    time.sleep(0.5)
    known = set(nodes())
    for kept in list(tap.sent):
        for data in (bytes(kept), bytes(kept[:8]) + bytes(kept[8:]) * 3, bytes(kept[:len(kept) // 2])):
            with connect(bus, 1) as stream, contextlib.suppress(OSError):
                stream.sendall(data)
                while stream.recv(65536):
                    pass
    assert set(nodes()) == known
    assert fleet.in_guest(sandbox, "GET", "/health")[0] == 204
    for _ in range(4):
        create(key)
    settle(key)
    fleet.agents.pop().stop()
    # Until it counts as silent, creates may be given to it and wait in vain.
    wait_for("the stopped node to be silent", 20, lambda: [row["state"] for row in nodes().values()].count("ready") == len(before))
    check(key)


def who_may_not_enrol_does_not():
    known = set(nodes())
    options = ["--template-dir", fleet.templates, "--scheduler", "tcp://" + fleet.scheduler.addresses["bus"]]

    def agent(name, token, state):
        with open(os.open(fleet.path(name + ".token"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(token)
        return fleet._daemon("flotilla-agent", name, [
            "--state-dir", fleet.path(state), "--run-dir", fleet.path(name, "run"), "--enrol-token-file",
            fleet.path(name + ".token"), "--node-name", name, *options])

    with open(fleet.path("agent0.token")) as file:
        used = file.read()
    for name, token, state in (("guesser", "0" * len(used), "guesser"), ("copier", used, "copier"),
                               ("noise", "\xff\n\0" * 100, "noise"), ("twin", used, "agent0")):
        one = agent(name, token, state)
        with contextlib.suppress(Failed):
            one.start(4)
        text = one.tail()
        one.kill()
        print(f"   {name}: {text.strip().splitlines()[-1][:200] if text.strip() else 'said nothing'}")
        assert text.strip() and not SANITIZERS.search(text), (name, text)
    assert set(nodes()) == known
    check()


def bind_bytes(sandbox, ticket):
    """What a shim says first; the form as in common/mux/tunnel.c."""
    name = sandbox.encode()
    return b"FLBIND\0\1" + name + b"\0" * (32 - len(name)) + ticket


def tunnels_of_strangers_reach_no_sandbox():
    key = fleet.tenant("guarded")
    sandbox = create(key)
    tunnels = fleet.gateway.addresses["tunnels"]
    bound = bind_bytes(sandbox["sandboxID"], os.urandom(32))
    answers = [said(tunnels, noise, 3) for noise in (
        bound, bound[:20], b"\0" * len(bound), bound + b"\0" * 4096, os.urandom(len(bound)), os.urandom(4096),
        bind_bytes("i" + "0" * 20, bytes(32)), bind_bytes("../../../../../etc/pa", bytes(32)))]
    assert all(len(answer) <= 8 for answer in answers), answers
    assert fleet.in_guest(sandbox, "GET", "/health")[0] == 204
    check(key)


# ---- the gateway ----

def requests_of_two_readings_are_refused():
    key = fleet.tenant("smuggler")
    sandbox = create(key)
    tenants = fleet.gateway.addresses["tenants"]
    hidden = b"GET /envs HTTP/1.1\r\nHost: localhost\r\n\r\n"

    def one(*more, body=hidden):
        return head(sandbox, "POST", "/health", *more) + body
    rows = [
        one("Content-Length: 4", "Transfer-Encoding: chunked", body=b"0\r\n\r\n" + hidden),
        one("Content-Length: 4", "Content-Length: 5"), one("Content-Length: 4, 5"), one("Content-Length: +4"),
        one("Content-Length: 0x4"), one("Content-Length:"), one("Content-Length : 4"), one("Content-Length: 4 4"),
        one("Content-Length: 18446744073709551617"), one("Transfer-Encoding: chunked, identity"),
        one("Transfer-Encoding: xchunked"), one("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        one("Transfer-Encoding:\x0bchunked"), one("Transfer-Encoding: chunked", body=b"1;\n\r\nx\r\n0\r\n\r\n"),
        one("Transfer-Encoding: chunked", body=b"0x1\r\nx\r\n0\r\n\r\n"), one("X: a", " Content-Length: 4"),
        one("X: a\nContent-Length: 4"), one("X: a\rContent-Length: 4"), one("X: a\0b"), one("Host: other"),
        head(sandbox).replace(b"\r\n", b"\n"),
        head(sandbox, "GET", "/a b"), head(sandbox, "GE T"), head(sandbox, "GET", "\x80"),
        head(sandbox).replace(b"HTTP/1.1", b"HTTP/2.0", 1), head(sandbox).replace(b"HTTP/1.1", b"HTTP/1.10", 1),
        head(sandbox).replace(b"E2b-Sandbox-Port: 49983", b"E2b-Sandbox-Port: 49983, 80"),
        head(sandbox).replace(b"49983", b"0"), head(sandbox).replace(b"49983", b"65536"), head(sandbox).replace(b"49983", b"-1"),
        head(sandbox).replace(b"E2b-Sandbox-Id: i", b"E2b-Sandbox-Id: ../i"), head(sandbox, "POST", "/init?" + "x" * 5000),
        head(sandbox, "POST", "/%69nit"), head(sandbox, "POST", "//init"), head(sandbox, "POST", "/./init;x"),
        head(sandbox, "POST", "http://x/init"), head(sandbox, "GET", "/", *["X: " + "y" * 1000] * 40),
    ]
    surprises = []
    for row in rows:
        answer = said(tenants, row)
        codes = statuses(answer)
        # What is refused ends the connection: nothing behind it is read as a request.
        if len(codes) > 1 or any(code not in (400, 404, 413, 414, 431, 501, 505) for code in codes):
            surprises.append((row[:80] + row[-120:], answer[:300]))
    for row, answer in surprises:
        print("  ", row, "=>", answer)
    assert not surprises, len(surprises)
    assert fleet.in_guest(sandbox, "GET", "/health")[0] == 204
    check(key)


def two_hundred_requests_at_once_are_all_answered():
    key = fleet.tenant("busy")
    sandbox = create(key)
    tenants = fleet.gateway.addresses["tenants"]
    with contextlib.ExitStack() as held:
        streams = [held.enter_context(connect(tenants, 60)) for _ in range(200)]
        for stream in streams:
            stream.sendall(head(sandbox, "GET", "/metrics", "Connection: close"))
        codes = []
        for stream in streams:
            answer = b""
            while part := stream.recv(65536):
                answer += part
            codes += statuses(answer)
    assert codes == [200] * 200, codes
    check(key)


def large_files_pass_in_bounded_memory(size=64 * MIB):
    key = fleet.tenant("heavy")
    sandbox = create(key)
    shim = pids_of(sandbox)[0]
    watched = {"gateway": fleet.gateway.pid, "shim": shim, "agent": fleet.agents[0].pid}
    before = {name: rss_mib(pid) for name, pid in watched.items()}
    most, stopping = dict(before), threading.Event()

    def sample():
        while not stopping.wait(0.05):
            for name, pid in watched.items():
                most[name] = max(most[name], rss_mib(pid))
    sampler = threading.Thread(target=sample)
    sampler.start()
    began = time.monotonic()
    try:
        answer = upload(sandbox, "/home/user/large", size)
        assert statuses(answer) == [200], answer
        up = time.monotonic()
        with connect(fleet.gateway.addresses["tenants"], 60) as stream:
            stream.sendall(head(sandbox, "GET", "/files?path=/home/user/large&username=user", "Connection: close"))
            got = 0
            while part := stream.recv(1 << 18):
                got += len(part)
        assert size < got < size + 4096, got
        down = time.monotonic()
    finally:
        stopping.set()
        sampler.join()
    print(f"   {size / MIB / (up - began):.0f} MiB/s up, {size / MIB / (down - up):.0f} MiB/s down; MiB more:",
          {name: round(most[name] - before[name], 1) for name in watched})
    assert all(most[name] - before[name] < 16 for name in watched), (before, most)
    check(key)


def who_stops_reading_or_leaves_stalls_only_himself():
    key = fleet.tenant("slow")
    sandbox, other = create(key), create(key)
    tenants = fleet.gateway.addresses["tenants"]
    shim = pids_of(sandbox)[0]
    with contextlib.ExitStack() as held:
        stalled = []
        for _ in range(8):
            stream = held.enter_context(connect(tenants, 30))
            stream.sendall(start_bytes(sandbox, "exec yes $(printf %01000d 0)"))
            stalled.append(stream)
        for stream in stalled:
            assert b" 200 OK" in stream.recv(100)
        time.sleep(1)
        before = rss_mib(fleet.gateway.pid), rss_mib(shim)
        time.sleep(1)
        after = rss_mib(fleet.gateway.pid), rss_mib(shim)
        assert all(later - first < 4 for first, later in zip(before, after)), (before, after)
        began = time.monotonic()
        assert ANSWERED in run(sandbox, "echo answered")
        assert ANSWERED in run(other, "echo answered")
        assert time.monotonic() - began < 20
        for stream in stalled[::2]:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            stream.close()
    # And in the middle of an upload.
    for cut in (10, 1000, 100000):
        with connect(tenants) as stream:
            stream.sendall(head(sandbox, "POST", "/files?path=/tmp/cut&username=user", "Content-Length: 1000000",
                                "Content-Type: application/octet-stream") + b"x" * cut)
    assert ANSWERED in run(sandbox, "echo answered")
    check(key)


# ---- hostile guests ----

def a_fork_bomb_hurts_nobody_else():
    key = fleet.tenant("bomber")
    sandbox, other = create(key), create(key)
    with connect(fleet.gateway.addresses["tenants"]) as stream:
        stream.sendall(start_bytes(sandbox, "bomb() { bomb | bomb & }; bomb; sleep 60"))
        time.sleep(2)
        began = time.monotonic()
        assert ANSWERED in run(other, "echo answered")
        assert time.monotonic() - began < 15
        assert create(key)["sandboxID"]
        assert fleet.api("DELETE", f"/sandboxes/{sandbox['sandboxID']}", key=key)[0] == 204
    check(key)


def whatever_root_does_in_a_guest_ends_there():
    key = fleet.tenant("rooted")
    other = create(key)
    for command in ("kill -9 -1; kill -9 1; echo", "echo c > /proc/sysrq-trigger", "cat /dev/urandom > /dev/vport0p1",
                    "for f in /dev/vport*; do head -c 9999999 /dev/urandom > $f; done; echo", "rm -rf --no-preserve-root / 2>/dev/null",
                    "reboot -f; poweroff -f; echo o > /proc/sysrq-trigger; sleep 5",
                    "python3 -c 'x=[bytearray(1<<20) for _ in range(4096)]'"):
        sandbox = create(key)
        with contextlib.suppress(TimeoutError):
            run(sandbox, command, "root", 4)
        status = fleet.api("DELETE", f"/sandboxes/{sandbox['sandboxID']}", key=key)[0]
        assert status in (204, 404), (command, status)
        print(f"   {command[:40]:40} {end_of(sandbox, key)['cause']}")
    assert fleet.in_guest(other, "GET", "/health")[0] == 204
    check(key)


def a_full_disk_is_said_as_such():
    key = fleet.tenant("hoarder")
    sandbox = create(key)
    run(sandbox, "mkdir -p /tmp/small && mount -t tmpfs -o size=1m,mode=777 none /tmp/small", "root")
    answer = upload(sandbox, "/tmp/small/f", 4 * MIB)
    assert statuses(answer) == [507] and b"space" in answer, answer
    assert fleet.in_guest(sandbox, "GET", "/health")[0] == 204
    check(key)


# ---- hosts ----

def a_killed_microvm_is_told_not_billed_and_replaced(of=1, name="doomed"):
    key = fleet.tenant(name)
    sandbox = create(key)
    with connect(fleet.gateway.addresses["tenants"]) as stream:
        stream.sendall(start_bytes(sandbox, "echo begun; sleep 100"))
        assert b" 200 OK" in stream.recv(4096)
        os.kill(pids_of(sandbox)[of], signal.SIGKILL)
        with contextlib.suppress(ConnectionResetError):
            while stream.recv(4096):
                pass
    bill = end_of(sandbox, key)
    assert bill["cause"] == ("shim_fault", "vm_fault")[of], bill
    assert bill["seconds"] == 0 and bill["unbilledSeconds"] >= 1 and float(bill["amount"]) == 0, bill
    assert fleet.in_guest(sandbox, "GET", "/health")[0] == 502
    wait_for("its processes to be gone", 10, lambda: len(fleet.vm_processes()) % 2 == 0)
    assert fleet.in_guest(create(key), "GET", "/health")[0] == 204
    check(key)


def a_killed_shim_takes_its_microvm_along():
    a_killed_microvm_is_told_not_billed_and_replaced(0, "orphan")


def daemons_that_freeze_for_a_while_go_on():
    key = fleet.tenant("frozen")
    sandbox = create(key)
    for daemon in daemons():
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            time.sleep(2.5)
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
        assert fleet.in_guest(sandbox, "GET", "/health")[0] == 204, daemon.name
        assert create(key)["sandboxID"], daemon.name
    check(key)


def an_agent_killed_again_and_again_loses_and_doubles_nothing():
    key = fleet.tenant("shaken")
    agent, stopping, told = fleet.agents[0], threading.Event(), {}

    def work():
        while not stopping.is_set():
            status, answer = fleet.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 300}, key=key)
            if status == 201:
                told[answer["sandboxID"]] = True
                if len(told) % 2:
                    fleet.api("DELETE", f"/sandboxes/{answer['sandboxID']}", key=key)
            else:
                time.sleep(0.1)
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(5):
            time.sleep(0.2 + number * 0.3)
            agent.kill()
            agent.start()
        time.sleep(1)
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    bills = settle(key, 60)
    assert set(told) <= set(bills), set(told) - set(bills)
    check(key)


def a_restarted_gateway_serves_within_seconds():
    key = fleet.tenant("rerouted")
    made = [create(key) for _ in range(3)]
    with connect(fleet.gateway.addresses["tenants"]) as stream:
        stream.sendall(start_bytes(made[0], "sleep 100"))
        stream.recv(4096)
        fleet.gateway.kill()
        fleet.gateway.start()
        began = time.monotonic()
        for sandbox in made:
            assert fleet.in_guest(sandbox, "GET", "/health")[0] == 204
        assert time.monotonic() - began < 10
    check(key)


def time_limits_hold_without_a_scheduler():
    key = fleet.tenant("alone")
    made = [create(key, timeout=3) for _ in range(3)]
    mine = [pids_of(sandbox)[1] for sandbox in made]
    fleet.scheduler.kill()
    try:
        wait_for("the time limits", 10, lambda: not set(mine) & set(fleet.vm_processes()))
    finally:
        fleet.scheduler.start()
    for sandbox in made:
        bill = end_of(sandbox, key)
        assert bill["cause"] == "timeout" and 3 <= bill["seconds"] <= 4, bill
    check(key)


# ---- what is left ----

def many_cycles_leave_nothing_behind(cycles=40):
    key = fleet.tenant("tidy")

    def cycle(n):
        for _ in range(n):
            sandbox = create(key)
            assert fleet.in_guest(sandbox, "GET", "/health")[0] == 204
            assert fleet.api("DELETE", f"/sandboxes/{sandbox['sandboxID']}", key=key)[0] == 204

    def measure():
        settle(key)
        fleet.wait_warm(2)
        time.sleep(2)
        return {daemon.name: (fds(daemon.pid), rss_mib(daemon.pid)) for daemon in daemons()}
    cycle(10)
    before = measure()
    cycle(cycles)
    after = measure()
    print("   fds and MiB:", {name: (before[name], after[name]) for name in before})
    for name, (fds_n, mib) in after.items():
        assert fds_n <= before[name][0] + 12, (name, before[name], after[name])
        assert mib <= before[name][1] + cycles * 0.05 + 4, (name, before[name], after[name])
    folders = os.listdir(fleet.path("agent0", "run", "vm"))
    left = [line for line in fleet.vm_processes().values() if fleet.path("agent0") in line]
    assert len(folders) <= 10 and len(left) <= 2 * len(folders), (folders, left)
    for daemon in daemons():
        with open(f"/proc/{daemon.pid}/task/{daemon.pid}/children") as file:
            for pid in file.read().split():
                with open(f"/proc/{pid}/stat") as stat:
                    assert stat.read().rsplit(")", 1)[1].split()[0] != "Z", (daemon.name, pid)
    check(key)


def the_ledger_verifies_after_all_this():
    fleet.scheduler.stop()
    fleet.scheduler.argv.append("--store-verify")
    fleet.scheduler.start()
    assert fleet.api("GET", "/readyz")[0] == 200
    check()


if __name__ == "__main__":
    with Fleet(agents=1, agent_options=["--capacity-vcpus", "256", "--capacity-mem", "256GiB"]) as fleet:
        run_tests([
            nothing_sent_to_the_api_breaks_it,
            pipelined_requests_are_each_answered_once,
            idle_and_dribbling_connections_leave_room_for_others,
            storms_on_one_sandbox_end_in_one_bill,
            a_create_that_nobody_waits_for_is_listed_or_gone,
            strangers_on_the_bus_change_nothing,
            who_may_not_enrol_does_not,
            tunnels_of_strangers_reach_no_sandbox,
            requests_of_two_readings_are_refused,
            two_hundred_requests_at_once_are_all_answered,
            large_files_pass_in_bounded_memory,
            who_stops_reading_or_leaves_stalls_only_himself,
            a_fork_bomb_hurts_nobody_else,
            whatever_root_does_in_a_guest_ends_there,
            a_full_disk_is_said_as_such,
            a_killed_microvm_is_told_not_billed_and_replaced,
            a_killed_shim_takes_its_microvm_along,
            daemons_that_freeze_for_a_while_go_on,
            an_agent_killed_again_and_again_loses_and_doubles_nothing,
            a_restarted_gateway_serves_within_seconds,
            time_limits_hold_without_a_scheduler,
            many_cycles_leave_nothing_behind,
            the_ledger_verifies_after_all_this,
        ])
