#!/usr/bin/env python3
"""What tenants and operators are promised by the API, against the real daemon and fake nodes."""
import datetime
import json
import os
import socket
import sqlite3
import subprocess
import threading
import time

from rig import Rig, run_tests, wait_for

rig = None
UNKNOWN = "i00000000000000000000"


# ---- E2B's paths ----

def a_sandbox_is_created_found_extended_and_killed():
    key = rig.tenant()
    status, made = rig.create(key, metadata={"a b": "c&d"}, envVars={"X": "1"}, timeout=60)
    assert status == 201 and made["envdVersion"] == "0.6.13" and made["alias"] == "base", made
    assert made["sandboxID"][0] == "i" and len(made["sandboxID"]) == 21 and made["domain"] is None, made
    assert len(made["envdAccessToken"]) == 48 and made["clientID"] == "flotilla", made
    path = "/sandboxes/" + made["sandboxID"]
    status, detail = rig.api("GET", path, key=key)
    assert status == 200 and detail["metadata"] == {"a b": "c&d"}, detail
    assert (detail["cpuCount"], detail["memoryMB"], detail["diskSizeMB"]) == (2, 512, 1024), detail
    assert detail["envdAccessToken"] == made["envdAccessToken"] and detail["state"] == "running"
    assert rig.api("GET", path + "-client", key=key)[0] == 200
    status, again = rig.api("POST", "/v2" + path + "/connect", {"timeout": 10}, key=key)
    assert status == 200 and again == made, again
    assert rig.api("GET", path, key=key)[1]["endAt"] == detail["endAt"], "connect never shortens"
    assert rig.api("POST", path + "/connect", {"timeout": 600}, key=key)[0] == 200
    later = rig.api("GET", path, key=key)[1]["endAt"]
    assert later > detail["endAt"]
    assert rig.api("POST", path + "/refreshes", {}, key=key)[0] == 204
    assert rig.api("GET", path, key=key)[1]["endAt"] == later
    assert rig.api("POST", path + "/timeout", {"timeout": 30}, key=key)[0] == 204
    assert rig.api("GET", path, key=key)[1]["endAt"] < detail["endAt"]
    assert rig.api("DELETE", path, key=key) == (204, "")
    status, gone = rig.api("DELETE", path, key=key)
    assert status == 404 and gone["code"] == 404, gone
    assert gone["message"] == f'Sandbox "{made["sandboxID"]}" doesn\'t exist or you don\'t have access to it', gone


def older_clients_have_their_paths():
    key = rig.tenant()
    status, made = rig.api("POST", "/sandboxes", {"templateID": "base", "metadata": {}, "timeout": 300, "secure": True,
                                                  "allow_internet_access": True}, key=key)
    assert status == 201, made
    status, rows = rig.api("GET", "/sandboxes", key=key)
    assert status == 200 and [row["sandboxID"] for row in rows] == [made["sandboxID"]], rows
    status, soon = rig.api("POST", "/sandboxes", {"templateID": "base"}, key=key)
    ends = rig.api("GET", "/sandboxes/" + soon["sandboxID"], key=key)[1]
    assert ends["endAt"] < rig.api("GET", "/sandboxes/" + made["sandboxID"], key=key)[1]["endAt"], ends


def a_template_goes_by_its_name_its_id_and_its_default_tag():
    key = rig.tenant()
    template = rig.api("GET", "/v1/templates", key=key)[1][0]
    for name in ("base", "base:default", "acme/base", "acme/base:default", template["templateID"], template["templateID"] + ":default"):
        status, made = rig.create(key, templateID=name)
        assert status == 201 and made["templateID"] == template["templateID"] and made["alias"] == "base", (name, made)
    for name in ("nope", "base:v2", "base:1.0-rc_2", "other/base", "x" * 63):
        status, refused = rig.create(key, templateID=name)
        assert status == 404 and refused == {"code": 404, "message": f"template '{name}' not found"}, (name, refused)
    for name in ("base:", "/", "/base", "acme/", ":default", "x" * 64, "ba%73e", "Base", "a/b/c", "base:a:b", "b se",
                 "base:00000000-0000-0000-0000-000000000000"):
        status, refused = rig.create(key, templateID=name)
        assert status == 400 and refused["message"].startswith("Invalid template reference: the "), (name, refused)


def lists_are_paged_in_a_stable_order():
    key = rig.tenant()
    made = [rig.create(key)[1]["sandboxID"] for _ in range(7)]
    for order in ("asc", "desc"):
        seen, token = [], None
        while True:
            status, rows = rig.api("GET", f"/v2/sandboxes?limit=3&order={order}" + (f"&nextToken={token}" if token else ""),
                                   key=key)
            assert status == 200 and len(rows) <= 3, rows
            assert rig.last["X-Total-Running"] == "7"
            seen += [row["sandboxID"] for row in rows]
            token = rig.last["X-Next-Token"]
            if not token:
                break
        assert sorted(seen) == sorted(made) and len(set(seen)) == 7, (order, seen)
        starts = [rig.api("GET", "/sandboxes/" + name, key=key)[1]["startedAt"] for name in seen]
        assert starts == sorted(starts, reverse=order == "desc"), starts


def lists_are_filtered():
    key = rig.tenant()
    one = rig.create(key, metadata={"a b": "c&d", "team": "x"})[1]["sandboxID"]
    two = rig.create(key, metadata={"team": "x"})[1]["sandboxID"]

    def ids(query):
        status, rows = rig.api("GET", "/v2/sandboxes?" + query, key=key)
        assert status == 200, rows
        return {row["sandboxID"] for row in rows}
    assert ids("metadata=a%252520b%3Dc%252526d") == {one}
    assert ids("metadata=team%3Dx") == {one, two}
    assert ids("metadata=team%3Dx%26a%252520b%3Dc%252526d") == {one}
    assert ids("metadata=team%3Dy") == set() == ids("metadata=other%3Dx")
    assert ids("state=running,paused") == {one, two} == ids("state=running") and ids("state=paused") == set()
    assert ids("template=base") == {one, two} and ids("template=other") == set()
    start = rig.api("GET", "/sandboxes/" + two, key=key)[1]["startedAt"]
    assert two in ids("startedAfter=" + start) and ids("startedAfter=2100-01-01T00:00:00Z") == set()
    for query in ("state=done", "order=up", "limit=0", "limit=101", "limit=x", "nextToken=zz", "startedAfter=monday",
                  "metadata=%2525zz", "startedAfter=2026-02-31T00:00:00Z"):
        status, refused = rig.api("GET", "/v2/sandboxes?" + query, key=key)
        assert status == 400 and refused["code"] == 400, (query, refused)


def a_tenant_at_its_cap_is_refused_in_e2bs_words():
    key = rig.tenant("capped", "hobby", concurrentSandboxes=2)
    made = [rig.create(key)[1]["sandboxID"] for _ in range(2)]
    status, refused = rig.create(key)
    assert status == 429 and refused["code"] == 429, refused
    assert refused["message"].startswith("you have reached the maximum number of concurrent E2B sandboxes (2). If you need more"), refused
    assert rig.last["Retry-After"] is None, "waiting does not help"
    limits = rig.api("GET", "/v1/limits", key=key)[1]
    assert limits["plan"] == "hobby" and limits["concurrentSandboxes"] == {"limit": 2, "current": 2}, limits
    assert (limits["vcpuSecondPrice"], limits["gibSecondPrice"]) == ("0.000014", "0.0000045"), limits
    assert limits["maxSessionSeconds"] == 3600 and limits["credit"] == "100.000000000", limits
    assert rig.api("DELETE", "/sandboxes/" + made[0], key=key)[0] == 204
    assert rig.create(key)[0] == 201


def a_session_longer_than_the_plan_is_refused():
    key = rig.tenant("hobbyist", "hobby")
    status, refused = rig.create(key, timeout=3601)
    assert status == 400 and refused["message"] == "Timeout cannot be greater than 1 hours", refused
    status, made = rig.create(key, timeout=3600)
    assert status == 201, made
    assert rig.api("POST", f"/sandboxes/{made['sandboxID']}/timeout", {"timeout": 7200}, key=key)[0] == 400


def the_time_limit_ends_a_sandbox_and_its_bill_says_so():
    key = rig.tenant()
    made = rig.create(key, timeout=1)[1]["sandboxID"]
    wait_for("the time limit", 10, lambda: rig.api("GET", "/sandboxes/" + made, key=key)[0] == 404)
    line = wait_for("the bill", 10, lambda: [row for row in rig.api("GET", "/v1/usage", key=key)[1]["sandboxes"] if row["endedAt"]])[0]
    assert line["cause"] == "timeout" and line["state"] == "ended" and line["seconds"] == 1, line


# ---- who may ----

def another_tenants_sandbox_is_as_unknown_as_no_sandbox():
    mine, theirs = rig.tenant("mine"), rig.tenant("theirs")
    made = rig.create(mine)[1]["sandboxID"]
    for method, path, body in (("GET", "/sandboxes/{}", None), ("DELETE", "/sandboxes/{}", None),
                               ("POST", "/sandboxes/{}/timeout", {"timeout": 9}), ("POST", "/sandboxes/{}/refreshes", {}),
                               ("POST", "/v2/sandboxes/{}/connect", {}), ("POST", "/sandboxes/{}/connect", {})):
        status, answer = rig.api(method, path.format(made), body, key=theirs)
        nobody = rig.api(method, path.format(UNKNOWN), body, key=theirs)
        assert status == 404 and (status, json.dumps(answer).replace(made, UNKNOWN)) == (nobody[0], json.dumps(nobody[1])), answer
    assert rig.api("GET", "/v1/usage?sandbox=" + made, key=theirs)[1]["sandboxes"] == []
    assert rig.api("GET", "/sandboxes/" + made, key=mine)[0] == 200


def keys_open_what_they_are_for_and_nothing_else():
    key = rig.tenant()
    for bad in (None, "", "e2b_" + "0" * 40, "x" * 300, key + "0", key[:-1], "Bearer"):
        status, answer = rig.api("GET", "/v2/sandboxes", key=bad)
        assert status == 401 and answer["code"] == 401 and answer["message"], (bad, answer)
    assert rig.api("GET", "/v2/sandboxes", headers={"Authorization": "Bearer " + key})[0] == 200
    for path in ("/v1/nodes", "/v1/transfers", "/v1/sandboxes", "/v1/tenants"):
        status, answer = rig.api("GET", path, key=key)
        assert status == 403 and answer["code"] == "forbidden", answer
    status, answer = rig.api("POST", "/v2/sandboxes", {"templateID": "base"}, key=rig.operator_key)
    assert status == 403 and answer["code"] == 403, answer
    with open(rig.path("state", "scheduler.db"), "rb") as file, open(rig.path("state", "scheduler.db-wal"), "rb") as wal:
        assert key.encode() not in file.read() + wal.read(), "a key is stored"
    for name in ("fleet.key", "operator.key", "key.pepper", "bus.key", "vault.key"):
        assert os.stat(rig.path("state", name)).st_mode & 0o777 == 0o600, name


def an_operator_sees_and_ends_any_tenants_sandbox():
    key = rig.tenant()
    made = rig.create(key)[1]["sandboxID"]
    rows = rig.api("GET", "/v1/sandboxes?limit=1000", key=rig.operator_key)[1]
    row = next(row for row in rows if row["sandboxID"] == made)
    assert row["state"] == "running" and row["nodeID"].startswith("nod_"), row
    assert rig.api("DELETE", "/sandboxes/" + made, key=rig.operator_key)[0] == 204
    usage = rig.api("GET", "/v1/usage", key=key)[1]["sandboxes"]
    assert usage[0]["cause"] == "operator", usage


def nodes_and_templates_tell_what_is_there():
    nodes = rig.api("GET", "/v1/nodes", key=rig.operator_key)[1]
    assert len(nodes) == 1 and nodes[0]["name"] == "fake0" and nodes[0]["state"] == "ready", nodes
    assert nodes[0]["capacity"] == {"vcpus": 2000, "memoryMiB": 512000, "sandboxes": 1000}, nodes
    assert nodes[0]["version"] == "fake" and nodes[0]["templates"][0]["name"] == "base", nodes
    templates = rig.api("GET", "/v1/templates", key=rig.operator_key)[1]
    assert [(t["name"], t["vcpus"], t["memoryMiB"], t["diskMiB"], t["nodes"]) for t in templates] == [("base", 2, 512, 1024, 1)]


# ---- bad input ----

def bad_bodies_are_refused_by_name():
    key = rig.tenant()
    deep = b'{"templateID":"base","x":' + b"[" * 200 + b"]" * 200 + b"}"
    for body, word in (
            (b"{", "JSON"), (b"[]", "object"), (b"null", "JSON"), (b'"x"', "JSON"), (b"\xff\xfe", "JSON"), (deep, "nested"),
            (b'{"templateID":"a","templateID":"b"}', "JSON"), (b'{"templateID":"\\ud800"}', "JSON"), (b'{"templateID":"a\\u0000"}', "JSON"),
            ({}, "templateID: is required"), (b"", "templateID: is required"), ({"templateID": None}, "templateID: is required"),
            ({"templateID": 7}, "templateID: should be a string"), ({"templateID": ""}, "templateID"), ({"templateID": "x" * 201}, "templateID"),
            ({"templateID": "base", "timeout": -1}, "Timeout must be greater than 0"),
            ({"templateID": "base", "timeout": 0}, "Timeout must be greater than 0"),
            ({"templateID": "base", "timeout": 10 ** 9}, "Timeout cannot be greater than 24 hours"),
            ({"templateID": "base", "timeout": 2 ** 62}, "Timeout cannot be greater than 24 hours"), ({"templateID": "base", "timeout": 1.5}, "timeout"),
            ({"templateID": "base", "timeout": "60"}, "timeout"), ({"templateID": "base", "timeout": True}, "timeout"),
            (b'{"templateID":"base","timeout":99999999999999999999}', "JSON"),
            ({"templateID": "base", "metadata": [1]}, "metadata"), ({"templateID": "base", "metadata": {"a": 1}}, "metadata"),
            ({"templateID": "base", "metadata": {str(i): "" for i in range(65)}}, "metadata"),
            ({"templateID": "base", "metadata": {"a": "x" * 20000}}, "metadata"), ({"templateID": "base", "envVars": {"a": "x" * 60000}}, "envVars"),
            ({"templateID": "base", "envVars": "A=1"}, "envVars"), ({"templateID": "base", "envVars": {"A=B": "1"}}, "envVars"),
            ({"templateID": "base", "envVars": {"": "1"}}, "envVars"),
            ({"templateID": "base", "autoResume": {"enabled": True}, "autoPauseMemory": False}, "autoResume"), ({"templateID": "base", "volumeMounts": [{"name": "v"}]}, "volumeMounts"),
            *(({"templateID": "base", "network": {"denyOut": [entry]}}, f"invalid denied CIDR {entry}")
              for entry in ("", "a.example", "1.2.3", "1.2.3.4/33", "1.2.3.4/", "01.2.3.4", "1.2.3.4/01", "::/0", "1.2.3.4 ")),
            *(({"templateID": "base", "network": {"allowOut": [entry], "denyOut": ["0.0.0.0/0"]}}, f"invalid allowed address {entry}")
              for entry in ("", "1.2.3", "1.2.3.4/33", "a..example", "a b", ".", "*.", "a.*", "::1", "x" * 64 + ".example", "http://a.example")),
            ({"templateID": "base", "network": {"allowOut": ["a.example"]}},
             "When specifying allowed domains in allow out, you must include 'ALL_TRAFFIC' in deny out to block all other traffic."),
            *(({"templateID": "base", "network": {field: list_}}, f"{field}: should be a list of at most 64 texts")
              for field in ("allowOut", "denyOut") for list_ in ("1.2.3.4", [1], {}, ["1.2.3.4"] * 65)),
            ({"templateID": "base", "network": {"allowOut": ["x" * 60 + "." + "y" * 60 + "." + "z" * 60 + "." + "u" * 60 + ".a"] * 60, "denyOut": ["0.0.0.0/0"]}}, "network: should have at most"),
            ({"templateID": "base", "allow_internet_access": "no"}, "allow_internet_access"),
            ({"templateID": "base", "network": []}, "network"),
            ({"templateID": "base", "network": {"allowPublicTraffic": 0}}, "allowPublicTraffic"),
            *(({"templateID": "base", "network": {"maskRequestHost": host}}, "maskRequestHost")
              for host in (7, "a b", "a\r\nX: y", "http://a", "a:b", "a:", "a:123456", "a/b", "x" * 256, "ä.test", "a:1:2")),
            *(({"templateID": "base", "network": {"httpsPorts": ports}}, "httpsPorts")
              for ports in (443, ["443"], [0], [65536], [49983], [443.0], [1] * 65)),
            ({"templateID": "base", "mcp": [{"x": {}}]}, "mcp"), ({"templateID": "base", "mcp": "x"}, "mcp")):
        status, answer = rig.api("POST", "/v2/sandboxes", body, key=key)
        assert status == 400 and answer["code"] == 400 and word in answer["message"], (body[:60] if isinstance(body, bytes) else body, answer)
    assert rig.api("GET", "/v2/sandboxes", key=key)[1] == []


def what_is_off_or_unknown_is_ignored():
    key = rig.tenant()
    status, made = rig.create(key, autoPause=False, autoPauseMemory=True, autoResume={"enabled": False}, network={}, iam=None,
                              mcp={"x": {"y": [1, "2"]}, "z": {}}, volumeMounts=[], allow_internet_access=False, metadata=None, whatever={"x": [1, 2]})
    assert status == 201, made


def what_is_asked_of_the_network_is_kept_and_its_token_always_the_same():
    key = rig.tenant()
    asked = {"allowPublicTraffic": False, "maskRequestHost": "box-${PORT}.test:${PORT}", "httpsPorts": [443, 8443]}
    asked |= {"allowOut": ["*.good.example", "192.0.2.7"], "denyOut": ["0.0.0.0/0"]}
    status, made = rig.create(key, network={**asked, "unknown": 1}, allow_internet_access=True)
    assert status == 201 and len(made["trafficAccessToken"]) == 48, made
    assert made["trafficAccessToken"] != made["envdAccessToken"] and made["domain"] is None, made
    status, again = rig.api("POST", f"/v2/sandboxes/{made['sandboxID']}/connect", {}, key=key)
    assert (status, again) == (200, made), again
    detail = rig.api("GET", f"/sandboxes/{made['sandboxID']}", key=key)[1]
    assert detail["network"] == asked and detail["allowInternetAccess"] is True, detail
    assert detail["trafficAccessToken"] == made["trafficAccessToken"], detail
    plain = rig.create(key)[1]["sandboxID"]
    detail = rig.api("GET", "/sandboxes/" + plain, key=key)[1]
    assert detail["allowInternetAccess"] is None and "network" not in detail, detail
    other = rig.create(key, network={"allowPublicTraffic": False})[1]
    assert other["trafficAccessToken"] != made["trafficAccessToken"], other
    for network in ({"allowPublicTraffic": True}, {"httpsPorts": [443]}, None):
        status, made = rig.create(key, network=network)
        assert status == 201 and "trafficAccessToken" not in made, made


def our_own_paths_answer_problem_documents():
    key = rig.tenant()
    status, answer = rig.api("GET", "/v1/usage?from=never&to=2026-01-01T00:00:00Z", key=key)
    assert status == 400 and rig.last["Content-Type"] == "application/problem+json", answer
    assert answer["errors"] == [{"loc": ["query", "from"], "msg": answer["errors"][0]["msg"], "type": "datetime_type"}], answer
    assert answer["code"] == "invalid_request" and answer["status"] == 400 and answer["request_id"] == rig.last["X-Request-Id"], answer
    status, answer = rig.api("POST", "/v1/tenants", {"name": "", "plan": 3}, key=rig.operator_key)
    assert status == 400 and {tuple(e["loc"]) for e in answer["errors"]} == {("body", "name"), ("body", "plan")}, answer
    status, answer = rig.api("POST", "/v1/tenants", {"name": "x", "plan": "gold"}, key=rig.operator_key)
    assert status == 400 and answer["code"] == "plan_unknown", answer
    status, answer = rig.api("POST", "/v1/tenants/ten_nobody/keys", {}, key=rig.operator_key)
    assert status == 404 and answer["code"] == "tenant_unknown", answer
    assert rig.api("GET", "/v1/nothing", key=key)[1]["code"] == "not_found"


def paths_are_split_before_they_are_decoded():
    key = rig.tenant()
    made = rig.create(key)[1]["sandboxID"]
    assert rig.api("GET", "/sandboxes/%69" + made[1:], key=key)[0] == 200
    for path in ("/sandboxes/a%2Fb", "/sandboxes/..", "/sandboxes/%00", "/sandboxes/%zz", "/sandboxes/%", "/sandboxes/", "/sandboxes//",
                 "//sandboxes", "/nothing", "/", "/v2", "/a/b/c/d/e/f/g/h/i/j", "/sandboxes/" + "x" * 5000, "/sandboxes/%ff"):
        status, answer = rig.api("GET", path, key=key)
        assert status == 404 and answer["code"] == 404, (path, status, answer)


def a_wrong_method_names_the_right_ones():
    key = rig.tenant()
    for method, path, allowed in (("PATCH", "/v2/sandboxes", "GET, POST"), ("PUT", "/sandboxes/x", "GET, DELETE"),
                                  ("POST", "/livez", "GET"), ("GET", "/v1/nodes/tokens", "POST")):
        status, answer = rig.api(method, path, key=key)
        assert status == 405 and rig.last["Allow"] == allowed, (status, answer, rig.last["Allow"])


def too_much_is_refused():
    key = rig.tenant()
    status, answer = rig.api("POST", "/v2/sandboxes", b"x" * (256 * 1024 + 1), key=key, headers={"Expect": "100-continue"})
    assert status == 413, answer
    status, answer = rig.api("POST", "/v2/sandboxes", (b"x" * 65536 for _ in range(20)), key=key)
    assert status == 413 and answer["code"] == 413, answer
    with connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\n" + b"A: " + b"x" * 100000 + b"\r\n\r\n")
        assert client.recv(100).startswith((b"HTTP/1.1 4", b""))
    assert rig.api("GET", "/livez")[0] == 200


def connect():
    host, port = rig.scheduler.addresses["api"].rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=20)


def bodies_may_come_in_pieces():
    key = rig.tenant()
    with connect() as client:
        client.sendall(f"POST /v2/sandboxes HTTP/1.1\r\nHost: x\r\nx-api-key: {key}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        for byte in b'{"templateID":"base"}':
            client.sendall(b"1\r\n" + bytes([byte]) + b"\r\n")
        client.sendall(b"0\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 201")
        client.sendall(f"GET /v2/sandboxes HTTP/1.1\r\nHost: x\r\nX-Api-Key: {key}\r\nX-Request-Id: mine-1\r\n\r\n".encode())
        answer = client.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200") and b"X-Request-Id: mine-1" in answer, answer


def a_body_that_ends_in_two_places_is_not_read():
    for fields in ("Content-Length: 2\r\nTransfer-Encoding: chunked", "Transfer-Encoding: gzip", "Content-Length: 2\r\nContent-Length: 2"):
        with connect() as client:
            client.sendall(f"POST /v2/sandboxes HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            answer = b""
            while part := client.recv(4096):
                answer += part
        assert answer.startswith(b"HTTP/1.1 400") and answer.count(b"HTTP/1.1 ") == 1, (fields, answer)


def slow_and_half_closed_connections_cost_nobody_anything():
    clients = [connect() for _ in range(3)]
    clients[0].sendall(b"POST /v2/sandboxes HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    clients[0].shutdown(socket.SHUT_WR)
    clients[2].sendall(b"GET /livez HTTP/1.1\r\n")

    stopped = threading.Event()

    def dribble():
        try:
            clients[1].sendall(b"POST /v2/sandboxes HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
            while not stopped.wait(0.1):
                clients[1].sendall(b"x")
        except OSError:
            pass
    thread = threading.Thread(target=dribble)
    thread.start()
    try:
        for client in clients:
            client.settimeout(20)
            try:
                while client.recv(1000):
                    pass
            except ConnectionError:
                pass
    finally:
        stopped.set()
        thread.join()
        for client in clients:
            client.close()
    assert rig.api("GET", "/livez")[0] == 200


def garbage_on_either_port_harms_nobody():
    for name in ("api", "bus"):
        host, port = rig.scheduler.addresses[name].rsplit(":", 1)
        for noise in (os.urandom(4096), b"\0SP\0\0\x30\0\0" + b"\0" * 7 + b"\x20" + os.urandom(32), b"\0SP\0\0\x30\0\0" + b"\xff" * 64, b""):
            with socket.create_connection((host, int(port)), timeout=5) as client:
                try:
                    client.sendall(noise)
                    client.shutdown(socket.SHUT_WR)
                    client.settimeout(1)
                    client.recv(100)
                except OSError:
                    pass
    key = rig.tenant()
    assert rig.create(key)[0] == 201


# ---- idempotency ----

def one_idempotency_key_starts_one_sandbox():
    key = rig.tenant()
    status, made = rig.create(key, headers={"Idempotency-Key": "k1"}, timeout=60)
    assert status == 201 and rig.last["Idempotency-Replayed"] is None
    status, again = rig.create(key, headers={"Idempotency-Key": "k1"}, timeout=60)
    assert (status, again) == (201, made) and rig.last["Idempotency-Replayed"] == "true"
    status, refused = rig.create(key, headers={"Idempotency-Key": "k1"}, timeout=61)
    assert status == 422 and refused["code"] == 422, refused
    assert rig.create(rig.tenant(), headers={"Idempotency-Key": "k1"}, timeout=60)[1]["sandboxID"] != made["sandboxID"]
    assert len(rig.api("GET", "/v2/sandboxes", key=key)[1]) == 1
    assert rig.create(key, headers={"Idempotency-Key": "x" * 300})[0] == 400
    for _ in range(2):  # what was refused may be tried again
        assert rig.create(key, headers={"Idempotency-Key": "k2"}, templateID="nope")[0] == 404


def a_repeat_while_the_first_is_under_way_is_told_so():
    key = rig.tenant()
    results = []

    def go():
        results.append(rig_create_quietly(key))
    threads = [threading.Thread(target=go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(results) <= {201, 409} and 201 in results, results
    assert len(rig.api("GET", "/v2/sandboxes", key=key)[1]) == 1


def rig_create_quietly(key):
    import http.client
    client = http.client.HTTPConnection(rig.scheduler.addresses["api"], timeout=30)
    client.request("POST", "/v2/sandboxes", '{"templateID":"base"}', {"X-API-Key": key, "Idempotency-Key": "same"})
    answer = client.getresponse()
    answer.read()
    client.close()
    return answer.status


# ---- how often ----

def who_asks_too_often_is_told_when_to_come_again():
    """Beside the rig: a scheduler with small limits."""
    with Rig(agents=1, options=["--limits-requests", "30", "--limits-strangers", "10", "--limits-creates", "pro=3,other=1"]) as small:
        key, other = small.tenant("often"), small.tenant("seldom", "hobby")
        assert [small.create(key)[0] for _ in range(3)] == [201] * 3
        assert small.last["RateLimit-Limit"] == "3" and small.last["RateLimit-Remaining"] == "0", small.last
        status, refused = small.create(key)
        assert status == 429 and refused == {"code": 429, "message": "Rate limit exceeded, please try again later"}, refused
        assert small.last["Retry-After"] == "1" and small.last["X-RateLimit-Limit"] == "3", small.last
        wait_for("a token", 5, lambda: small.create(key)[0] == 201, 0.3)
        assert all(small.create(other)[0] == 201 for _ in range(5)), "a plan that is not named has no limit"
        statuses = [small.api("GET", "/v2/sandboxes", key=key)[0] for _ in range(40)]
        assert set(statuses) == {200, 429} and statuses == sorted(statuses), statuses
        assert small.last["RateLimit-Remaining"] == "0" and int(small.last["RateLimit-Reset"]) > 20, small.last
        assert 1 <= int(small.last["Retry-After"]) <= 2 and small.last["X-RateLimit-Reset"], small.last
        assert small.api("GET", "/v2/sandboxes", key=other)[0] == 200, "another tenant's affair"
        assert int(small.last["RateLimit-Remaining"]) > 20
        strangers = [small.api("GET", "/v2/sandboxes", key="wrong")[0] for _ in range(15)]
        assert strangers[:10] == [401] * 10 and strangers[10:] == [429] * 5, strangers
        assert small.api("GET", "/v2/sandboxes", key=other)[0] == 200, "who has a key is none of them"
        assert small.api("GET", "/v2/sandboxes", key="wrong", headers={"X-Forwarded-For": "192.0.2.7"})[0] == 401, \
            "a gateway's own address is not that of who asks through it"
        assert all(small.api("GET", path)[0] == 200 for path in ("/livez", "/readyz", "/metrics") for _ in range(20))
        assert all(small.api("GET", "/v1/nodes", key=small.operator_key)[0] == 200 for _ in range(50)), "nor operators"


def limits_that_are_none_stop_the_start():
    for bad in ("pro", "pro=", "=5", "pro=x", "pro=-1", "pro=10000000"):
        done = subprocess.run([rig.scheduler.argv[0], "--state-dir", rig.path("bad"), "--limits-creates", bad], capture_output=True, text=True, timeout=20)
        assert done.returncode == 1 and "--limits-creates" in done.stderr + done.stdout, (bad, done)


# ---- what was seen ----

def samples_are_read_back_and_kept_after_the_end():
    key = rig.tenant()
    made = rig.create(key)[1]["sandboxID"]
    path = f"/sandboxes/{made}/metrics"
    rows = wait_for("both samples", 10, lambda: len(rows := rig.api("GET", path, key=key)[1]) == 2 and rows)
    assert rows[0]["timestamp"] < rows[1]["timestamp"], rows
    assert {name: value for name, value in rows[0].items() if "timestamp" not in name} == {
        "cpuCount": 2, "cpuUsedPct": 12.34, "memUsed": 100, "memTotal": 400, "memCache": 50, "diskUsed": 1000, "diskTotal": 4000}, rows
    assert rows[1]["cpuUsedPct"] == 100 and abs(rows[1]["timestampUnix"] - time.time()) < 30, rows
    at = rows[1]["timestampUnix"]
    assert rig.api("GET", f"{path}?start={at}&end={at}", key=key)[1] == rows[1:]
    assert rig.api("GET", f"{path}?start=1&end=2", key=key)[1] == []
    for bad in ("start=5&end=4", "start=x", "end=-1"):
        assert rig.api("GET", f"{path}?{bad}", key=key)[0] == 400, bad
    both = rig.api("GET", f"/sandboxes/metrics?sandbox_ids={made},{UNKNOWN},,-,x", key=key)[1]
    assert both == {"sandboxes": {made: rows[1]}}, both
    assert rig.api("GET", "/sandboxes/metrics", key=key)[0] == 400
    assert rig.api("GET", "/sandboxes/metrics?sandbox_ids=" + ",".join(["x"] * 101), key=key)[0] == 400
    other = rig.tenant("other")
    assert rig.api("GET", path, key=other)[0] == 404 and rig.api("GET", f"/sandboxes/metrics?sandbox_ids={made}", key=other)[1] == {"sandboxes": {}}
    assert rig.api("DELETE", "/sandboxes/" + made, key=key)[0] == 204
    assert rig.api("GET", path, key=key)[1] == rows


def logs_are_read_in_both_directions_and_searched():
    key = rig.tenant()
    made = rig.create(key)[1]["sandboxID"]
    path = f"/v2/sandboxes/{made}/logs"
    rows = wait_for("all lines", 10, lambda: len(rows := rig.api("GET", path, key=key)[1]["logs"]) == 5 and rows)
    assert [row["message"] for row in rows] == ["5 lines were lost", "/bin/fake --quietly", "Hello", 'caf\u00e9 "quoted"\t', "exit status 0"], rows
    assert [row["level"] for row in rows] == ["warn", "info", "info", "warn", "info"], rows
    assert rows[2]["fields"] == {"logger": "process", "event_type": "stdout", "pid": "7"}, rows

    def messages(query):
        status, answer = rig.api("GET", path + "?" + query, key=key)
        assert status == 200, answer
        return [row["message"] for row in answer["logs"]]
    assert messages("direction=backward&limit=2") == ["exit status 0", 'caf\u00e9 "quoted"\t']
    assert messages("limit=1") == ["5 lines were lost"] and messages("search=hELLO") == ["Hello"] and messages("search=%25") == []
    assert messages("level=warn") == ["5 lines were lost", 'caf\u00e9 "quoted"\t'] and messages("level=error") == []
    future = int(time.time() * 1000) + 10 ** 6
    assert messages(f"cursor={future}") == [] and len(messages(f"cursor={future}&direction=backward")) == 5
    for bad in ("direction=up", "level=fatal", "limit=0", "limit=1001", "cursor=x", "search=" + "x" * 300):
        assert rig.api("GET", path + "?" + bad, key=key)[0] == 400, bad
    older = rig.api("GET", f"/sandboxes/{made}/logs?limit=3", key=key)[1]
    assert older["logEntries"] == rows[:3] and json.loads(older["logs"][2]["line"])["message"] == "Hello", older
    assert rig.api("GET", path, key=rig.tenant("other"))[0] == 404


def a_node_speaks_of_its_own_sandboxes_only():
    with Rig(agents=1, agent_options=["--observe"]) as pair:
        key = pair.tenant()
        made = pair.create(key)[1]["sandboxID"]
        before = wait_for("samples", 10, lambda: len(rows := pair.api("GET", f"/sandboxes/{made}/metrics", key=key)[1]) == 2 and rows)
        node = pair.api("GET", "/v1/nodes", key=pair.operator_key)[1][0]["nodeID"]
        pair.add_agent("spy", options=["--observe", "--spied", made])
        assert pair.api("POST", f"/v1/nodes/{node}/cordon", key=pair.operator_key)[0] == 200
        placed = pair.create(key)[1]["sandboxID"]
        wait_for("the spy's own", 10, lambda: pair.api("GET", f"/sandboxes/{placed}/metrics", key=key)[1])
        time.sleep(0.5)  # what it said of the other one would be there by now
        assert pair.api("GET", f"/sandboxes/{made}/metrics", key=key)[1] == before


def events_tell_a_sandboxs_life():
    key = rig.tenant("lively")
    one, two = (rig.create(key)[1]["sandboxID"] for _ in range(2))
    assert rig.api("POST", f"/sandboxes/{one}/timeout", {"timeout": 500}, key=key)[0] == 204
    end = rig.api("GET", "/sandboxes/" + one, key=key)[1]["endAt"]
    assert rig.api("DELETE", "/sandboxes/" + one, key=key)[0] == 204

    def types(query="", path=f"/events/sandboxes/{one}"):
        status, rows = rig.api("GET", path + query, key=key)
        assert status == 200, rows
        return [row["type"].removeprefix("sandbox.lifecycle.") for row in rows]
    wait_for("the end", 10, lambda: "killed" in types())
    assert types("?orderAsc=true") == ["created", "updated", "killed"] and types() == ["killed", "updated", "created"]
    assert types("?limit=1&offset=1") == ["updated"] and types("?types=sandbox.lifecycle.created&types=sandbox.lifecycle.killed") == ["killed", "created"]
    assert types("?types=sandbox.lifecycle.snapshotted") == [] and types("", "/events/sandboxes").count("created") == 2
    event = rig.api("GET", f"/events/sandboxes/{one}?types=sandbox.lifecycle.updated", key=key)[1][0]
    assert abs(time_of(event["eventData"]["set_timeout"]) - time_of(end)) < 1, (event, end)
    assert event["sandboxId"] == one and event["version"] == "v1" and event["sandboxTemplateId"] and event["sandboxTeamId"].startswith("ten_"), event
    rows = rig.api("GET", "/events/sandboxes?limit=100", key=key)[1]
    assert len({row["id"] for row in rows}) == len(rows)
    for bad in ("limit=0", "limit=101", "offset=-1", "orderAsc=maybe", "types=born"):
        assert rig.api("GET", "/events/sandboxes?" + bad, key=key)[0] == 400, bad
    other = rig.tenant("other")
    assert rig.api("GET", f"/events/sandboxes/{one}", key=other)[0] == 404 and rig.api("GET", "/events/sandboxes", key=other)[1] == []
    team = rig.api("GET", "/teams", key=key)[1][0]
    assert team["slug"] == "lively" and team["isDefault"] is True, team
    points = rig.api("GET", f"/teams/{team['teamID']}/metrics", key=key)[1]
    assert points[-1]["concurrentSandboxes"] == 2 and points[0]["concurrentSandboxes"] == 0, points
    assert abs(sum(p["sandboxStartRate"] for p in points) * (points[1]["timestampUnix"] - points[0]["timestampUnix"]) - 2) < 0.2, points
    path = f"/teams/{team['teamID']}/metrics/max?metric="
    assert rig.api("GET", path + "concurrent_sandboxes", key=key)[1]["value"] == 2 and rig.api("GET", path + "sandbox_start_rate", key=key)[1]["value"] > 0
    assert rig.api("GET", path + "money", key=key)[0] == 400 and rig.api("GET", f"/teams/{team['teamID']}/metrics", key=other)[0] == 403
    assert rig.api("GET", f"/teams/{team['teamID']}/metrics?start=1&end=2", key=key)[1][0]["concurrentSandboxes"] == 0


def time_of(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def the_oldest_goes_when_there_is_too_much():
    with Rig(agents=1, options=["--observe-size", "1MiB"], agent_options=["--observe"]) as small:
        key = small.tenant()
        first = small.create(key)[1]["sandboxID"]
        wait_for("samples", 10, lambda: small.api("GET", f"/sandboxes/{first}/metrics", key=key)[1])
        small.scheduler.stop()
        with sqlite3.connect(small.path("state", "observations.db")) as file:
            file.executemany("INSERT INTO line (sandbox, at, event, pid, text) VALUES ('filler', ?, 1, 1, ?)",
                             ((int(time.time() * 1000), "x" * 2000) for _ in range(1500)))
        small.scheduler.start()
        last = wait_for("the node", 10, lambda: small.create(key)[1].get("sandboxID"))
        wait_for("what is new", 10, lambda: small.api("GET", f"/sandboxes/{last}/metrics", key=key)[1])
        wait_for("room", 10, lambda: not small.api("GET", f"/sandboxes/{first}/metrics", key=key)[1])


def templates_are_what_the_nodes_offer():
    key = rig.tenant("tempo")
    rows = rig.api("GET", "/templates", key=key)[1]
    assert [(r["names"], r["cpuCount"], r["memoryMB"], r["diskSizeMB"], r["buildStatus"], r["public"]) for r in rows] == [
        (["base"], 2, 512, 1024, "ready", True)], rows
    assert rows[0]["spawnCount"] == 0 and rows[0]["lastSpawnedAt"] is None, rows
    rig.create(key)
    wait_for("a start", 10, lambda: rig.api("GET", "/templates", key=key)[1][0]["spawnCount"] == 1)
    assert [r["templateID"] for r in rig.api("GET", "/v2/templates?limit=1", key=key)[1]] == [rows[0]["templateID"]]
    assert rig.last["X-Next-Token"] is None and rig.api("GET", "/v2/templates?nextToken=f.base", key=key)[1] == []
    for name in ("base", "tempo%2Fbase", "base%3Adefault", rows[0]["templateID"]):
        assert rig.api("GET", "/templates/aliases/" + name, key=key) == (200, {"templateID": rows[0]["templateID"], "public": True}), name
        assert rig.api("GET", "/templates/" + name, key=key)[1]["builds"][0]["buildID"] == rows[0]["buildID"], name
        assert rig.api("GET", f"/templates/{name}/tags", key=key)[1][0]["tag"] == "default", name
    for name in ("nope", "other%2Fbase", "base%3Av2", "%2F"):
        status, refused = rig.api("GET", "/templates/aliases/" + name, key=key)
        assert status == 404 and "not found" in refused["message"], refused


# ---- money ----

def usage_adds_up_and_pages():
    key = rig.tenant("payer")
    made = [rig.create(key)[1]["sandboxID"] for _ in range(5)]
    time.sleep(0.6)  # what is billed must be there to be seen
    for name in made:
        assert rig.api("DELETE", "/sandboxes/" + name, key=key)[0] == 204
    usage = rig.api("GET", "/v1/usage", key=key)[1]
    assert usage["currency"] == "USD" and usage["rule"].startswith("2: ") and usage["from"] is None, usage
    for line in usage["sandboxes"]:
        assert line["seconds"] >= 1 and line["vcpuSeconds"] == 2 * line["seconds"] and line["cause"] == "request", line
        assert line["unbilledSeconds"] == 0, line
        assert line["amount"] == "0.%09d" % (line["seconds"] * (2 * 14000 + 2250)), line
    assert usage["total"] == "0.%09d" % sum(round(float(line["amount"]) * 1e9) for line in usage["sandboxes"])
    seen, token = [], ""
    while token is not None:
        page = rig.api("GET", "/v1/usage?limit=2&nextToken=" + token, key=key)[1]
        assert page["total"] == usage["total"]
        seen += page["sandboxes"]
        token = rig.last["X-Next-Token"]
    assert seen == usage["sandboxes"]
    assert rig.api("GET", "/v1/usage?sandbox=" + made[0], key=key)[1]["sandboxes"][0]["sandboxID"] == made[0]
    assert rig.api("GET", "/v1/usage?to=2001-01-01T00:00:00Z", key=key)[1]["total"] == "0.000000000"


def the_books_balance_and_only_grow():
    with sqlite3.connect(f"file:{rig.path('state', 'scheduler.db')}?mode=ro", uri=True) as books:
        sums = books.execute("SELECT movement, sum(amount_nano) FROM money_entry GROUP BY movement HAVING sum(amount_nano) <> 0").fetchall()
        assert sums == [], sums
        lines, = books.execute("SELECT sum(amount_nano) FROM rated_line").fetchone()
        revenue, = books.execute("SELECT -sum(amount_nano) FROM money_entry WHERE account = 2").fetchone()
        assert lines == revenue and lines > 0, (lines, revenue)
        credit = books.execute("SELECT tenant, -sum(amount_nano) FROM money_entry WHERE account = 3 GROUP BY tenant").fetchall()
        kept = dict(books.execute("SELECT id, credit_left_nano FROM tenant").fetchall())
        assert all(kept[tenant] == left for tenant, left in credit)
        repeated = books.execute("SELECT node, seq FROM usage_event GROUP BY node, seq HAVING count(*) > 1").fetchall()
        assert repeated == [], repeated


# ---- health and documents ----

def health_tells_each_check():
    assert rig.api("GET", "/livez") == (200, "ok\n") and rig.api("GET", "/health")[0] == 200
    assert rig.api("GET", "/readyz") == (200, "ok\n")
    status, text = rig.api("GET", "/readyz?verbose")
    assert status == 200 and "[+] store" in text and "[+] core" in text and "[+] bus: 1 of 1" in text, text
    status, text = rig.api("GET", "/metrics")
    assert status == 200 and "flotilla_ready 1" in text and "flotilla_nodes_awake 1" in text and "# HELP" in text, text


def every_route_is_in_the_openapi_document():
    status, document = rig.api("GET", "/openapi.json")
    assert status == 200 and document["openapi"].startswith("3.1"), document.get("openapi")
    here = os.path.dirname(os.path.abspath(__file__))
    rows = open(os.path.join(here, "..", "..", "scheduler", "shell", "api", "routes.def")).read().split("\nROUTE(")[1:]
    assert len(rows) > 20
    seen = set()
    for row in rows:
        name, method, path = [part.strip() for part in row.split(",")[:3]]
        path = path.strip('"')
        operation = document["paths"][path][method.lower()]
        assert operation["operationId"] == name and operation["summary"] and operation["responses"], operation
        seen.add((path, method.lower()))
        names = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
        assert names == {part[1:-1] for part in path.split("/") if part.startswith("{")}, operation
    assert seen == {(path, method) for path, methods in document["paths"].items() for method in methods}
    ids = [o["operationId"] for methods in document["paths"].values() for o in methods.values()]
    assert len(ids) == len(set(ids))

    def walk(node):
        if isinstance(node, dict):
            if "$ref" in node:
                assert node["$ref"].removeprefix("#/components/schemas/") in document["components"]["schemas"], node
                used.add(node["$ref"].rsplit("/", 1)[1])
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)
    used = set()
    walk(document)
    assert used == set(document["components"]["schemas"]), set(document["components"]["schemas"]) ^ used


def answers_are_as_the_document_says():
    """Each answer seen here has exactly the fields, and the types, of its schema."""
    document = rig.api("GET", "/openapi.json")[1]
    key = rig.tenant()
    made = rig.create(key, metadata={"k": "v"})[1]["sandboxID"]
    types = {"string": str, "integer": int, "boolean": bool, "object": dict, "array": list, "null": type(None)}

    def fits(value, schema, where):
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        if "type" not in schema:
            return
        wanted = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        assert isinstance(value, tuple(types[t] for t in wanted)), (where, value, schema)
        if isinstance(value, dict) and "properties" in schema:
            assert set(value) <= set(schema["properties"]), (where, set(value) - set(schema["properties"]))
            assert set(schema.get("required", [])) <= set(value), (where, value)
            for name, item in value.items():
                fits(item, schema["properties"][name], f"{where}.{name}")
        if isinstance(value, list):
            for item in value:
                fits(item, schema["items"], where)

    for method, path, body, who in (
            ("GET", "/v2/sandboxes", None, key), ("GET", "/sandboxes", None, key), ("GET", "/sandboxes/{sandboxID}", None, key),
            ("POST", "/v2/sandboxes/{sandboxID}/connect", {}, key), ("POST", "/v2/sandboxes", {"templateID": "base"}, key),
            ("GET", "/sandboxes/{sandboxID}/metrics", None, key), ("GET", "/v2/sandboxes/{sandboxID}/logs", None, key),
            ("GET", "/sandboxes/{sandboxID}/logs", None, key), ("GET", "/events/sandboxes", None, key),
            ("GET", "/templates", None, key), ("GET", "/v2/templates", None, key), ("GET", "/teams", None, key),
            ("GET", "/sandboxes/metrics?sandbox_ids={sandboxID}", None, key),
            ("POST", "/secrets", {"name": "s", "value": "v"}, key), ("GET", "/secrets", None, key),
            ("GET", "/v1/usage", None, key), ("GET", "/v1/limits", None, key), ("GET", "/v1/templates", None, key),
            ("GET", "/v1/nodes", None, rig.operator_key), ("GET", "/v1/sandboxes", None, rig.operator_key),
            ("GET", "/v1/tenants", None, rig.operator_key), ("POST", "/v1/tenants", {"name": "t"}, rig.operator_key),
            ("POST", "/v1/nodes/tokens", {}, rig.operator_key), ("GET", "/sandboxes/{sandboxID}", None, None),
            ("GET", "/v1/limits", None, None), ("GET", "/v1/usage?limit=x", None, key)):
        status, answer = rig.api(method, path.replace("{sandboxID}", made), body, key=who)
        response = document["paths"][path.split("?")[0]][method.lower()]["responses"][str(status)]
        (kind, content), = response["content"].items()
        assert rig.last["Content-Type"] == kind, (path, kind)
        fits(answer, content["schema"], path)


def a_token_enrols_one_node_once():
    token = rig.token()
    rig.add_agent("fresh", token=token)
    try:
        rig.add_agent("thief", token=token)
        raise AssertionError("a token was used twice")
    except AssertionError:
        raise
    except Exception:
        pass
    assert "token" in open(rig.path("thief.log")).read()
    names = {node["name"] for node in rig.api("GET", "/v1/nodes", key=rig.operator_key)[1]}
    assert names == {"fake0", "fresh"}, names


if __name__ == "__main__":
    with Rig(agents=1, options=["--api-patience", "1s"], agent_options=["--observe"]) as rig:
        run_tests([
            nodes_and_templates_tell_what_is_there,
            a_sandbox_is_created_found_extended_and_killed,
            older_clients_have_their_paths,
            a_template_goes_by_its_name_its_id_and_its_default_tag,
            lists_are_paged_in_a_stable_order,
            lists_are_filtered,
            a_tenant_at_its_cap_is_refused_in_e2bs_words,
            a_session_longer_than_the_plan_is_refused,
            the_time_limit_ends_a_sandbox_and_its_bill_says_so,
            another_tenants_sandbox_is_as_unknown_as_no_sandbox,
            keys_open_what_they_are_for_and_nothing_else,
            an_operator_sees_and_ends_any_tenants_sandbox,
            bad_bodies_are_refused_by_name,
            what_is_off_or_unknown_is_ignored, what_is_asked_of_the_network_is_kept_and_its_token_always_the_same,
            our_own_paths_answer_problem_documents,
            paths_are_split_before_they_are_decoded,
            a_wrong_method_names_the_right_ones,
            too_much_is_refused,
            bodies_may_come_in_pieces,
            a_body_that_ends_in_two_places_is_not_read,
            slow_and_half_closed_connections_cost_nobody_anything,
            garbage_on_either_port_harms_nobody,
            one_idempotency_key_starts_one_sandbox,
            a_repeat_while_the_first_is_under_way_is_told_so,
            who_asks_too_often_is_told_when_to_come_again,
            limits_that_are_none_stop_the_start,
            samples_are_read_back_and_kept_after_the_end,
            logs_are_read_in_both_directions_and_searched,
            a_node_speaks_of_its_own_sandboxes_only,
            events_tell_a_sandboxs_life,
            the_oldest_goes_when_there_is_too_much,
            templates_are_what_the_nodes_offer,
            usage_adds_up_and_pages,
            the_books_balance_and_only_grow,
            health_tells_each_check,
            every_route_is_in_the_openapi_document,
            answers_are_as_the_document_says,
            a_token_enrols_one_node_once,
        ])
