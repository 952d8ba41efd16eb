"""Domain mode for tests: names below a domain of our own, a certificate authority of our own, and a
machine of our own (a network and a mount namespace), in which the system's resolver asks our server
and ports 443 and 53 are free.  Python's standard library, unshare, mount and openssl.
"""
import fcntl
import os
import socket
import struct
import subprocess
import tempfile
import threading

SERVER = "127.0.0.53"


def inside(argv, **options):
    """Runs a program on a machine of its own; its exit status."""
    return subprocess.run(["unshare", "--mount", "--net", "--propagation", "private", *argv], **options).returncode


def certificates(folder, domain):
    """(ca, certificate, key): PEM files; the certificate is for the domain and all names just below it."""
    ca, ca_key, request, certificate, key, names = (
        os.path.join(folder, name) for name in ("ca.pem", "ca.key", "tls.csr", "tls.pem", "tls.key", "names"))

    def openssl(*words):
        subprocess.run(["openssl", *words], check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    with open(names, "w") as file:
        file.write(f"subjectAltName=DNS:{domain},DNS:*.{domain}\nbasicConstraints=critical,CA:FALSE\n")
    openssl("req", "-x509", *new, "-keyout", ca_key, "-out", ca, "-days", "2", "-subj", "/CN=a test's own CA")
    openssl("req", *new, "-keyout", key, "-out", request, "-subj", f"/CN=*.{domain}")
    openssl("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-out", certificate,
            "-days", "2", "-extfile", names)
    return ca, certificate, key


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running


class Names:
    """Answers for each name below the domain with 127.0.0.1.  Only on a machine of its own (see inside)."""

    def __init__(self, domain):
        self.suffix = "." + domain

    def __enter__(self):
        loopback_up()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((SERVER, 53))
        threading.Thread(target=self.serve, daemon=True).start()
        with tempfile.NamedTemporaryFile("w", prefix="flotilla-resolv-") as file:
            file.write(f"nameserver {SERVER}\n")
            file.flush()
            os.chmod(file.name, 0o644)
            # The mount keeps the file when its name is gone.
            subprocess.run(["mount", "--bind", file.name, os.path.realpath("/etc/resolv.conf")], check=True)
        return self

    def __exit__(self, *_):
        self.socket.close()

    def serve(self):
        while True:
            try:
                query, sender = self.socket.recvfrom(2048)
                self.socket.sendto(self.answer(query), sender)
            except OSError:
                return
            except (IndexError, struct.error, UnicodeError):
                continue  # not a question

    def answer(self, query):
        at, labels = 12, []
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        kind, = struct.unpack("!H", query[at + 1:at + 3])
        is_ours = ("." + ".".join(labels).lower()).endswith(self.suffix)
        has_address = is_ours and kind == 1
        head = query[:2] + struct.pack("!HHHHH", 0x8580 | (0 if is_ours else 3), 1, int(has_address), 0, 0)
        record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton("127.0.0.1")
        return head + query[12:at + 5] + (record if has_address else b"")
