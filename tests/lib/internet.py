"""
A world for sandboxes, since a test has none: a host in a namespace, and behind it servers that tell who was
called and as what, one for names, and one that echoes datagrams.

    203.0.113.10  good.example, www.good.example     203.0.113.11  other.example
    203.0.113.53  answers for names                  10.9.9.9      private.example
    198.51.100.1  the host's own
"""
import socket
import struct
import threading

import netns

NAMES = {
    "good.example": "203.0.113.10", "www.good.example": "203.0.113.10", "other.example": "203.0.113.11",
    "private.example": "10.9.9.9", "inside.example": "169.254.169.254",
}
HOST, DNS = "198.51.100.1", "203.0.113.53"
PORTS = (80, 443, 8080)


def _answers(connection):
    """What came first, and to whom; then an echo."""
    with connection:
        try:
            first = connection.recv(65536)
            if not first:
                return
            address, port = connection.getsockname()
            text = f"{address}:{port} got {len(first)}\n".encode()
            if first.startswith(b"GET "):
                text = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)
            connection.sendall(text)
            while piece := connection.recv(65536):
                connection.sendall(piece)
        except OSError:
            pass


def _serve(listener):
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_answers, args=(connection,), daemon=True).start()


def _name_of(query):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    return ".".join(labels), at + 5


class World:
    def __init__(self, here=False, ports=PORTS, names=NAMES):
        """here: the calling process goes into the host's namespace for good; ports: of those who tell who was called."""
        self.names = names
        self.host, self.far = netns.Namespace(here), netns.Namespace()
        netns.join(self.host, HOST + "/24", self.far, "198.51.100.2/24")
        self.host.ip("route", "add", "default", "via", "198.51.100.2")
        for address in ("203.0.113.10", "203.0.113.11", DNS, "10.9.9.9"):
            self.far.ip("address", "add", address + "/32", "dev", "lo")
        self.asked = []  # names that were looked up
        self.sockets = []
        for port in ports:
            self._listen(self.far, port)
        self._listen(self.host, 80)
        self._datagrams(DNS, 53, self._name)
        self._datagrams("203.0.113.10", 7777, lambda bytes_: bytes_[::-1])

    def _listen(self, where, port):
        listener = where.run(lambda: socket.create_server(("", port), backlog=1024))
        self.sockets.append(listener)
        threading.Thread(target=_serve, args=(listener,), daemon=True).start()

    def _datagrams(self, address, port, answer):
        server = self.far.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        server.bind((address, port))
        self.sockets.append(server)

        def serve():
            while True:
                try:
                    bytes_, sender = server.recvfrom(4096)
                except OSError:
                    return
                reply = answer(bytes_)
                if reply:
                    server.sendto(reply, sender)

        threading.Thread(target=serve, daemon=True).start()

    def _name(self, query):
        name, end = _name_of(query)
        self.asked.append(name)
        address = self.names.get(name.lower())
        head = query[:2] + struct.pack(">HHHHH", 0x8180 if address else 0x8183, 1, 1 if address else 0, 0, 0)
        answer = head + query[12:end]
        if address:
            answer += b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 30, 4) + socket.inet_aton(address)
        return answer

    def close(self):
        for each in self.sockets:
            each.close()
        self.host.close()
        self.far.close()
