"""
Amazon's way of logging in to its registries, played by the test: GetAuthorizationToken of whoever signs for it (AWS Signature Version 4,
as Amazon's documentation of it has it).  Python's standard library.
"""
import base64
import hashlib
import hmac
import http.server
import json
import threading

KEY_ID, SECRET, REGION = "AKIAFLOTILLATEST0000", "s3cret/of+an-access-key", "eu-central-1"
TARGET = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"


def _signature(region, date, scope, canonical):
    key = ("AWS4" + SECRET).encode()
    for part in (date[:8], region, "ecr", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signed = "\n".join(("AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    return hmac.new(key, signed.encode(), "sha256").hexdigest()


class _Service(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        problem = self._problem(body)
        if problem:
            return self._answer(400, {"__type": "UnrecognizedClientException", "message": problem})
        token = base64.b64encode(f"{self.server.user}:{self.server.password}".encode()).decode()
        return self._answer(200, {"authorizationData": [{"authorizationToken": token, "expiresAt": 1.9e9}]})

    def _problem(self, body):
        kind, _, rest = self.headers["Authorization"].partition(" ")
        said = dict(part.strip().split("=", 1) for part in rest.split(","))
        key_id, _, scope = said["Credential"].partition("/")
        date, names = self.headers["X-Amz-Date"], said["SignedHeaders"].split(";")
        if kind != "AWS4-HMAC-SHA256" or scope != f"{date[:8]}/{REGION}/ecr/aws4_request":
            return f"Credential should be scoped to a valid region: {scope}"
        if self.headers["X-Amz-Target"] != TARGET or not {"host", "x-amz-date"} <= set(names):
            return "no such operation, or not signed"
        canonical = "\n".join(("POST", self.path, "", *(f"{name}:{self.headers[name].strip()}" for name in names), "", ";".join(names),
                               hashlib.sha256(body).hexdigest()))
        if key_id != KEY_ID or said["Signature"] != _signature(REGION, date, scope, canonical):
            return "The security token included in the request is invalid."
        return None

    def _answer(self, status, document):
        text = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class Ecr:
    """Gives the password of a registry to whoever has the access key."""

    def __init__(self, user, password):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Service)
        self.server.user, self.server.password = user, password
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.server.shutdown()
        self.server.server_close()
