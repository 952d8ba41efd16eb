"""
Servers for a world (internet.py): an authority that vouches for names, sites of HTTP and HTTPS that tell what they were sent, and
SOCKS5 proxies.  Each lives in a namespace of the test's and keeps what it has seen.
"""
import contextlib
import http.server
import json
import os
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import threading

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
PIECE = 1 << 16


class Authority:
    def __init__(self, name="An authority of a test's"):
        self.folder = tempfile.mkdtemp(prefix="authority-")
        os.chmod(self.folder, 0o755)  # a keeper without rights reads it
        self.path, self.key_path = self._file("ca.pem"), self._file("ca.key")
        self._openssl("req", "-x509", *CURVE, "-keyout", self.key_path, "-out", self.path, "-subj", f"/CN={name}", "-days", "2",
                      "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def _file(self, name):
        return os.path.join(self.folder, name)

    def _openssl(self, *words):
        return subprocess.run(["openssl", *words], check=True, capture_output=True).stdout

    def pem(self):
        with open(self.path, "rb") as file:
            return file.read()

    def key_der(self):
        return self._openssl("pkcs8", "-topk8", "-nocrypt", "-in", self.key_path, "-outform", "DER")

    def serves(self, *names, days=1):
        """What a server needs to be believed to have these names; days: fewer than none, and it is over."""
        request, key, certificate = self._file(names[0] + ".csr"), self._file(names[0] + ".key"), self._file(names[0] + ".pem")
        self._openssl("req", "-new", *CURVE, "-keyout", key, "-out", request, "-subj", "/O=A site",
                      "-addext", "subjectAltName=" + ",".join(("IP:" if each[-1].isdigit() else "DNS:") + each for each in names))
        self._openssl("x509", "-req", "-in", request, "-CA", self.path, "-CAkey", self.key_path, "-CAcreateserial", "-days", str(days),
                      "-copy_extensions", "copy", "-out", certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context

    def trust(self):
        """For a client that believes this authority and no other."""
        return ssl.create_default_context(cafile=self.path)

    def close(self):
        shutil.rmtree(self.folder)


class Server:
    """Whoever connects is given to serve(connection), in a thread of its own."""

    def __init__(self, where, address, port, serve, context=None):
        self.where, self.context, self.serve = where, context, serve
        self.listener = where.run(lambda: socket.create_server((address, port), backlog=1024))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection):
        with contextlib.suppress(OSError), connection:
            if self.context:
                with self.context.wrap_socket(connection, server_side=True) as safe:
                    self.serve(safe)
            else:
                self.serve(connection)

    def close(self):
        # A thread that accepts keeps a socket alive that is only closed.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class _Requests(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def _body(self):
        """In pieces, so that large ones take no room."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return
        left = int(self.headers.get("Content-Length", 0))
        while left and (piece := self.rfile.read(min(left, PIECE))):
            left -= len(piece)
            yield piece

    def _answer(self, status, *pieces, size=None):
        self.send_response(status)
        if status not in (204, 304):
            self.send_header("Content-Length", str(sum(map(len, pieces)) if size is None else size))
        self.end_headers()
        if self.command != "HEAD":
            for piece in pieces:
                self.wfile.write(piece)

    def _echo(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in self._body():
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def _upgrade(self):
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        while piece := self.rfile.read1(PIECE):
            self.wfile.write(piece)
        self.close_connection = True

    def any(self):
        """
        /echo: what was sent; /upgrade: an echo of bytes, if it is asked for; /status/N; /large/N: so many bytes; else what was sent,
        as JSON.
        """
        fields = [[name.lower(), value] for name, value in self.headers.items()]
        self.server.seen.append({"line": self.requestline, "fields": fields})
        what, _, number = self.path[1:].partition("/")
        if what == "echo":
            self._echo()
            return
        if what == "upgrade" and self.headers.get("Upgrade") == "echo":
            self._upgrade()
            return
        body_n = sum(map(len, self._body()))
        if what == "status":
            self._answer(int(number))
        elif what == "large":
            self._answer(200, *[bytes(PIECE)] * (int(number) // PIECE), size=int(number) // PIECE * PIECE)
        else:
            address, port = self.connection.getsockname()
            told = {"at": address, "port": port, "line": self.requestline, "fields": fields, "body_n": body_n}
            self._answer(200, json.dumps(told).encode())

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = any


class Web(Server):
    """A site; context (Authority.serves): by HTTPS, for the names of its certificate alone."""

    def __init__(self, where, address, port, context=None):
        self.seen = []
        super().__init__(where, address, port, lambda connection: _Requests(connection, connection.getpeername(), self), context)


class Proxy(Server):
    """SOCKS5 (RFC 1928, RFC 1929). user: None, or (name, password); seen: where it let whom to."""

    def __init__(self, where, address, port, names, context=None):
        self.user, self.names, self.seen = None, names, []
        super().__init__(where, address, port, self._serve, context)

    def _method(self, client, read):
        """Whether it is let in."""
        version, n = read(2)
        offered = read(n)
        method = 2 if self.user else 0
        if version != 5 or method not in offered:
            client.sendall(b"\x05\xff")
            return False
        client.sendall(bytes([5, method]))
        if not self.user:
            return True
        _, n = read(2)
        name = read(n).decode()
        password = read(read(1)[0]).decode()
        is_known = (name, password) == self.user
        client.sendall(bytes([1, not is_known]))
        return is_known

    def _serve(self, client):
        incoming = client.makefile("rb", buffering=0)

        def read(n):
            got = b""
            while len(got) < n:
                piece = incoming.read(n - len(got))
                if not piece:
                    raise ConnectionError("it left")
                got += piece
            return got

        if not self._method(client, read):
            return
        _, command, _, kind = read(4)
        if command != 1 or kind not in (1, 3):
            client.sendall(b"\x05\x07\x00\x01" + bytes(6))
            return
        host = socket.inet_ntoa(read(4)) if kind == 1 else read(read(1)[0]).decode()
        port = struct.unpack(">H", read(2))[0]
        address = self.names.get(host.lower()) if kind == 3 else host
        if not address:
            client.sendall(b"\x05\x04\x00\x01" + bytes(6))
            return
        try:
            far = self.where.run(lambda: socket.create_connection((address, port), timeout=10))
        except OSError:
            client.sendall(b"\x05\x05\x00\x01" + bytes(6))
            return
        far.settimeout(None)
        self.seen.append((host, port, self.user))
        client.sendall(b"\x05\x00\x00\x01" + bytes(6))
        with far:
            back = threading.Thread(target=_carry, args=(far, client), daemon=True)
            back.start()
            _carry(client, far)
            back.join()


def _carry(source, sink):
    """One way, to its end."""
    try:
        while piece := source.recv(PIECE):
            sink.sendall(piece)
        if isinstance(sink, ssl.SSLSocket):
            sink.unwrap()
        else:
            sink.shutdown(socket.SHUT_WR)
    except OSError:
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
