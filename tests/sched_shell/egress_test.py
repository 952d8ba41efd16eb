#!/usr/bin/env python3
"""What nodes are told of sandboxes' requests on their way out: rules with secrets and identity tokens in place, proxies, and what
of it is shown, sealed and told again.  Against the real daemon and fake nodes that write down what they are told."""
import base64
import glob
import json
import os
import sqlite3
import subprocess
import tempfile
import time

from rig import Rig, run_tests, wait_for

ISSUER = "https://fleet.example:8443"
ALL = ["0.0.0.0/0"]


class Watched(Rig):
    def add_agent(self, name, options=None, token=None):
        return super().add_agent(name, ["--egress", self.path("told"), *self.agent_options], token)

    def told(self, sandbox):
        """Everything its node was told so far, the newest last."""
        with open(self.path("told")) as lines:
            return [json.loads(line.split(" ", 1)[1]) for line in lines if line.startswith(sandbox + " ")]


def rule(**headers):
    return [{"transform": {"headers": {name.replace("_", "-"): value for name, value in headers.items()}}}]


def begin(rig, key, network=None, **more):
    status, made = rig.create(key, network=network or {}, **more)
    assert status == 201, made
    return made["sandboxID"]


def rules_are_told_shown_and_changed():
    with Watched() as rig:
        key = rig.tenant()
        network = {"rules": {"API.Example": rule(Authorization="Bearer plain", X_Two="2"), "*.b.example": rule(X="y"), "c.example": [], "d.example": [{}]}}
        sandbox = begin(rig, key, network)
        [told] = rig.told(sandbox)
        assert told["rules"] == {"api.example": {"Authorization": "Bearer plain", "X-Two": "2"}, "*.b.example": {"X": "y"}}, told
        assert told["key_n"] > 100 and told["authority"].startswith("-----BEGIN CERTIFICATE-----"), told
        shown = rig.api("GET", "/sandboxes/" + sandbox, key=key)[1]["network"]
        assert shown == {"rules": {name.lower(): value for name, value in network["rules"].items()}}, shown
        seen = rig.api("GET", "/sandboxes/" + sandbox, key=rig.operator_key)[1]
        assert "network" not in seen, "an operator sees no tenant's secrets"
        path = f"/sandboxes/{sandbox}/network"
        assert rig.api("PUT", path, {"rules": {"api.example": rule(Authorization="other")}, "denyOut": ALL}, key=key)[0] == 204
        newer = rig.told(sandbox)[-1]
        assert newer["rules"] == {"api.example": {"Authorization": "other"}} and newer["deny"] == ["0.0.0.0/0"], newer
        assert newer["authority"].splitlines()[0] == told["authority"].splitlines()[0]
        assert rig.api("PUT", path, {}, key=key)[0] == 204
        last = rig.told(sandbox)[-1]
        assert last["rules"] == {} and last["authority"] == "" and last["key_n"] == 0, last
        assert "network" not in rig.api("GET", "/sandboxes/" + sandbox, key=key)[1]


def public_key(pem):
    return subprocess.run(["openssl", "x509", "-noout", "-pubkey", "-subject", "-subject_hash", "-ext", "basicConstraints,keyUsage"],
                          input=pem.encode(), capture_output=True, check=True).stdout.decode()


def an_authority_is_its_tenants_and_stays():
    with Watched() as rig:
        key, other = rig.tenant(), rig.tenant("other")
        network = {"rules": {"a.example": rule(X="y")}}
        first, second, others = (rig.told(begin(rig, whose, network))[0]["authority"] for whose in (key, key, other))
        assert public_key(first) == public_key(second) != public_key(others)
        said = public_key(first)
        assert "CN = Flotilla egress" in said and "CA:TRUE, pathlen:0" in said and "Certificate Sign" in said, said
        assert "05a23925" in said, "guests put it in a file of this name"
        rig.scheduler.kill()
        rig.scheduler.start()
        wait_for("its node to be back", 20, lambda: rig.create(key)[0] == 201)
        again = begin(rig, key, network)
        assert public_key(rig.told(again)[0]["authority"]) == public_key(first)


def secrets_are_filled_in_and_followed():
    with Watched() as rig:
        key, other = rig.tenant(), rig.tenant("other")
        for whose, value in ((key, "first"), (other, "of another")):
            assert rig.api("POST", "/secrets", {"name": "Api-Key", "value": value}, key=whose)[0] == 201
        network = {"rules": {"a.example": rule(Authorization="Bearer ${e2b.secrets.API-Key}!", Plain="${e2b.secrets} ${x}")}}
        sandbox, others = begin(rig, key, network), begin(rig, other, network)
        still = begin(rig, key, {"rules": {"a.example": rule(X="y")}})
        assert rig.told(sandbox)[0]["rules"]["a.example"] == {"Authorization": "Bearer first!", "Plain": "${e2b.secrets} ${x}"}
        assert rig.told(others)[0]["rules"]["a.example"]["Authorization"] == "Bearer of another!"
        assert rig.api("GET", "/sandboxes/" + sandbox, key=key)[1]["network"] == network, "as it was asked for"
        assert rig.api("POST", "/secrets/api-key", {"value": "second"}, key=key)[0] == 200
        wait_for("the next value", 15, lambda: rig.told(sandbox)[-1]["rules"]["a.example"]["Authorization"] == "Bearer second!")
        assert rig.api("DELETE", "/secrets/api-key", key=key)[0] == 204
        wait_for("that it is gone", 15,
                 lambda: rig.told(sandbox)[-1]["rules"]["a.example"]["Authorization"] == {"problem": "there is no secret api-key"})
        assert len(rig.told(others)) == 1 and len(rig.told(still)) == 1, "others are let alone"
        assert rig.api("POST", "/secrets", {"name": "api-key", "value": "third"}, key=key)[0] == 201
        wait_for("it to be back", 15, lambda: rig.told(sandbox)[-1]["rules"]["a.example"]["Authorization"] == "Bearer third!")
        assert rig.api("POST", f"/sandboxes/{sandbox}/pause", {}, key=key)[0] == 204
        assert rig.api("POST", "/secrets/api-key", {"value": "fourth"}, key=key)[0] == 200
        assert rig.api("POST", f"/v2/sandboxes/{sandbox}/connect", {}, key=key)[0] == 201
        assert rig.told(sandbox)[-1]["rules"]["a.example"]["Authorization"] == "Bearer fourth!", "also when it goes on"


def a_change_of_its_tenants_is_not_lost_to_a_secret():
    with Watched() as rig:
        key = rig.tenant()
        assert rig.api("POST", "/secrets", {"name": "s", "value": "0"}, key=key)[0] == 201
        sandbox = begin(rig, key, {"rules": {"a.example": rule(X="${e2b.secrets.s}")}})
        for turn in range(1, 30):
            headers = rule(X="${e2b.secrets.s}", Turn=str(turn))
            assert rig.api("POST", "/secrets/s", {"value": str(turn)}, key=key)[0] == 200
            assert rig.api("PUT", f"/sandboxes/{sandbox}/network", {"rules": {"a.example": headers}}, key=key)[0] == 204
            assert rig.api("POST", "/secrets/s", {"value": f"{turn}b"}, key=key)[0] == 200
        wait_for("both", 15, lambda: rig.told(sandbox)[-1]["rules"]["a.example"] == {"X": "29b", "Turn": "29"})


def _part(text):
    return json.loads(base64.urlsafe_b64decode(text + "=="))


def verify(token, jwks):
    """By openssl alone, from what everybody is told."""
    head, body, signature = token.split(".")
    [key] = jwks["keys"]
    assert (_part(head)["alg"], _part(head)["kid"], key["kty"], key["crv"]) == ("ES256", key["kid"], "EC", "P-256"), key
    numbers = [base64.urlsafe_b64decode(key[name] + "==") for name in "xy"]
    assert [len(number) for number in numbers] == [32, 32]
    point = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004") + b"".join(numbers)
    raw = base64.urlsafe_b64decode(signature + "==")
    assert len(raw) == 64
    halves = [number.lstrip(b"\0") or b"\0" for number in (raw[:32], raw[32:])]
    halves = [b"\0" + number if number[0] & 0x80 else number for number in halves]
    der = b"".join(b"\x02" + bytes([len(number)]) + number for number in halves)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (("key", point), ("signature", b"\x30" + bytes([len(der)]) + der), ("text", f"{head}.{body}".encode())):
            with open(os.path.join(folder, name), "wb") as file:
                file.write(content)
        done = subprocess.run(["openssl", "dgst", "-sha256", "-keyform", "DER", "-verify", "key", "-signature", "signature", "text"],
                              cwd=folder, capture_output=True, text=True)
    assert "Verified OK" in done.stdout, done
    return _part(body)


def identity_tokens_are_made_and_can_be_verified_by_anybody():
    with Watched(options=["--identity-issuer", ISSUER + "/"]) as rig:
        key = rig.tenant()
        iam = {"tokens": {"aws": {"audience": "sts.amazonaws.com", "tokenType": "JWT-SVID"}, "a b": {"audience": "x", "tokenType": "JWT-SVID"}}}
        sandbox = begin(rig, key, {"rules": {"a.example": rule(A="Bearer ${e2b.identity.tokens.aws}", B="${e2b.identity.tokens.a b}",
                                                               C="${e2b.identity.tokens.none}")}}, iam=iam)
        headers = rig.told(sandbox)[0]["rules"]["a.example"]
        assert headers["C"] == "${e2b.identity.tokens.none}", "the proxy never turns an unregistered name into a token"
        status, found = rig.api("GET", "/.well-known/openid-configuration")
        assert status == 200 and found["issuer"] == ISSUER and found["jwks_uri"] == ISSUER + "/.well-known/jwks.json", found
        status, jwks = rig.api("GET", "/.well-known/jwks.json")
        assert status == 200, jwks
        claims = verify(headers["A"].removeprefix("Bearer "), jwks)
        assert claims["iss"] == ISSUER and claims["aud"] == ["sts.amazonaws.com"], claims
        assert claims["sub"].startswith("spiffe://fleet.example/tenant/ten_") and claims["sub"].endswith("/sandbox/" + sandbox), claims
        assert abs(claims["iat"] - time.time()) < 60 and claims["exp"] - claims["iat"] == 3600, claims
        assert verify(headers["B"], jwks)["aud"] == ["x"]
        shown = rig.api("GET", "/sandboxes/" + sandbox, key=key)[1]
        assert "iam" not in shown and "iam" not in shown["network"], shown
        assert rig.api("PUT", f"/sandboxes/{sandbox}/network", {"rules": {"b.example": rule(A="${e2b.identity.tokens.aws}")}}, key=key)[0] == 204
        again = verify(rig.told(sandbox)[-1]["rules"]["b.example"]["A"], jwks)
        assert again["aud"] == claims["aud"] and again["jti"] != claims["jti"], "it keeps its tokens when its rules change"
    with Watched() as rig:
        key = rig.tenant()
        assert rig.api("GET", "/.well-known/jwks.json")[0] == 404
        status, answer = rig.create(key, iam=iam)
        assert status == 400 and "issues no identity tokens" in answer["message"], answer
        assert rig.create(key, iam={"tokens": {}})[0] == 201
    with Watched(options=["--domain", "sbx.test"]) as rig:
        assert rig.api("GET", "/.well-known/openid-configuration")[1]["issuer"] == "https://api.sbx.test"


def proxies_and_servers_of_names_are_told_and_passwords_not_shown():
    with Watched() as rig:
        key = rig.tenant()
        proxy = {"address": "Proxy.example:1080", "username": "u", "password": "the-password-of-it"}
        sandbox = begin(rig, key, {"egressProxy": proxy, "dnsServers": ["192.0.2.1"], "allowOut": ["a.example"], "denyOut": ALL})
        [told] = rig.told(sandbox)
        assert (told["proxy_host"], told["proxy_port"], told["proxy_user"], told["proxy_password"]) == ("Proxy.example", 1080, "u", proxy["password"]), told
        assert told["allow"] == ["192.0.2.1/32"] and not told["mute"] and not told["proxy_tls"], told
        shown = rig.api("GET", "/sandboxes/" + sandbox, key=key)[1]["network"]
        assert shown["egressProxy"] == {"address": "Proxy.example:1080", "username": "u"} and shown["dnsServers"] == ["192.0.2.1"], shown
        tls = {"enabled": True, "serverName": "x.example", "caCert": "-----BEGIN CERTIFICATE-----\nx\n"}
        change = {"egressProxy": {"address": "192.0.2.9:1", "tls": tls}, "dnsServers": [], "allowOut": ["a.example"], "denyOut": ALL}
        assert rig.api("PUT", f"/sandboxes/{sandbox}/network", change, key=key)[0] == 204
        told = rig.told(sandbox)[-1]
        assert (told["proxy_tls"], told["proxy_tls_name"], told["proxy_tls_ca"]) == (True, "x.example", tls["caCert"]), told
        assert told["mute"] and told["allow"] == [] and told["proxy_user"] == "", told
        assert rig.api("PUT", f"/sandboxes/{sandbox}/network", {"egressProxy": None, "dnsServers": ["192.0.2.1"]}, key=key)[0] == 204
        told = rig.told(sandbox)[-1]
        assert told["proxy_host"] == "" and told["allow"] == [], "servers of names count with names alone"


def what_may_be_secret_is_sealed():
    with Watched() as rig:
        key = rig.tenant()
        network = {"rules": {"a.example": rule(Authorization="Bearer very-secret-text")},
                   "egressProxy": {"address": "p.example:1", "username": "u", "password": "another-secret-text"}}
        sandbox = begin(rig, key, network)
        assert rig.api("PUT", f"/sandboxes/{sandbox}/network", network, key=key)[0] == 204
        rig.scheduler.stop()
        for path in glob.glob(rig.path("state", "**"), recursive=True):
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    content = file.read()
                assert b"very-secret-text" not in content and b"another-secret-text" not in content, path
        with sqlite3.connect(rig.path("state", "scheduler.db")) as database:
            [[kept]] = database.execute("SELECT network FROM sandbox WHERE id = ?", [sandbox])
        assert list(json.loads(kept)) == ["sealed"], kept
        rig.scheduler.start()


BAD = [
    ({"a.example": {}}, "rules: there should be a list of one transform for a.example"),
    ({"a.example": [{}, {}]}, "rules: there should be a list of one transform for a.example"),
    ({"a.example": [1]}, "rules: there should be a list of one transform"),
    ({"a.example": [{"transform": 1}]}, "rules: the transform for a.example"),
    ({"a.example": [{"transform": {"headers": [1]}}]}, "rules: headers of a.example"),
    ({"a.example": rule(**{f"h{n}": "x" for n in range(21)})}, "rules: headers of a.example"),
    *(({host: rule(X="y")}, f"rules: invalid domain {host}") for host in ("*", "", "a..b", "a b", "10.0.0.1", "10.0.0.0/8", "*.", "a.*", "http://a.example")),
    *(({"a.example": rule(**{name: "x"})}, f"rules: {name} cannot be set as a header")
      for name in ("Content-Length", "transfer-encoding", "Connection", "Upgrade", "a b", "", "ä", "x" * 129)),
    *(({"a.example": rule(X=value)}, "rules: the value of X") for value in ("a\nb", "a\r", "x" * 2049, 7, None, "\x7f")),
    ({"a.example": rule(X="${e2b.secrets.none}")}, "rules: X: there is no secret none"),
    ({"a.example": rule(X="${e2b.secrets.lines}")}, "rules: X: secret lines has line breaks or control characters"),
    ({"a.example": rule(X="y"), "A.example": rule(X="y")}, "rules: a domain is there twice"),
    ({f"{n}.example": rule(X="y") for n in range(11)}, "rules: should be an object of at most 10 domains"),
    ({f"{n}.example": rule(X="y" * 2000) for n in range(5)}, "should have at most 9216 bytes"),
]
BAD_PROXIES = [
    ("x", "egressProxy"), ({}, "address: is required"), ({"address": 7}, "address: should be"),
    *(({"address": address}, "egressProxy.address") for address in ("proxy.example", "p.example:0", "p.example:65536", ":1080", "*.a.example:1", "1.2.3:4", "p.example:1x", "a b:1")),
    ({"address": "p.example:1", "password": "x"}, "egressProxy.password: is only valid with a username"),
    ({"address": "p.example:1", "username": "x" * 256}, "username"),
    ({"address": "p.example:1", "tls": True}, "tls"), ({"address": "p.example:1", "tls": {}}, "enabled"),
    ({"address": "p.example:1", "tls": {"enabled": False, "serverName": "x"}}, "egressProxy.tls: when it is not enabled"),
    ({"address": "p.example:1", "tls": {"enabled": True, "serverName": "*.x"}}, "egressProxy.tls.serverName"),
    ({"address": "p.example:1", "tls": {"enabled": True, "caCert": "x"}}, "egressProxy.tls.caCert"),
]
BAD_SERVERS = [("1.2.3.4", "dnsServers"), (["x"], "dnsServers: invalid IPv4 address x"), (["1.2.3.4/32"], "dnsServers"), (["1.2.3.4"] * 11, "dnsServers"), ([7], "dnsServers")]
BAD_IAM = [
    ({"tokens": []}, "iam.tokens"), ("x", "iam"), ({"tokens": {"a": {"audience": "x"}}}, "the tokenType of a should be JWT-SVID"),
    ({"tokens": {"a": {"audience": "x", "tokenType": "JWT"}}}, "the tokenType of a should be JWT-SVID"),
    *(({"tokens": {"a": {"audience": audience, "tokenType": "JWT-SVID"}}}, "iam.tokens: a should have an audience") for audience in ("", "x" * 1025, 7)),
    *(({"tokens": {name: {"audience": "x", "tokenType": "JWT-SVID"}}}, "iam.tokens: invalid name") for name in ("", "a}", "{", "a\n", "x" * 129)),
    ({"tokens": {str(n): {"audience": "x", "tokenType": "JWT-SVID"} for n in range(6)}}, "iam.tokens: should be an object of at most 5"),
]


def what_cannot_be_is_refused_by_name():
    with Watched(options=["--identity-issuer", ISSUER]) as rig:
        key = rig.tenant()
        assert rig.api("POST", "/secrets", {"name": "lines", "value": "a\nb"}, key=key)[0] == 201
        sandbox = begin(rig, key)
        for field, rows in (("rules", BAD), ("egressProxy", BAD_PROXIES), ("dnsServers", BAD_SERVERS)):
            for value, word in rows:
                status, answer = rig.create(key, network={field: value})
                assert status == 400 and word in answer["message"], (value, answer)
                status, answer = rig.api("PUT", f"/sandboxes/{sandbox}/network", {field: value}, key=key)
                assert status == 400 and word in answer["message"], (value, answer)
        for value, word in BAD_IAM:
            status, answer = rig.create(key, iam=value)
            assert status == 400 and word in answer["message"], (value, answer)
        assert len(rig.api("GET", "/v2/sandboxes", key=key)[1]) == 1 and len(rig.told(sandbox)) == 1
        for wrong in ("ftp://x", "x.example", "https://" + "x" * 300):
            done = subprocess.run([rig.scheduler.argv[0], "--state-dir", rig.path("other"), "--identity-issuer", wrong], capture_output=True, text=True, timeout=20)
            assert done.returncode == 1 and "--identity-issuer" in done.stderr, done


run_tests([rules_are_told_shown_and_changed, an_authority_is_its_tenants_and_stays, secrets_are_filled_in_and_followed,
           a_change_of_its_tenants_is_not_lost_to_a_secret, identity_tokens_are_made_and_can_be_verified_by_anybody,
           proxies_and_servers_of_names_are_told_and_passwords_not_shown, what_may_be_secret_is_sealed, what_cannot_be_is_refused_by_name])
