"""How sandboxes are reached, through PyPI's package: ports, upgraded connections, signed file
addresses, traffic tokens.  With E2B_DOMAIN by host names and TLS, with E2B_SANDBOX_URL by header
fields.

usage: domain.py [TEST]...   (E2B_* and FLOTILLA_TEST_* in the environment, e2b installed)
"""
import os
import socket
import ssl
import sys
import warnings
from urllib.parse import urlsplit

sys.path.insert(0, os.environ["FLOTILLA_TESTS_LIB"])
import httpx  # noqa: E402  (the package's own HTTP client)
from e2b import Sandbox  # noqa: E402
from fleet import run_tests, wait_for  # noqa: E402

DOMAIN = os.environ.get("E2B_DOMAIN")
TOKEN = "e2b-traffic-access-token"
with open(os.environ["FLOTILLA_TEST_SERVER"]) as file:
    SERVER = file.read()
context = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE"))
client = httpx.Client(verify=context, timeout=60)
sandbox = None


def reach(box, port):
    """Where a port of a sandbox is, and the fields that say so where no host name does."""
    if DOMAIN:
        return f"https://{box.get_host(port)}", {}
    return os.environ["E2B_SANDBOX_URL"], {"E2b-Sandbox-Id": box.sandbox_id, "E2b-Sandbox-Port": str(port)}


def get(box, port, path="/", headers=(), method="GET", **more):
    url, fields = reach(box, port)
    return client.request(method, url + path, headers={**fields, **dict(headers)}, **more)


def serve(box, port, headers=(), words=""):
    """A server in the guest, and its first answer."""
    box.files.write("server.py", SERVER)
    box.commands.run(f"python3 server.py {port} {words}", background=True, timeout=0)

    def probe():
        answer = get(box, port, "/up", headers)
        return answer.json() if answer.status_code == 200 else None
    return wait_for(f"port {port}", 20, probe, 0.1)


def dial(url, **options):
    """A plain socket to where a URL leads, with TLS if it says so."""
    at = urlsplit(url)
    raw = socket.create_connection((at.hostname, at.port or (443 if at.scheme == "https" else 80)), timeout=30)
    return context.wrap_socket(raw, server_hostname=at.hostname, **options) if at.scheme == "https" else raw


def upgraded(box, port):
    """A socket that speaks WebSocket to a port, or the first line of the refusal."""
    url, fields = reach(box, port)
    fields = {"Host": urlsplit(url).netloc, **fields, "Connection": "keep-alive, Upgrade", "Upgrade": "websocket",
              "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}
    talk = dial(url)
    talk.sendall("".join(["GET /ws HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in fields.items()), "\r\n"]).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += talk.recv(1)
    return talk if head.startswith(b"HTTP/1.1 101 ") else head.split(b"\r\n")[0]


def frame(kind, payload):
    assert len(payload) < 126
    mask = b"\1\2\3\4"
    return bytes((128 | kind, 128 | len(payload))) + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def receive(talk, n):
    came = b""
    while len(came) < n:
        more = talk.recv(n - len(came))
        assert more, came
        came += more
    return came


def a_sandbox_is_created_and_serves_a_port():
    global sandbox
    sandbox = Sandbox.create("base", timeout=300)
    assert sandbox.commands.run("echo $((6*7))").stdout == "42\n"
    seen = serve(sandbox, 8000)
    if DOMAIN:
        assert sandbox.get_host(8000) == f"8000-{sandbox.sandbox_id}.{DOMAIN}" == seen["host"], seen
    body = bytes(range(256)) * 3000
    assert get(sandbox, 8000, method="POST", content=body).content == body


def an_upgraded_connection_passes_both_ways_until_both_ends_close():
    talk = upgraded(sandbox, 8000)
    for message in (b"hello", b"x" * 120):
        talk.sendall(frame(1, message))
        assert receive(talk, 2 + len(message)) == bytes((129, len(message))) + message
    talk.sendall(frame(8, b""))
    assert receive(talk, 2) == b"\x88\0"
    assert talk.recv(1) == b"", "the end, said and not cut off"
    talk.close()


def a_closed_port_has_its_answer():
    answer = get(sandbox, 8001)
    assert (answer.status_code, answer.json()) == (502, {
        "sandboxId": sandbox.sandbox_id, "message": "The sandbox is running but port is not open", "port": 8001, "code": 502}), answer.text


def signed_addresses_read_and_write_files():
    upload = sandbox.upload_url("signed.txt", user="user", use_signature_expiration=60)
    wrote = client.post(upload, files={"file": ("signed.txt", b"by address")})
    assert wrote.status_code == 200, wrote.text
    assert sandbox.files.read("signed.txt") == "by address"
    download = sandbox.download_url("signed.txt", user="user")
    assert client.get(download).text == "by address"
    refused = client.get(download.replace("signed.txt", "other.txt"))
    assert (refused.status_code, refused.json()["message"]) == (401, "invalid signature"), refused.text


def ports_that_are_not_public_want_the_token_and_see_another_host():
    guarded = Sandbox.create("base", network={"allow_public_traffic": False, "mask_request_host": "box-${PORT}.test", "https_ports": [8443]})
    try:
        token = {TOKEN: guarded.traffic_access_token}
        assert serve(guarded, 8000, token)["host"] == "box-8000.test"
        refused = get(guarded, 8000)
        assert refused.status_code == 403 and "is missing" in refused.json()["message"], refused.text
        assert get(guarded, 8000, headers={TOKEN: "another"}).status_code == 403
        assert upgraded(guarded, 8000) == b"HTTP/1.1 403 Forbidden"
        assert Sandbox.connect(guarded.sandbox_id).traffic_access_token == guarded.traffic_access_token
        for name, variable in (("cert.pem", "FLOTILLA_TEST_CERT"), ("key.pem", "FLOTILLA_TEST_KEY")):
            with open(os.environ[variable]) as file:
                guarded.files.write(name, file.read())
        assert serve(guarded, 8443, token, "cert.pem key.pem")["host"] == "box-8443.test"
    finally:
        guarded.kill()


def sessions_are_resumed_and_old_versions_refused():
    url = f"https://api.{DOMAIN}"
    ask = f"GET /health HTTP/1.1\r\nHost: api.{DOMAIN}\r\n\r\n".encode()
    session = None
    for is_again in (False, True):
        with dial(url, session=session) as talk:
            assert talk.version() == "TLSv1.3" and talk.session_reused is is_again, (talk.version(), talk.session_reused)
            talk.sendall(ask)
            assert talk.recv(4096).startswith(b"HTTP/1.1 ")
            session = talk.session  # its ticket has come by now
    warnings.simplefilter("ignore", DeprecationWarning)
    old = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    at = urlsplit(url)
    try:
        old.wrap_socket(socket.create_connection((at.hostname, at.port or 443)), server_hostname=at.hostname)
    except ssl.SSLError as refused:
        assert "ALERT" in str(refused).upper(), refused  # it was the gateway that did not want to
        return
    raise AssertionError("TLS 1.1 was spoken")


def a_killed_sandbox_is_not_reached():
    assert sandbox.kill() is True
    assert get(sandbox, 8000).status_code == 502
    assert sandbox.is_running() is False


run_tests([
    a_sandbox_is_created_and_serves_a_port,
    an_upgraded_connection_passes_both_ways_until_both_ends_close,
    a_closed_port_has_its_answer,
    signed_addresses_read_and_write_files,
    ports_that_are_not_public_want_the_token_and_see_another_host,
    *([sessions_are_resumed_and_old_versions_refused] if DOMAIN else []),
    a_killed_sandbox_is_not_reached,
])
