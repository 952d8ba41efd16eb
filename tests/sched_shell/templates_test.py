#!/usr/bin/env python3
"""Templates of tenants, in the API of the real daemon: whose they are, what they are called, what becomes of them."""
import http.client
import json
import os
import sqlite3

from rig import Rig, run_tests, wait_for

B1, B2, B3 = ("%d" % n * 8 + "-0000-4000-8000-" + "%d" % n * 12 for n in (1, 2, 3))


def put(rig, *rows):
    """Rows of a scheduler that does not run."""
    with sqlite3.connect(rig.path("state", "scheduler.db")) as db:
        for table, *values in rows:
            db.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(values))})", values)


def tenant_of(rig, key):
    return rig.api("GET", "/teams", key=key)[1][0]["teamID"]


def template(rig, key, name, builds, public=0):
    """A template with builds that are ready, tagged default and v1, v2 ... from the oldest on."""
    template_id = ("t" + name + "0" * 20)[:20]
    rows = [("tenant_template", template_id, tenant_of(rig, key), name, public, 0, 1, 10 ** 18, 10 ** 18)]
    for n, build in enumerate(builds):
        rows.append(("build", build, template_id, 1, 0, 2, 2, 512, 1024, "", "", "", 10 ** 18 + n, 10 ** 18 + n, 0))
        rows.append(("build_tag", template_id, f"v{n + 1}", build, 1, n))
    rows.append(("build_tag", template_id, "default", builds[-1], 1, 99))
    return template_id, rows


def a_tenants_template_is_its_own():
    with Rig(agents=0) as rig:
        mine, other = rig.tenant("Acme Inc"), rig.tenant("other")
        app, rows = template(rig, mine, "app", [B1, B2])
        shared, more = template(rig, other, "shared", [B3], public=1)
        rig.scheduler.stop()
        put(rig, *rows, *more)
        rig.scheduler.start()
        for name in ("base", B1, B2, B3):
            rig.add_agent("node-" + name[:4], options=["--template", name])

        def started(key, name):
            status, made = rig.create(key, templateID=name)
            if status != 201:
                return status
            detail = rig.api("GET", "/sandboxes/" + made["sandboxID"], key=key)[1]
            assert detail["templateID"] == made["templateID"] and detail.get("alias") == made.get("alias"), (made, detail)
            return made["templateID"], made.get("alias")
        for name in ("app", "app:default", "app:v1", "acme-inc/app", app, app + ":v2"):
            assert started(mine, name) == (app, "app"), name
        for name in ("app", app, "acme-inc/app", B1, B2, "other/app"):
            assert started(other, name) in (400, 404), name
        for name in (B1, "app:v3", "other/app", "shared"):
            assert started(mine, name) == 404, name
        assert started(mine, "other/shared") == started(other, "shared") == started(mine, shared) == (shared, "shared")
        assert started(other, "base")[1] == "base"

        # Sandboxes are found by any of its names, whichever build they are of.
        for name in ("app", app, "acme-inc/app"):
            assert len(rig.api("GET", f"/v2/sandboxes?template={name}", key=mine)[1]) == 6, name
        assert rig.api("GET", "/v2/sandboxes?template=app", key=other) == (200, [])

        # Lists show one's own, and the fleet's.
        assert [t["names"] for t in rig.api("GET", "/templates", key=mine)[1]] == [["acme-inc/app"], ["base"]]
        assert [t["names"] for t in rig.api("GET", "/templates", key=other)[1]] == [["other/shared"], ["base"]]
        first = rig.api("GET", "/v2/templates?limit=1", key=mine)[1]
        token = rig.last["X-Next-Token"]
        second = rig.api("GET", f"/v2/templates?limit=1&nextToken={token}", key=mine)[1]
        assert [t["aliases"] for t in first + second] == [["app"], ["base"]] and "X-Next-Token" not in rig.last
        assert rig.api("GET", "/v2/templates?nextToken=x", key=mine)[0] == 400
        assert [t["name"] for t in rig.api("GET", "/v1/templates", key=mine)[1]] == ["base"]
        assert len(rig.api("GET", "/v1/templates", key=rig.operator_key)[1]) == 4

        # One of them, with its builds.
        status, got = rig.api("GET", "/templates/" + app, key=mine)
        assert status == 200 and [b["buildID"] for b in got["builds"]] == [B2, B1], got
        assert (got["buildID"], got["buildStatus"], got["buildCount"], got["public"]) == (B2, "ready", 2, False), got
        assert (got["cpuCount"], got["memoryMB"], got["diskSizeMB"]) == (2, 512, 1024), got
        assert rig.api("GET", "/templates/" + app, key=other)[0] == 404

        # What a name says to whom.
        assert rig.api("GET", "/templates/aliases/app", key=mine) == (200, {"templateID": app, "public": False})
        assert rig.api("GET", "/templates/aliases/app", key=other)[0] == 404
        assert rig.api("GET", "/templates/aliases/acme-inc%2Fapp", key=other)[0] == 403
        assert rig.api("GET", "/templates/aliases/other%2Fshared", key=mine) == (200, {"templateID": shared, "public": True})

        tags_are_changed_by_their_owner(rig, mine, other, app)
        a_template_is_shared_and_taken_back(rig, mine, other, app, started)
        a_deleted_template_is_gone(rig, mine, other, app, started)


def tags_are_changed_by_their_owner(rig, mine, other, app):
    def tags(name="app"):
        return {row["tag"]: row["buildID"] for row in rig.api("GET", f"/templates/{name}/tags", key=mine)[1]}
    assert tags() == tags(app) == {"default": B2, "v1": B1, "v2": B2}
    body = {"target": "app:v1", "tags": ["stable", "default"]}
    assert rig.api("POST", "/templates/tags", body, key=other)[0] == 404
    assert rig.api("POST", "/templates/tags", body, key=mine) == (201, {"buildID": B1, "tags": ["stable", "default"]})
    assert tags() == {"default": B1, "stable": B1, "v1": B1, "v2": B2}
    for wrong in ({"target": "app:v1", "tags": ["a:b"]}, {"target": "app:v1", "tags": []}, {"target": "app:v1", "tags": "x"},
                  {"target": "app:v1", "tags": [7]}, {"target": "app:v1", "tags": [B1]}, {"target": "app:v1"},
                  {"target": "app:v1", "tags": ["x" * 64]}, {"target": "app:v1", "tags": ["x%02d" % n + "y" * 50 for n in range(20)]}):
        assert rig.api("POST", "/templates/tags", wrong, key=mine)[0] == 400, wrong
    assert rig.api("POST", "/templates/tags", {"target": "app:nope", "tags": ["x"]}, key=mine)[0] == 404
    assert rig.api("POST", "/templates/tags", {"target": "base", "tags": ["x"]}, key=mine)[0] == 403
    assert rig.api("DELETE", "/templates/tags", {"name": "app", "tags": ["v1"]}, key=other)[0] == 404
    assert rig.api("DELETE", "/templates/tags", {"name": "app", "tags": ["v1", "stable"]}, key=mine) == (204, "")
    assert tags() == {"default": B1, "v2": B2}


def a_template_is_shared_and_taken_back(rig, mine, other, app, started):
    assert rig.api("PATCH", "/v2/templates/" + app, {"public": True}, key=other)[0] == 404
    assert rig.api("PATCH", "/v2/templates/" + app, {"public": True}, key=mine) == (200, {"names": ["acme-inc/app"]})
    assert started(other, "acme-inc/app") == (app, "app")
    assert rig.api("PATCH", "/v2/templates/app", {"public": False}, key=other)[0] == 404
    assert rig.api("PATCH", "/v2/templates/acme-inc%2Fapp", {"public": False}, key=other)[0] == 403
    assert rig.api("DELETE", "/templates/" + app, key=other)[0] == 403, "it is shared, not given away"
    assert rig.api("PATCH", "/templates/app", {"public": False}, key=mine)[0] == 200
    assert started(other, "acme-inc/app") == 404


def a_deleted_template_is_gone(rig, mine, other, app, started):
    status, runs = rig.create(mine, templateID="app")
    assert status == 201, runs
    assert rig.api("DELETE", "/templates/" + app, key=other)[0] == 404
    assert rig.api("DELETE", "/templates/base", key=mine)[0] == 403
    assert rig.api("DELETE", "/templates/app:v2", key=mine)[0] == 400
    assert rig.api("DELETE", "/templates/acme-inc%2Fapp%3Adefault", key=mine) == (204, "")
    assert rig.api("DELETE", "/templates/" + app, key=mine)[0] == 404
    assert started(mine, "app") == started(mine, app) == 404
    assert [t["aliases"] for t in rig.api("GET", "/templates", key=mine)[1]] == [["base"]]
    status, detail = rig.api("GET", "/sandboxes/" + runs["sandboxID"], key=mine)
    assert status == 200 and detail["state"] == "running" and detail["templateID"] == app, detail


def put_file(rig, url, data):
    host, path = url.split("//")[1].split("/", 1)
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.request("PUT", "/" + path, body=data)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (BrokenPipeError, ConnectionResetError):
        return 413  # said before all of it was sent
    finally:
        connection.close()


def a_build_is_begun_described_and_asked_about():
    with Rig(agents=1, options=["--builds-upload", "1MiB", "--builds-space", "1536KiB", "--builds-tenant", "4"]) as rig:
        mine, other = rig.tenant("Acme Inc"), rig.tenant("other")
        status, begun = rig.api("POST", "/v3/templates", {"name": "app:v1", "tags": ["x"], "cpuCount": 1, "memoryMB": 512}, key=mine)
        assert status == 202 and begun["names"] == ["acme-inc/app"] and begun["aliases"] == ["app"] and begun["tags"] == ["x", "v1"], begun
        template_id, build = begun["templateID"], begun["buildID"]
        path = f"/templates/{template_id}/builds/{build}"

        def status_of(key=mine, at=path + "/status"):
            return rig.api("GET", at, key=key)
        status, told = status_of()
        assert status == 200 and (told["status"], told["logEntries"], told["logs"]) == ("waiting", [], []), told
        assert status_of(other)[0] == 404 and rig.api("GET", path + "/logs", key=other)[0] == 404
        assert rig.api("GET", path + "/logs", key=mine) == (200, {"logs": []})
        again = rig.api("POST", "/v2/templates", {"alias": "app"}, key=mine)[1]
        assert again["templateID"] == template_id and again["buildID"] != build and again["tags"] == ["default"], again
        assert rig.api("POST", "/v3/templates", {"name": "acme-inc/app"}, key=mine)[1]["templateID"] == template_id
        assert rig.api("POST", "/v3/templates", {"name": "app"}, key=other)[1]["templateID"] != template_id, "each has a namespace"
        for body in ({"name": "A B"}, {}, {"name": B1}, {"name": "app", "cpuCount": 9}, {"name": "app", "memoryMB": 100},
                     {"name": "app", "memoryMB": 513}, {"name": "app", "memoryMB": 1 << 20}, {"name": "app", "tags": ["a:b"]}):
            assert rig.api("POST", "/v3/templates", body, key=mine)[0] == 400, body
        assert rig.api("POST", "/v3/templates", {"name": "other/app"}, key=mine)[0] == 403
        assert rig.api("POST", "/v3/templates", {"name": "more"}, key=mine)[0] == 202
        status, refused = rig.api("POST", "/v3/templates", {"name": "too-many"}, key=mine)
        assert status == 429 and "builds at once" in refused["message"], refused
        files_are_brought(rig, mine, other, template_id)
        what_is_built_is_checked(rig, mine, other, path)
        # Deleted, it is nobody's, and its build with it; a new one of the name begins anew.
        assert rig.api("DELETE", "/templates/" + template_id, key=mine)[0] == 204
        assert status_of()[0] == 404
        assert rig.api("POST", "/v3/templates", {"name": "app"}, key=mine)[1]["templateID"] == template_id
        assert rig.api("GET", "/templates/" + template_id, key=mine)[1]["buildCount"] == 1


def files_are_brought(rig, mine, other, template_id):
    data = os.urandom(700_000)
    at = f"/templates/{template_id}/files/{'a' * 64}"
    assert rig.api("GET", at, key=other)[0] == 404
    assert rig.api("GET", f"/templates/{template_id}/files/../../etc", key=mine)[0] == 404
    for wrong in ("A" * 64, "a" * 63, "..%2F" + "a" * 61):
        assert rig.api("GET", f"/templates/{template_id}/files/{wrong}", key=mine)[0] == 400, wrong
    status, told = rig.api("GET", at, key=mine)
    assert status == 201 and told["present"] is False, told
    url = told["url"]
    for wrong in (url + "0", url.replace("a" * 64, "b" * 64), url[:-1] + ("1" if url[-1] != "1" else "2")):
        assert put_file(rig, wrong, b"x") == 403, wrong
    assert put_file(rig, url, os.urandom(1_100_000)) == 413, "longer than --builds-upload"
    assert put_file(rig, url, data) == 204
    assert rig.api("GET", at, key=mine)[1]["present"] is True
    kept = rig.path("state", "builds", "files")
    held = [os.path.join(kept, tenant, "a" * 64) for tenant in os.listdir(kept)]
    assert [open(path, "rb").read() == data for path in held] == [True], held
    assert put_file(rig, url, b"other") == 204 and open(held[0], "rb").read() == b"other", "the last one counts"
    assert put_file(rig, url, data) == 204
    more = rig.api("GET", f"/templates/{template_id}/files/{'b' * 64}", key=mine)[1]["url"]
    assert put_file(rig, more, os.urandom(900_000)) == 413, "beyond --builds-space"


def what_is_built_is_checked(rig, mine, other, path):
    run = {"type": "RUN", "args": ["true"]}
    copy = {"type": "COPY", "args": ["a", "b", "", ""], "filesHash": "a" * 64}
    assert rig.api("POST", "/v2" + path, {"fromTemplate": "base", "steps": [run]}, key=other)[0] == 404
    for body in ({}, {"fromTemplate": "base", "fromImage": "x"}, {"fromTemplate": "base", "steps": "x"}, {"fromTemplate": "base", "steps": [run] * 201},
                 {"fromTemplate": "base", "steps": [{**copy, "filesHash": "c" * 64}]}, {"fromTemplate": "base", "steps": [{**copy, "filesHash": "../../x"}]},
                 {"fromImage": "x", "fromImageRegistry": {"type": "aws", "awsAccessKeyId": "u"}}, {"fromImage": "x", "fromImageRegistry": "u:p"}):
        assert rig.api("POST", "/v2" + path, body, key=mine)[0] == 400, body
    aws = {"type": "aws", "awsAccessKeyId": "u", "awsSecretAccessKey": "p"}
    for registry, word in ((aws, "awsRegion is wanted"), ({"type": "gcp"}, "serviceAccountJson is wanted"), ({"type": "oci"}, "type is wanted: registry, gcp or aws"),
                           ({"type": "registry", "username": "u"}, "password is wanted")):
        status, answer = rig.api("POST", "/v2" + path, {"fromImage": "x", "fromImageRegistry": registry}, key=mine)
        assert status == 400 and word in answer["message"], answer
    for name in ("nope", "other/app", "base:v2"):
        assert rig.api("POST", "/v2" + path, {"fromTemplate": name}, key=mine)[0] == 404, name
    assert rig.api("POST", "/v2" + path, {"fromTemplate": "base", "startCmd": "serve", "readyCmd": "true", "force": False, "steps": [copy, run]}, key=mine)[0] == 202
    assert rig.api("GET", path + "/status", key=mine)[1]["status"] == "building"
    assert rig.api("POST", "/v2" + path, {"fromTemplate": "base"}, key=mine)[0] == 409
    # It waits for a node, over a restart too.
    rig.scheduler.stop()
    rig.scheduler.start()
    wait_for("the scheduler", 20, lambda: rig.api("GET", path + "/status", key=mine)[1]["status"] == "building")
    build = path.split("/")[-1]
    spec = json.load(open(rig.path("state", "builds", "specs", build)))
    assert spec == {"fromTemplate": "base", "startCmd": "serve", "readyCmd": "true", "force": False, "steps": [copy, run]}, spec


if __name__ == "__main__":
    run_tests([a_tenants_template_is_its_own, a_build_is_begun_described_and_asked_about])
