#!/usr/bin/env python3
"""
What becomes of a sandbox's requests in its keeper: fields put in, by the real program between a sandbox played by hand (sandbox.py)
and sites with TLS and proxies in a world in namespaces.

usage: rules_test.py FLOTILLA-EGRESS [TEST...]
"""
import contextlib
import json
import socket
import ssl
import struct
import sys
import threading
import time
from pathlib import Path

from sandbox import ALL, Problem, run
from internet import DNS, NAMES, World
from servers import Authority, Proxy, Server, Web

PROGRAM = sys.argv[1]
SITE, OTHER, PROXY = "203.0.113.10", "203.0.113.11", "203.0.113.11"
GOOD = "api.good.example"
OF_NAMES = {**NAMES, GOOD: SITE, "second.example": SITE, "proxy.example": PROXY}
SECRET = "Bearer s3cret"
RULES = {GOOD: {"Authorization": SECRET}}
MUCH = 50 << 20
LARGE_KIB = 4 << 10  # what a keeper may grow by, whatever passes: buffers of a connection or two

# Who vouches for sites, and for a keeper to its sandbox.
world_authority, own_authority = Authority("The world's"), Authority("A tenant's")
site = plain = None


# ---- helpers ----

def ruled(make, rules=RULES, **more):
    """A sandbox with rules, which may go anywhere if it is not said otherwise."""
    return make(f"dns={DNS};ca={world_authority.path}", **those(rules, **more))


def those(rules=RULES, **more):
    return {"rules": rules, "authority": (own_authority.pem(), own_authority.key_der()), **more}


def trust():
    return own_authority.trust()


def said(client, path="/", method="GET", body=None, headers={}):
    """What the site says it was sent."""
    client.request(method, path, body, headers)
    response = client.getresponse()
    text = response.read()
    assert response.status == 200, (response.status, text)
    return json.loads(text)


def field(told, name="authorization"):
    return [value for key, value in told["fields"] if key == name]


def safe(sandbox, name=GOOD, address=SITE, port=443, patience_s=30):
    """A connection by TLS, for bytes of the test's own."""
    return trust().wrap_socket(sandbox.connect(address, port, patience_s), server_hostname=name)


def all_of(connection):
    """All that comes, to its end or its breaking."""
    got = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while piece := connection.recv(1 << 16):
            got += piece
    return got


def until(connection, end):
    got = b""
    while not got.endswith(end):
        piece = connection.recv(1 << 16)
        assert piece, got
        got += piece
    return got


def asks(sandbox, request, name=GOOD, port=443, address=SITE):
    """All that is answered to these bytes in one connection."""
    with safe(sandbox, name, address, port) as connection:
        connection.sendall(request)
        return all_of(connection)


def eventually(what, true, patience_s=10):
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class Gate:
    """A server that keeps whoever comes until it is let go on; its connections are the test's."""

    def __init__(self, world, address, port, context=None):
        self.came, self.held, self.open = threading.Event(), [], threading.Event()
        self.server = Server(world.far, address, port, self._hold, context)

    def _hold(self, connection):
        self.held.append(connection)
        self.came.set()
        self.open.wait(60)

    def wait(self):
        assert self.came.wait(10), "nobody came"
        return self.held[-1]

    def close(self):
        self.open.set()
        self.server.close()


def memory_kib(sandbox, which):
    """VmRSS or VmHWM; None: it is no measure of the program, with what watches over it."""
    about = Path(f"/proc/{sandbox.process.pid}")
    maps = (about / "maps").read_text()
    if "asan" in maps or "valgrind" in maps:
        return None
    lines = (about / "status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(which)).split()[1])


@contextlib.contextmanager
def flat(sandbox, most_kib=LARGE_KIB):
    """The most that it takes meanwhile is little more than it took before."""
    before = memory_kib(sandbox, "VmRSS")
    yield
    after = memory_kib(sandbox, "VmHWM")
    assert before is None or after - before < most_kib, f"{before} KiB before, {after} at most after"


# ---- promises: requests ----

def requests_get_the_fields_of_their_rule(world, make):
    sandbox = ruled(make, {GOOD: {"Authorization": SECRET, "X-Two": "b"}, "*.example": {"X-Below": "c"}})
    for known, port in ((trust(), 443), (None, 80)):
        with contextlib.closing(sandbox.opens(SITE, GOOD, known)) as client:
            told = said(client, headers={"authorization": "own", "X-TWO": "own", "X-Below": "stays"})
            assert field(told) == [SECRET] and field(told, "x-two") == ["b"] and field(told, "x-below") == ["stays"], told
            assert told["at"] == SITE and told["port"] == port, told
        with contextlib.closing(sandbox.opens(OTHER, GOOD, known)) as client:
            assert said(client)["at"] == SITE, "the name's own address, wherever it was sent"
        with contextlib.closing(sandbox.opens(SITE, "second.example", known)) as client:
            told = said(client, headers={"Authorization": "own"})
            assert field(told) == ["own"] and field(told, "x-below") == ["c"], told


def who_has_no_rule_is_not_looked_at(world, make):
    sandbox = ruled(make)
    with contextlib.closing(sandbox.opens(SITE, "second.example", world_authority.trust())) as client:
        assert field(said(client)) == [], "the site's own certificate, and no fields"
    try:
        safe(sandbox, "second.example")
        raise AssertionError("the tenant's authority vouched for it")
    except ssl.SSLCertVerificationError:
        pass


def one_connection_carries_many_requests(world, make):
    sandbox = ruled(make)
    for known in (trust(), None):
        with contextlib.closing(sandbox.opens(SITE, GOOD, known)) as client:
            for number in range(30):
                told = said(client, f"/{number}", "POST", b"x" * number)
                assert field(told) == [SECRET] and told["body_n"] == number, told
    many = b"".join(b"GET /%d HTTP/1.1\r\nHost: %s\r\n\r\n" % (number, GOOD.encode()) for number in range(100))
    seen = len(site.seen)
    answers = asks(sandbox, many + b"GET /last HTTP/1.1\r\nConnection: close\r\nHost: " + GOOD.encode() + b"\r\n\r\n")
    assert answers.count(b"HTTP/1.1 200") == 101, answers.count(b"HTTP/1.1 200")
    assert [each["line"].split()[1] for each in site.seen[seen:]] == [f"/{number}" for number in range(100)] + ["/last"]
    assert all(field(each) == [SECRET] for each in site.seen[seen:])


def bodies_pass_as_they_are(world, make):
    sandbox = ruled(make)
    with contextlib.closing(sandbox.opens(SITE, GOOD, trust())) as client:
        pieces = [b"GET / HTTP/1.1\r\nAuthorization: x\r\n\r\n", b"0\r\n\r\n", bytes(70000), b"end"]
        for number in range(3):
            client.request("POST", "/echo", iter(pieces), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
            assert client.getresponse().read() == b"".join(pieces), number
            client.request("PUT", "/echo", b"".join(pieces))
            assert client.getresponse().read() == b"".join(pieces), number


def much_passes_both_ways_in_little_memory(world, make):
    sandbox = ruled(make)
    for known in (trust(), None):
        with contextlib.closing(sandbox.opens(SITE, GOOD, known)) as client:
            said(client)
            with flat(sandbox):
                assert said(client, "/", "POST", (bytes(1 << 16) for _ in range(MUCH >> 16)),
                            {"Content-Length": str(MUCH)})["body_n"] == MUCH
                client.request("GET", f"/large/{MUCH}")
                response, got = client.getresponse(), 0
                while piece := response.read(1 << 16):
                    got += len(piece)
                assert got == MUCH


def who_reads_nothing_is_sent_no_more(world, make):
    sandbox = ruled(make)
    with safe(sandbox) as connection, flat(sandbox):
        connection.sendall(b"GET /large/%d HTTP/1.1\r\nHost: %s\r\n\r\n" % (MUCH, GOOD.encode()))
        connection.recv(1)
        time.sleep(0.3)
    gate = Gate(world, SITE, 1443, world_authority.serves(GOOD))
    sandbox.allow(**those(names=[GOOD], deny=[ALL]))
    with safe(sandbox, port=1443) as connection, flat(sandbox):
        connection.settimeout(0.5)
        connection.sendall(b"POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n" % (GOOD.encode(), MUCH))
        with contextlib.suppress(TimeoutError):
            for _ in range(MUCH >> 16):
                connection.sendall(bytes(1 << 16))
            raise AssertionError("all of it was taken")
    gate.close()


def a_body_may_wait_for_consent(world, make):
    sandbox = ruled(make)
    with safe(sandbox) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nHost: %s\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
                           % GOOD.encode())
        assert until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        connection.sendall(b"abc")
        assert b"3\r\nabc\r\n0\r\n\r\n" in all_of(connection)
    assert field(site.seen[-1]) == [SECRET] and field(site.seen[-1], "expect") == ["100-continue"]


def another_protocol_passes_with_consent(world, make):
    sandbox = ruled(make)
    wish = b"GET /%s HTTP/1.1\r\nHost: " + GOOD.encode() + b"\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\n"
    raw = b"GET / HTTP/1.1\r\nAuthorization: own\r\n\r\n"
    for connection in (safe(sandbox), sandbox.connect(SITE, 80)):
        with connection:
            # Without consent what follows is a request, and waits until that is known.
            connection.sendall(wish % b"no" + b"POST /echo HTTP/1.1\r\nAuthorization: own\r\nHost: %s\r\nContent-Length: 3\r\n\r\nabc" % GOOD.encode())
            got = until(connection, b"\r\nabc\r\n0\r\n\r\n")
            assert got.count(b" 200 ") == 2 and field(site.seen[-1]) == [SECRET], got
            connection.sendall(wish % b"upgrade" + raw)
            got = until(connection, raw)
            assert b" 101 " in got and got.endswith(b"\r\n\r\n" + raw), got
            for size in (1, 70000, 1 << 20):
                sender = threading.Thread(target=connection.sendall, args=(bytes(size),))
                sender.start()
                left = size
                while left:
                    left -= len(connection.recv(left))
                sender.join()


def answers_without_bodies_hold_nothing_up(world, make):
    sandbox = ruled(make)
    with contextlib.closing(sandbox.opens(SITE, GOOD, trust())) as client:
        for method, path, status in (("HEAD", "/", 200), ("GET", "/status/204", 204), ("GET", "/status/304", 304),
                                     ("HEAD", f"/large/{MUCH}", 200), ("OPTIONS", "*", 200), ("DELETE", "/status/404", 404)):
            client.request(method, path)
            response = client.getresponse()
            response.read()
            assert response.status == status and field(site.seen[-1]) == [SECRET], (method, path, response.status)
        assert field(said(client)) == [SECRET]


def what_could_be_read_in_two_ways_reaches_no_site(world, make):
    sandbox = ruled(make)
    host = f"Host: {GOOD}\r\n"
    rows = (
        (400, f"POST / HTTP/1.1\r\n{host}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, f"POST / HTTP/1.1\r\n{host}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"),
        (400, f"POST / HTTP/1.1\r\n{host}Content-Length: 4, 5\r\n\r\nabcde"),
        (501, f"POST / HTTP/1.1\r\n{host}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n".replace("\x0b", "x")),
        (400, f"POST / HTTP/1.1\r\n{host}Content-Length : 4\r\n\r\nabcd"),
        (400, f"GET / HTTP/1.1\r\n{host}Authorization : own\r\n\r\n"),
        (400, f"GET / HTTP/1.1\r\n{host}X: a\nAuthorization: own\r\n\r\n"),
        (400, f"GET / HTTP/1.1\n{host}\r\n"),
        (400, f"GET / HTTP/1.1\r\n{host}X: a\r\n\tAuthorization: own\r\n\r\n"),
        (400, f"GET / HTTP/1.1\r\n{host}X: a\r\n b\r\n\r\n"),
        (400, f"GET / HTTP/1.1\r\n X: a\r\n{host}\r\n"),
        (400, f"GET / HTTP/1.1\r\n{host}X: a\rb\r\n\r\n"),
        (400, f"GET / HTTP/1.1\r\n{host}X: a\0b\r\n\r\n"),
        (400, f"GET / HTTP/1.1\r\n{host}{host}\r\n"),
        (400, "GET / HTTP/1.1\r\n\r\n"),
        (400, f"GET https://{GOOD}/ HTTP/1.1\r\n{host}\r\n"),
        (400, f"CONNECT {GOOD}:443 HTTP/1.1\r\n{host}\r\n"),
        (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (431, f"GET / HTTP/1.1\r\n{host}X: {'a' * 40000}\r\n\r\n"),
        (431, f"GET / HTTP/1.1\r\n{host}{'X: a' + chr(13) + chr(10)}" + "X: a\r\n" * 120 + "\r\n"),
        (400, f"POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n0x5\r\nabcde\r\n0\r\n\r\n"),
    )
    seen = len(site.seen)
    for status, request in rows:
        answer = asks(sandbox, request.encode())
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()) and b"Flotilla: " in answer, (request, answer)
        head = f"GET /before HTTP/1.1\r\n{host}\r\n".encode()
        assert b"s3cret" not in asks(sandbox, head + request.encode()).replace(b'"' + SECRET.encode() + b'"', b"")
    # A head before a malformed chunk is on its way before that is seen; it has been seen by then, or not.
    assert all(each["line"].split()[1] == "/before" or "chunked" in str(each) for each in site.seen[seen:]), site.seen[seen:]


def a_secret_is_for_its_host_alone(world, make):
    """By a Host that is not the one the connection is for, be there a rule for it or not."""
    sandbox = ruled(make, {GOOD: {"Authorization": SECRET}, "second.example": {"Authorization": "another's"}})
    seen = len(site.seen)
    for name, host in ((GOOD, "second.example"), (GOOD, "evil.example"), ("second.example", GOOD), (GOOD, GOOD + ".evil.example"),
                       (GOOD, f"evil.example:443@{GOOD}"), (GOOD, f"{GOOD}:80@evil.example"), (GOOD, f"{GOOD}:80, evil.example"),
                       (GOOD, f"{GOOD}:x"), (GOOD, f"{GOOD}/evil")):
        answer = asks(sandbox, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), name)
        assert answer.startswith(b"HTTP/1.1 421 ") and name.encode() in answer, (name, host, answer)
        with sandbox.connect(SITE, 80) as connection:
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\nGET /2 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            answer = all_of(connection)
        assert b"421" in answer, answer
    assert len(site.seen) == seen, site.seen[seen:]
    for host in (GOOD.upper(), GOOD + ":443", GOOD + "."):
        assert b" 200 " in asks(sandbox, f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()), host
        assert field(site.seen[-1]) == [SECRET]


def who_names_no_host_gets_no_fields(world, make):
    sandbox = ruled(make)
    for port, known in ((443, world_authority.trust()), (80, None)):
        connection = sandbox.connect(SITE, port, 30)
        if known:
            known.check_hostname = False
            connection = known.wrap_socket(connection)
        with connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n" if known else b"GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n")
            assert b'"fields"' in (answer := all_of(connection)) and b"s3cret" not in answer, answer
    sandbox.allow(**those(names=[GOOD], deny=[ALL]))
    assert sandbox.asks(SITE, 80, b"GET / HTTP/1.0\r\n\r\n") is None


def a_value_that_is_missing_is_told(world, make):
    sandbox = ruled(make, {GOOD: {"X-Ok": "v", "X-Key": Problem("there is no secret \"key\"")}})
    seen = len(site.seen)
    answer = asks(sandbox, f"GET / HTTP/1.1\r\nHost: {GOOD}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 502 ") and b'X-Key: there is no secret "key"' in answer, answer
    assert len(site.seen) == seen


# ---- promises: whom it believes ----

def sites_that_cannot_be_believed_get_nothing(world, make):
    names = ["expired.example", "stranger.example", "foreign.example", "plain.example", "silent.example", "old.example"]
    world.names.update({name: SITE for name in names})
    sandbox = ruled(make, {name: {"Authorization": SECRET} for name in names}, names=names, deny=[ALL])
    stranger = Authority("A stranger's")
    old = world_authority.serves("old.example")
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    heard = []

    def hears(connection):
        heard.append(connection.recv(4096))
        connection.sendall(b"220 ready when you are\r\n")

    servers = {
        "expired.example": Web(world.far, SITE, 2001, world_authority.serves("expired.example", days=-1)),
        "stranger.example": Web(world.far, SITE, 2002, stranger.serves("stranger.example")),
        "foreign.example": Web(world.far, SITE, 2003, world_authority.serves("other.example", SITE)),
        "plain.example": Server(world.far, SITE, 2004, hears),
        "silent.example": Server(world.far, SITE, 2005, lambda connection: heard.append(connection.recv(4096))),
        "old.example": Web(world.far, SITE, 2006, old),
    }
    words = {"expired.example": b"expired", "stranger.example": b"certificate", "foreign.example": b"certificate"}
    for port, name in enumerate(servers, 2001):
        for early in (True, False):
            with safe(sandbox, name, port=port) as connection:
                if not early:
                    time.sleep(0.2)
                connection.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
                answer = all_of(connection)
            assert answer.startswith(b"HTTP/1.1 502 ") and name.encode() in answer, (name, early, answer)
            assert words.get(name, b"") in answer and b"s3cret" not in answer, answer
    assert not any(b"s3cret" in each for each in heard), heard
    assert not any(server.seen for server in servers.values() if isinstance(server, Web))
    for server in servers.values():
        server.close()
    stranger.close()


def what_a_sandbox_believes_is_made_for_each_host(world, make):
    sandbox = ruled(make, {"*.good.example": {"X": "y"}})
    serials = set()
    for name in (GOOD, "www.good.example"):
        with safe(sandbox, name) as connection:
            certificate = connection.getpeercert()
            assert certificate["subjectAltName"] == (("DNS", name),), certificate
            serials.add(certificate["serialNumber"])
    assert len(serials) == 2
    with safe(sandbox) as connection:
        assert connection.selected_alpn_protocol() is None and connection.version() in ("TLSv1.2", "TLSv1.3")
    both = trust()
    both.set_alpn_protocols(["h2", "http/1.1"])
    with both.wrap_socket(sandbox.connect(SITE, 443, 30), server_hostname=GOOD) as connection:
        assert connection.selected_alpn_protocol() != "h2"


# ---- promises: ends ----

def who_has_said_all_still_hears(world, make):
    """Half-closed behind the request, also before the far end could be spoken to."""
    sandbox = ruled(make)
    request = f"GET /half HTTP/1.0\r\nHost: {GOOD}\r\n\r\n".encode()
    for number in range(5):
        connection = safe(sandbox)
        connection.sendall(request)
        socket.socket.shutdown(connection, socket.SHUT_WR)  # of TCP alone: no word of it within TLS
        got = all_of_raw(connection)
        assert b" 200 " in got, (number, got)
    with sandbox.connect(SITE, 80) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        assert b" 200 " in all_of(connection)
    slow = SlowGreeting(world, SITE, 1444)
    sandbox.allow(**those(names=[GOOD], deny=[ALL]))
    connection = safe(sandbox, port=1444)
    connection.sendall(request)
    socket.socket.shutdown(connection, socket.SHUT_WR)
    time.sleep(0.2)
    slow.open.set()
    got = all_of_raw(connection)
    assert b"slowly" in got, got
    slow.server.close()


def all_of_raw(connection):
    with connection:
        return all_of(connection)


class SlowGreeting:
    """A site whose TLS begins when the test says so."""

    def __init__(self, world, address, port):
        self.open, self.context = threading.Event(), world_authority.serves(GOOD)
        self.seen = []
        self.server = Server(world.far, address, port, self._serve)

    def _serve(self, connection):
        self.open.wait(30)
        with self.context.wrap_socket(connection, server_side=True) as known:
            self.seen.append(known.recv(4096))
            known.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nslowly")


def what_breaks_is_told_and_over(world, make):
    sandbox = ruled(make, names=[GOOD], deny=[ALL])

    def resets(connection):
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def ends(connection):
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
        if isinstance(connection, ssl.SSLSocket):
            connection.unwrap()

    for context in (None, world_authority.serves(GOOD)):
        for port, serve, end in ((3001, resets, None), (3002, ends, b"until the end")):
            server = Server(world.far, SITE, port, serve, context)
            connection = sandbox.connect(SITE, port, 30) if not context else safe(sandbox, port=port)
            with connection:
                connection.sendall(f"GET / HTTP/1.1\r\nHost: {GOOD}\r\n\r\n".encode())
                got = all_of(connection)
                assert end is None or got.endswith(end), got
            server.close()
    gate = Gate(world, SITE, 3003, world_authority.serves(GOOD))
    connection = safe(sandbox, port=3003)
    connection.sendall(f"GET / HTTP/1.1\r\nHost: {GOOD}\r\n\r\n".encode())
    assert b"s3cret" in gate.wait().recv(4096)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    assert all_of(gate.held[-1]) == b"", "the sandbox's reset gets to the site"
    gate.close()


def inspected_connections_are_counted(world, make):
    sandbox = ruled(make)
    held = []
    for _ in range(256):
        held.append(sandbox.connect(SITE, 80))
        held[-1].sendall(f"GET / HTTP/1.1\r\nHost: {GOOD}\r\n\r\n".encode())
        assert held[-1].recv(4096)
    assert sandbox.gets(SITE, GOOD) is None, "one more"
    assert sandbox.gets(SITE, "second.example"), "of the others there can be more"
    held.pop().close()
    eventually("room for another", lambda: sandbox.gets(SITE, GOOD))
    for each in held:
        each.close()


def memory_comes_back(world, make):
    sandbox = ruled(make)
    for number in range(300):
        asks(sandbox, f"GET / HTTP/1.0\r\nHost: {GOOD}\r\n\r\n".encode())
        if number == 100:
            before = memory_kib(sandbox, "VmRSS")
    after = memory_kib(sandbox, "VmRSS")
    assert before is None or after - before < 512, (before, after)


# ---- promises: changes ----

def rules_change_under_open_connections(world, make):
    sandbox = ruled(make)
    client, other = sandbox.opens(SITE, GOOD, trust()), sandbox.opens(SITE, "second.example", world_authority.trust())
    assert field(said(client)) == [SECRET] and field(said(other)) == []
    sandbox.allow(**those({GOOD: {"Authorization": "next", "X-New": "n"}, "second.example": {"X-New": "n"}}))
    told = said(client)
    assert field(told) == ["next"] and field(told, "x-new") == ["n"], told
    assert field(said(other), "x-new") == [], "what was let through unread goes on so"
    sandbox.allow()
    assert field(said(client)) == [], "there is none any more"
    sandbox.allow(**those({GOOD: {"Authorization": "again"}}))
    assert field(said(client)) == ["again"]
    sandbox.allow(**those({}, deny=[SITE]))
    for each in (client, other):
        try:
            each.request("GET", "/")
            each.getresponse()
            raise AssertionError("it is denied")
        except (ConnectionError, ssl.SSLError):
            each.close()


# ---- promises: proxies ----

BY_PROXY = {"proxy": {"host": "proxy.example", "port": 1080, "user": "me", "password": "my-password"}}


def connections_go_through_the_proxy_alone(world, make):
    proxy = Proxy(world.far, PROXY, 1080, OF_NAMES)
    proxy.user = ("me", "my-password")
    sandbox = ruled(make, **BY_PROXY)
    assert sandbox.asks(SITE) == f"{SITE}:8080 got 5" and proxy.seen[-1] == (SITE, 8080, proxy.user)
    with contextlib.closing(sandbox.opens(SITE, GOOD, trust())) as client:
        for _ in range(3):
            assert field(said(client)) == [SECRET]
    assert proxy.seen[-1][:2] == (GOOD, 443), proxy.seen
    with contextlib.closing(sandbox.opens(SITE, GOOD)) as client, flat(sandbox):
        assert said(client, "/", "POST", (bytes(1 << 16) for _ in range(100)), {"Content-Length": str(100 << 16)})["body_n"] == 100 << 16
    seen = len(proxy.seen)
    proxy.user = ("me", "another")
    assert sandbox.asks(SITE) is None and len(proxy.seen) == seen, "never directly"
    proxy.user = ("me", "my-password")
    assert sandbox.asks("10.9.9.9") is None and len(proxy.seen) == seen, "what is closed is closed by a proxy, too"
    proxy.close()
    assert sandbox.asks(SITE) is None, "also when there is none"


def a_proxy_is_spoken_to_by_tls(world, make):
    proxy = Proxy(world.far, PROXY, 1081, OF_NAMES, world_authority.serves("proxy.example"))
    proxy.user = ("me", "my-password")
    by = {"host": "proxy.example", "port": 1081, "user": "me", "password": "my-password", "tls": True}
    sandbox = ruled(make, proxy=by)
    assert sandbox.asks(SITE) == f"{SITE}:8080 got 5"
    with contextlib.closing(sandbox.opens(SITE, GOOD, trust())) as client:
        assert said(client, "/", "POST", bytes(1 << 20))["body_n"] == 1 << 20 and field(site.seen[-1]) == [SECRET]
    for name, authority, is_good in (("", own_authority, False), ("proxy.example", world_authority, True), ("x.example", None, False)):
        sandbox.allow(**those(proxy={**by, "host": PROXY, "tls_name": name, "tls_ca": authority and authority.pem() or b""}))
        seen = len(proxy.seen)
        assert (sandbox.asks(SITE) is not None) == is_good and (len(proxy.seen) == seen + is_good), (name, proxy.seen)
    proxy.close()


def bad_proxies_let_nothing_out(world, make):
    """Whatever they do instead, nothing goes around them, and the sandbox is reset."""
    def answers(*pieces, then=lambda connection: None):
        def serve(connection):
            for piece in pieces:
                if not connection.recv(4096):
                    return
                connection.sendall(piece)
            then(connection)
        return serve

    def resets(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    by_port = {
        4001: answers(b"\x05\xff"), 4002: answers(b"\x05\x02", b"\x01\x01"), 4003: answers(b"\x05\x02", b"\x01\x00", b"\x05\x05\x00\x01" + bytes(6)),
        4004: answers(b"HTTP/1.1 400 Bad Request\r\n\r\n"), 4005: answers(), 4006: answers(b"\x05"), 4007: answers(b"\x05\x00", b"\x05\x00\x00\x09" + bytes(20)),
        4008: answers(b"\x05\x00", b"\x05\x00\x00\x03\xffshort"), 4009: answers(b"\x05\x01"), 4010: answers(b"\x04\x00"),
        4011: answers(b"\x05\x00", then=resets), 4012: answers(bytes(1 << 20)), 4013: answers(b"\x05\x00", b"\x05\x00\x00\x01" + bytes(6)),
    }
    sandbox = ruled(make)
    seen = len(site.seen)
    for port, serve in by_port.items():
        server = Server(world.far, PROXY, port, serve)
        sandbox.allow(**those(proxy={"host": PROXY, "port": port, "user": "me", "password": "my-password"}))
        assert sandbox.asks(SITE) is None, port
        assert sandbox.gets(SITE, GOOD) is None, port
        server.close()
    assert len(site.seen) == seen


def who_never_greets_is_given_up(world, make):
    """A proxy that says nothing, and a site that does not begin TLS."""
    proxy, slow = Gate(world, PROXY, 4020), Gate(world, SITE, 4021)
    one, other = ruled(make, proxy={"host": PROXY, "port": 4020}), ruled(make, names=[GOOD], deny=[ALL])
    with one.connect(SITE, 8080, 30) as by_proxy, safe(other, port=4021) as direct:
        by_proxy.sendall(b"hello")
        direct.sendall(f"GET / HTTP/1.1\r\nHost: {GOOD}\r\n\r\n".encode())
        assert proxy.wait().recv(100) == b"\x05\x01\x00"
        assert all_of(by_proxy) == b""
        answer = all_of(direct)
        assert answer.startswith(b"HTTP/1.1 502 ") and b"too long" in answer, answer
        assert b"s3cret" not in slow.wait().recv(4096)
    proxy.close()
    slow.close()


def datagrams_do_not_go_around_a_proxy(world, make):
    sandbox = ruled(make)
    assert sandbox.sends_datagram(SITE, 7777, b"abc") == b"cba"
    with sandbox.inside.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as flow:
        flow.settimeout(0.5)
        flow.connect((SITE, 7777))
        flow.send(b"ab")
        assert flow.recv(10) == b"ba"
        sandbox.allow(**those(**BY_PROXY))
        flow.send(b"cd")
        try:
            assert flow.recv(10) is None, "it goes on"
        except (TimeoutError, ConnectionError):
            pass
    assert sandbox.sends_datagram(SITE, 7777, b"abc", 0.5) is None
    assert sandbox.looks_up("good.example") == [SITE], "names are looked up by the keeper"
    assert sandbox.looks_up("good.example", at=DNS) == [SITE]
    asked = len(world.asked)
    assert sandbox.looks_up("nobody.example", at=DNS) == 3 and len(world.asked) == asked + 1


def a_change_of_proxies_tells_none_of_the_others_secrets(world, make):
    """Connections whose way is not open yet when the rules change."""
    sandbox = ruled(make)
    # Its proxy is the same: it goes on, with what was to be said still there.
    gate = Gate(world, PROXY, 5001)
    by = {"host": PROXY, "port": 5001, "user": "user-of-one", "password": "password-of-one"}
    sandbox.allow(**those(proxy=by))
    with sandbox.connect(SITE) as connection:
        connection.sendall(b"hello")
        held = gate.wait()
        assert held.recv(100) == b"\x05\x02\x00\x02"
        sandbox.allow(**those({GOOD: {"X": "y" * 5000}}, proxy=by))
        held.sendall(b"\x05\x02")
        assert held.recv(100) == b"\x01\x0buser-of-one\x0fpassword-of-one"
        # Another: the password is not for this one.
        sandbox.allow(**those(proxy={**by, "port": 5002, "user": "two", "password": "password-of-two"}))
        with contextlib.suppress(ConnectionError):
            held.sendall(b"\x01\x00")
        assert all_of(held) == b"" and all_of(connection) == b""
    gate.close()
    # It was on its direct way, or on one to a proxy that there is not any more.
    for before, after in (({}, {"proxy": {**by, "port": 5002}}), ({"proxy": {**by, "host": OTHER, "port": 5004}}, {}),
                          ({"proxy": {**by, "host": OTHER, "port": 5004}}, {"proxy": {**by, "port": 5002}})):
        full = Full(world, OTHER, 5004)
        sandbox.allow(**those(**before))
        with sandbox.connect(OTHER, 5004, 15) as connection:
            connection.sendall(b"hello")
            eventually("it is dialled", full.is_dialled)
            sandbox.allow(**those(**after))
            got = full.accept_all(2.5)
            assert not any(got), (before, after, got)
        full.close()


class Full:
    """A listener that has no room: who dials it has to wait."""

    def __init__(self, world, address, port):
        self.world, self.port = world, port
        self.listener = world.far.run(lambda: socket.create_server((address, port), backlog=0))
        self.listener.settimeout(0.2)
        self.fillers = [world.far.run(lambda: socket.create_connection((address, port)))]

    def is_dialled(self):
        return f":{self.port} " in self.world.host.call("ss", "-tn", "state", "syn-sent") + " "

    def accept_all(self, seconds):
        """What those that are let in now say in that time."""
        got, deadline = [], time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                connection, _ = self.listener.accept()
                connection.settimeout(0.3)
                with connection, contextlib.suppress(TimeoutError, ConnectionError):
                    got.append(connection.recv(100))
        return got

    def close(self):
        self.listener.close()
        for each in self.fillers:
            each.close()


def main():
    global site, plain
    world = World(ports=(8080,), names=dict(OF_NAMES))
    site = Web(world.far, SITE, 443, world_authority.serves(GOOD, "second.example", "www.good.example"))
    plain = Web(world.far, SITE, 80)
    plain.seen = site.seen
    tests = [
        requests_get_the_fields_of_their_rule, who_has_no_rule_is_not_looked_at, one_connection_carries_many_requests,
        bodies_pass_as_they_are, much_passes_both_ways_in_little_memory, who_reads_nothing_is_sent_no_more,
        a_body_may_wait_for_consent, another_protocol_passes_with_consent, answers_without_bodies_hold_nothing_up,
        what_could_be_read_in_two_ways_reaches_no_site, a_secret_is_for_its_host_alone, who_names_no_host_gets_no_fields,
        a_value_that_is_missing_is_told, sites_that_cannot_be_believed_get_nothing, what_a_sandbox_believes_is_made_for_each_host,
        who_has_said_all_still_hears, what_breaks_is_told_and_over, inspected_connections_are_counted, memory_comes_back,
        rules_change_under_open_connections, connections_go_through_the_proxy_alone, a_proxy_is_spoken_to_by_tls,
        bad_proxies_let_nothing_out, who_never_greets_is_given_up, datagrams_do_not_go_around_a_proxy,
        a_change_of_proxies_tells_none_of_the_others_secrets,
    ]
    wanted = sys.argv[2:]
    failed = run([test for test in tests if not wanted or test.__name__ in wanted], PROGRAM, world, world.asked.clear)
    world.close()
    for each in (world_authority, own_authority):
        each.close()
    sys.exit(failed)


main()
