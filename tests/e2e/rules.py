#!/usr/bin/env python3
"""
What becomes of sandboxes' requests on their way out, on real microVMs with Debian's own programs: rules with secrets and identity
tokens, and tenants' proxies.  In a world of the test's own, as network.py.
"""
import base64
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "egress")]
from fleet import BIN, Fleet, ensure_template, run_tests, wait_for  # noqa: E402
from internet import DNS, NAMES, World  # noqa: E402
from servers import Authority, Proxy, Web  # noqa: E402

fleet = world = site = plain = proxy = None
ALL = ["0.0.0.0/0"]
SITE, PROXY = "203.0.113.10", "203.0.113.11"
SECRET = "s3cret-that-no-guest-sees"
UNTOLD = "s3cret-that-no-site-tells-back"
OF_NAMES = {**NAMES, "api.good.example": SITE, "proxy.example": PROXY}


def rule(value):
    return [{"transform": {"headers": {"Authorization": value}}}]


def create(key, network, **more):
    body = {"templateID": "base", "timeout": 300, "network": network, **more}
    status, sandbox = fleet.api("POST", "/v2/sandboxes", body, key=key)
    assert status == 201, sandbox
    return sandbox["sandboxID"]


def change(key, sandbox, network):
    status, answer = fleet.api("PUT", f"/sandboxes/{sandbox}/network", network, key=key)
    assert status == 204, answer


def kill(key, sandbox):
    assert fleet.api("DELETE", f"/sandboxes/{sandbox}", key=key)[0] == 204


def shell(key, sandbox, command):
    env = fleet.env(key)
    done = subprocess.run([os.path.join(BIN, "flotilla"), "sandbox", "exec", sandbox, "--", "bash", "-lc", command],
                          env={**os.environ, "FLOTILLA_API_URL": env["E2B_API_URL"], "FLOTILLA_API_KEY": key,
                               "FLOTILLA_GATEWAY_URL": env["E2B_SANDBOX_URL"], "HOME": fleet.root},
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done
    return done.stdout


def field(answer, name="authorization"):
    """What the site says it was sent."""
    return [value for key, value in json.loads(answer)["fields"] if key == name]


def curl(key, sandbox, url="https://api.good.example/", *words):
    return field(shell(key, sandbox, f"curl -sS -m 60 {' '.join(words)} {url}"))


PYTHON = "python3 -c 'import urllib.request as r; print(r.urlopen(\"https://api.good.example/\").read().decode())'"


def requests_get_what_the_sandbox_never_sees():
    key = fleet.tenant("rules")
    assert fleet.api("POST", "/secrets", {"name": "api", "value": SECRET}, key=key)[0] == 201
    sandbox = create(key, {"allowOut": ["api.good.example"], "denyOut": ALL,
                           "rules": {"api.good.example": rule("Bearer ${e2b.secrets.api}"), "good.example": rule("plain")}})
    assert curl(key, sandbox) == ["Bearer " + SECRET]
    assert curl(key, sandbox, "https://api.good.example/", "-H", "'authorization: mine'") == ["Bearer " + SECRET]
    assert curl(key, sandbox, "http://api.good.example/") == ["Bearer " + SECRET]
    assert field(shell(key, sandbox, PYTHON)) == ["Bearer " + SECRET], "who looks in the folder of certificates"
    said = shell(key, sandbox, "echo $NODE_EXTRA_CA_CERTS $REQUESTS_CA_BUNDLE; openssl verify -CAfile $SSL_CERT_FILE $NODE_EXTRA_CA_CERTS").split()
    assert said[:2] == ["/usr/local/share/ca-certificates/flotilla-egress.crt", "/etc/ssl/certs/ca-certificates.crt"] and said[-1] == "OK", said
    assert shell(key, sandbox, "sudo openssl x509 -noout -subject_hash -in $NODE_EXTRA_CA_CERTS").strip() == "05a23925"
    refused = shell(key, sandbox, "curl -sS -m 60 https://good.example/ 2>&1 || echo refused")
    assert "refused" in refused, "a rule lets nobody out"
    assert fleet.api("POST", "/secrets/api", {"value": "another"}, key=key)[0] == 200
    wait_for("the next value", 20, lambda: curl(key, sandbox) == ["Bearer another"], 0.3)
    kill(key, sandbox)


def the_secret_is_in_no_file_of_the_host():
    key = fleet.tenant("files")
    assert fleet.api("POST", "/secrets", {"name": "api", "value": UNTOLD * 3}, key=key)[0] == 201
    sandbox = create(key, {"rules": {"api.good.example": rule("Bearer ${e2b.secrets.api} " + UNTOLD)}})
    # Not to be told back what the site got: what a sandbox prints is among its logs.
    assert shell(key, sandbox, "curl -sS -m 60 -d x https://api.good.example/echo") == "x"
    assert ["authorization", f"Bearer {UNTOLD * 3} {UNTOLD}"] in site.seen[-1]["fields"], site.seen[-1]
    change(key, sandbox, {"rules": {"api.good.example": rule("Basic ${e2b.secrets.api}")}})
    assert fleet.api("POST", f"/sandboxes/{sandbox}/pause", {}, key=key)[0] == 204
    # Its memory is there, too: what a keeper knows is in no guest.
    found = subprocess.run(["grep", "-rlaF", UNTOLD, fleet.root], capture_output=True, text=True)
    assert found.returncode == 1 and not found.stdout, found
    assert fleet.api("POST", f"/v2/sandboxes/{sandbox}/connect", {"timeout": 300}, key=key)[0] == 201
    assert curl(key, sandbox) == ["Basic " + UNTOLD * 3]
    kill(key, sandbox)


def rules_come_to_what_runs_and_stay_with_what_goes_on():
    key = fleet.tenant("later")
    sandbox = create(key, {"denyOut": ALL})
    change(key, sandbox, {"allowOut": ["api.good.example"], "denyOut": ALL})
    refused = shell(key, sandbox, "curl -sS -m 60 https://api.good.example/ 2>&1 || true")
    assert "certificate" in refused, "the site's own is vouched for by nobody the sandbox knows"
    change(key, sandbox, {"rules": {"*.good.example": rule("late")}})
    assert curl(key, sandbox) == ["late"] and field(shell(key, sandbox, PYTHON)) == ["late"]
    status, [fork] = fleet.api("POST", f"/sandboxes/{sandbox}/fork", {"timeout": 300}, key=key)
    assert status == 201, fork
    fork = fork["sandbox"]["sandboxID"]
    assert curl(key, fork) == ["late"], "a fork believes as its source did"
    kill(key, fork)
    assert fleet.api("POST", f"/sandboxes/{sandbox}/pause", {"memory": False}, key=key)[0] == 204
    assert fleet.api("POST", f"/v2/sandboxes/{sandbox}/connect", {"timeout": 300}, key=key)[0] == 201
    assert curl(key, sandbox) == ["late"], "also when it boots anew"
    kill(key, sandbox)


def a_site_that_nobody_vouches_for_gets_no_secret():
    key = fleet.tenant("stranger")
    sandbox = create(key, {"rules": {"other.example": rule("Bearer " + SECRET)}})
    before = len(site.seen)
    answer = shell(key, sandbox, "curl -sS -m 60 -w '%{http_code}' https://other.example/")
    assert answer.endswith("502") and "certificate" in answer and len(site.seen) == before, answer
    kill(key, sandbox)


def identity_tokens_are_sent():
    key = fleet.tenant("identity")
    tokens = {"tokens": {"aws": {"audience": "sts.amazonaws.com", "tokenType": "JWT-SVID"}}}
    sandbox = create(key, {"rules": {"api.good.example": rule("Bearer ${e2b.identity.tokens.aws}")}}, iam=tokens)
    [sent] = curl(key, sandbox)
    claims = json.loads(base64.urlsafe_b64decode(sent.split(".")[1] + "=="))
    assert claims["iss"] == "https://fleet.example" and claims["aud"] == ["sts.amazonaws.com"] and claims["sub"].endswith(sandbox), claims
    kill(key, sandbox)


def connections_go_through_a_proxy():
    key = fleet.tenant("proxy")
    proxy.user = ("me", "my-password")
    through = {"egressProxy": {"address": "proxy.example:1080", "username": "me", "password": "my-password"}}
    sandbox = create(key, {"allowOut": ["api.good.example", "203.0.113.10"], "denyOut": ALL, **through})
    answer = shell(key, sandbox, f"curl -sS -m 60 http://{SITE}/")
    assert json.loads(answer)["at"] == SITE and proxy.seen[-1] == (SITE, 80, proxy.user), proxy.seen
    change(key, sandbox, {"allowOut": ["api.good.example"], "denyOut": ALL, **through, "rules": {"api.good.example": rule("by proxy")}})
    assert curl(key, sandbox) == ["by proxy"] and proxy.seen[-1][:2] == ("api.good.example", 443), proxy.seen
    seen = len(proxy.seen)
    proxy.user = ("me", "another")
    failed = shell(key, sandbox, "curl -sS -m 60 http://api.good.example/ 2>&1 || echo failed")
    assert "failed" in failed and len(proxy.seen) == seen, "never directly"
    change(key, sandbox, {"allowOut": ["api.good.example"], "denyOut": ALL})
    assert shell(key, sandbox, "curl -sS -m 60 http://api.good.example/") and len(proxy.seen) == seen
    proxy.user = None
    kill(key, sandbox)


def main():
    global fleet, world, site, plain, proxy
    ensure_template()  # from Debian's mirror, which the world below does not have
    world = World(here=True, ports=(8080,), names=OF_NAMES)
    authority, stranger = Authority(), Authority()
    site = Web(world.far, SITE, 443, authority.serves("api.good.example", "good.example"))
    plain = Web(world.far, SITE, 80)
    other = Web(world.far, PROXY, 443, stranger.serves("other.example"))
    proxy = Proxy(world.far, PROXY, 1080, OF_NAMES)
    with Fleet(agents=1, agent_options=["--egress", "on", "--egress-dns", DNS, "--egress-ca", authority.path],
               scheduler_options=["--identity-issuer", "https://fleet.example"]) as fleet:
        run_tests([requests_get_what_the_sandbox_never_sees, the_secret_is_in_no_file_of_the_host,
                   rules_come_to_what_runs_and_stay_with_what_goes_on, a_site_that_nobody_vouches_for_gets_no_secret,
                   identity_tokens_are_sent, connections_go_through_a_proxy])
    other.close()


main()
