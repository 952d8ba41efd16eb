#!/usr/bin/env python3
"""What tenants are promised of volumes and their files, against scheduler, flotilla-volumes and gateway."""
import concurrent.futures
import datetime
import http.client
import json
import os
import re
import socket
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "sched_shell"))
from rig import Rig, run_tests, wait_for  # noqa: E402
from fleet import BIN, Daemon, free_port  # noqa: E402

MIB = 1 << 20
rig = volumes = gateway = None


def daemon(name, *options):
    ready = rig.path(f"{name}.ready")
    return Daemon(name, [os.path.join(BIN, f"flotilla-{name}"), "--fleet-key", rig.path("state", "fleet.key"),
                         "--ready-file", ready, *options], rig.path(f"{name}.log"), ready)


def make(key, name):
    status, made = rig.api("POST", "/volumes", {"name": name}, key=key)
    assert status == 201 and re.fullmatch("vol_[a-z0-9]{20}", made["volumeID"]) and made["name"] == name, made
    return made


def content(volume, method, what, body=None, token=None, to=None, headers=(), **query):
    """(status, decoded answer), by way of the gateway."""
    connection = http.client.HTTPConnection(to or gateway.addresses["tenants"], timeout=30)
    sent = {"Authorization": "Bearer " + (volume["token"] if token is None else token), **dict(headers)}
    target = f"/volumecontent/{volume['volumeID']}/{what}?" + urllib.parse.urlencode(query)
    try:
        connection.request(method, target, body=body, headers=sent)
        answer = connection.getresponse()
        raw = answer.read()
    finally:
        connection.close()
    return answer.status, json.loads(raw) if "json" in (answer.getheader("Content-Type") or "") else raw


def ok(volume, method, what, body=None, **query):
    status, answer = content(volume, method, what, body, **query)
    assert 200 <= status < 300, (status, answer)
    return answer


def names(entries):
    return [entry["path"] for entry in entries]


def folder_of(volume):
    return rig.path("volumes", volume["volumeID"], "tree")


# ---- the rows ----

def volumes_are_made_listed_found_and_deleted():
    key = rig.tenant()
    assert rig.api("GET", "/volumes", key=key) == (200, [])
    first, second = make(key, "first"), make(key, "second_-2")
    assert rig.api("GET", "/volumes", key=key)[1] == [{k: v[k] for k in ("volumeID", "name")} for v in (first, second)]
    assert rig.api("GET", "/volumes/" + first["volumeID"], key=key) == (200, first)
    assert len(first["token"]) == 48 and first["token"] != second["token"] and "domain" not in first
    assert rig.api("DELETE", "/volumes/" + first["volumeID"], key=key) == (204, "")
    for method in ("GET", "DELETE"):
        status, answer = rig.api(method, "/volumes/" + first["volumeID"], key=key)
        assert status == 404 and answer["code"] == 404, answer
    assert names_of(key) == ["second_-2"]
    assert make(key, "first")["volumeID"] != first["volumeID"], "a name that is free again is another volume's"


def names_of(key):
    return [row["name"] for row in rig.api("GET", "/volumes", key=key)[1]]


def a_name_is_one_volumes_and_of_good_letters():
    key, other = rig.tenant(), rig.tenant()
    make(key, "data")
    make(other, "data")
    status, answer = rig.api("POST", "/volumes", {"name": "data"}, key=key)
    assert status == 400 and answer["message"] == "Volume with name 'data' already exists", answer
    for bad in ("", "a b", "a/b", "..", "ä", "x" * 64, "x" * 300, 7, None):
        status, answer = rig.api("POST", "/volumes", {"name": bad}, key=key)
        assert status == 400 and "name" in answer["message"], (bad, answer)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: rig.api("POST", "/volumes", {"name": "one"}, key=key)[0], range(8)))
    assert sorted(answers) == [201] + [400] * 7 and names_of(key) == ["data", "one"], answers


def a_plan_has_so_many_volumes():
    key = rig.tenant(plan="hobby")  # 3, as main() says
    for number in range(3):
        make(key, f"v{number}")
    status, answer = rig.api("POST", "/volumes", {"name": "more"}, key=key)
    assert status == 400 and "maximum of 3 volumes" in answer["message"], answer
    assert rig.api("DELETE", "/volumes/" + rig.api("GET", "/volumes", key=key)[1][0]["volumeID"], key=key)[0] == 204
    make(key, "more")


def another_tenants_volume_is_as_unknown_as_none():
    mine, theirs = rig.tenant(), rig.tenant()
    volume = make(mine, "mine")
    unknown = "vol_" + "0" * 20
    for method in ("GET", "DELETE"):
        status, answer = rig.api(method, "/volumes/" + volume["volumeID"], key=theirs)
        nobody = rig.api(method, "/volumes/" + unknown, key=theirs)
        assert status == 404 and json.dumps(answer).replace(volume["volumeID"], unknown) == json.dumps(nobody[1]), answer
    assert names_of(theirs) == []
    for key in (None, rig.operator_key):
        assert rig.api("GET", "/volumes", key=key)[0] in (401, 403)
    for key in (None, mine, rig.operator_key):
        assert rig.api("GET", f"/v1/volumes/{volume['volumeID']}/grant", key=key)[0] == 401


def volumes_are_there_after_a_restart():
    key = rig.tenant()
    volume = make(key, "stays")
    ok(volume, "PUT", "file", b"still", path="/f")
    rig.scheduler.stop()
    # What was known goes on without a scheduler.
    assert content(volume, "GET", "file", path="/f") == (200, b"still")
    rig.scheduler.start()
    volumes.stop()
    assert content(volume, "GET", "file", path="/f")[0] == 503
    volumes.start()
    assert rig.api("GET", "/volumes", key=key)[1] == [{"volumeID": volume["volumeID"], "name": "stays"}]
    assert content(volume, "GET", "file", path="/f") == (200, b"still")


# ---- files ----

def files_are_written_read_listed_and_removed():
    volume = make(rig.tenant(), "files")
    before = datetime.datetime.now(datetime.timezone.utc)
    entry = ok(volume, "PUT", "file", b"hello", path="/hello.txt")
    assert {k: entry[k] for k in ("name", "path", "type", "size", "mode", "uid", "gid")} == \
        {"name": "hello.txt", "path": "/hello.txt", "type": "file", "size": 5, "mode": 0o644, "uid": 1000, "gid": 1000}, entry
    for at in ("atime", "mtime", "ctime"):
        when = datetime.datetime.fromisoformat(entry[at][:26] + "+00:00")
        assert abs((when - before).total_seconds()) < 60, entry
    assert content(volume, "GET", "file", path="hello.txt") == (200, b"hello")
    assert ok(volume, "PUT", "file", b"", path="/empty")["size"] == 0
    assert content(volume, "GET", "file", path="/empty") == (200, b"")
    assert ok(volume, "POST", "dir", path="/d")["type"] == "directory"
    made = ok(volume, "POST", "dir", path="/d/e/f", force="true", uid=7, gid=8, mode=0o700)
    assert (made["uid"], made["gid"], made["mode"]) == (7, 8, 0o700), made
    ok(volume, "PUT", "file", b"x", path="/d/e/x", uid=3, gid=4, mode=0o600)
    assert names(ok(volume, "GET", "dir", path="/")) == ["/d", "/empty", "/hello.txt"]
    assert names(ok(volume, "GET", "dir", path="/d", depth=2)) == ["/d/e", "/d/e/f", "/d/e/x"]
    assert names(ok(volume, "GET", "dir", path="/", depth=9)) == ["/d", "/d/e", "/d/e/f", "/d/e/x", "/empty", "/hello.txt"]
    moved = ok(volume, "PATCH", "path", json.dumps({"mode": 0o640, "uid": 5, "gid": None}), path="/d/e/x")
    assert (moved["uid"], moved["gid"], moved["mode"]) == (5, 4, 0o640), moved
    again = ok(volume, "PUT", "file", b"longer", path="/d/e/x")
    assert (again["uid"], again["gid"], again["mode"], again["size"]) == (5, 4, 0o640, 6), "whose it was, it stays"
    assert ok(volume, "GET", "path", path="/")["type"] == "directory"
    assert content(volume, "DELETE", "path", path="/d") == (204, b"")
    assert names(ok(volume, "GET", "dir", path="/")) == ["/empty", "/hello.txt"]


def names_are_any_text():
    volume = make(rig.tenant(), "names")
    for name in ("ä b+c&d%41?#.txt", "日本語", "-rf", "a\\b", "'\"\n", "x" * 255):
        ok(volume, "PUT", "file", name.encode(), path="/" + name)
        assert content(volume, "GET", "file", path="/" + name) == (200, name.encode()), name
        assert ok(volume, "GET", "path", path="/" + name)["name"] == name
    with open(os.path.join(folder_of(volume).encode(), b"\xff\xfe"), "w"):
        pass
    assert "/??" in names(ok(volume, "GET", "dir", path="/"))


def what_cannot_be_done_is_said():
    volume = make(rig.tenant(), "errors")
    ok(volume, "PUT", "file", b"x", path="/file")
    ok(volume, "POST", "dir", path="/dir")
    ok(volume, "PUT", "file", b"x", path="/dir/in")
    for method, what, query, body, wanted in (
            ("GET", "path", {"path": "/none"}, None, 404), ("GET", "file", {"path": "/none"}, None, 404),
            ("GET", "dir", {"path": "/none"}, None, 404), ("DELETE", "path", {"path": "/none"}, None, 404),
            ("PATCH", "path", {"path": "/none"}, "{}", 404), ("POST", "dir", {"path": "/none/x"}, None, 404),
            ("PUT", "file", {"path": "/none/x"}, b"x", 404), ("GET", "file", {"path": "/dir"}, None, 400),
            ("GET", "dir", {"path": "/file"}, None, 400), ("PUT", "file", {"path": "/dir"}, b"x", 400),
            ("PUT", "file", {"path": "/"}, b"x", 400), ("DELETE", "path", {"path": "/"}, None, 400),
            ("PUT", "file", {"path": "/file/x"}, b"x", 400), ("PUT", "file", {"path": "/file", "force": "false"}, b"x", 409),
            ("POST", "dir", {"path": "/dir"}, None, 409), ("POST", "dir", {"path": "/file", "force": "true"}, None, 409),
            ("POST", "dir", {"path": "/"}, None, 409), ("GET", "path", {}, None, 400),
            ("GET", "path", {"path": "/" + "x" * 256}, None, 400), ("GET", "path", {"path": "/x" * 3000}, None, 400),
            ("PUT", "file", {"path": "/y", "mode": "rw"}, b"x", 400), ("PUT", "file", {"path": "/y", "uid": "-1"}, b"x", 400),
            ("PUT", "file", {"path": "/y", "uid": 2 ** 32}, b"x", 400), ("GET", "dir", {"path": "/", "depth": 0}, None, 400),
            ("POST", "dir", {"path": "/y", "force": "yes"}, None, 400), ("PATCH", "path", {"path": "/file"}, "[]", 400),
            ("PATCH", "path", {"path": "/file"}, '{"mode":"x"}', 400), ("PATCH", "path", {"path": "/file"}, b"{" * 9000, 400),
            ("PATCH", "path", {"path": "/file"}, '{"uid":4294967296}', 400), ("POST", "file", {"path": "/file"}, b"x", 405),
            ("GET", "nothing", {"path": "/file"}, None, 404)):
        status, answer = content(volume, method, what, body, **query)
        assert status == wanted and answer["code"] and answer["message"], (method, what, query, status, answer)
    assert names(ok(volume, "GET", "dir", path="/", depth=5)) == ["/dir", "/dir/in", "/file"], "and nothing was changed"
    assert ok(volume, "POST", "dir", path="/dir", force="true")["path"] == "/dir"


def a_token_opens_its_volume_and_nothing_else():
    key = rig.tenant()
    mine, other = make(key, "mine"), make(rig.tenant(), "other")
    ok(other, "PUT", "file", b"secret", path="/f")
    for token in (mine["token"], "", "0" * 48, other["token"] + "0", other["token"][:-1], key):
        status, answer = content(other, "GET", "file", token=token, path="/f")
        assert status == 401 and b"secret" not in json.dumps(answer).encode(), answer
    status, _ = content({"volumeID": "vol_" + "0" * 20, "token": mine["token"]}, "GET", "dir", path="/")
    assert status == 401
    for target in ("/volumecontent/", "/volumecontent/../volumes", "/volumecontent/" + mine["volumeID"], "/volumecontent//dir?path=/"):
        connection = http.client.HTTPConnection(gateway.addresses["tenants"], timeout=10)
        connection.request("GET", target, headers={"Authorization": "Bearer " + mine["token"]})
        assert connection.getresponse().status in (401, 404), target
        connection.close()


def only_the_scheduler_has_volumes_mounted():
    sandbox = "i" + "0" * 20
    body = json.dumps({"mounts": [{"volumeID": "vol_" + "0" * 20, "path": "/x"}]})
    for to, headers, wanted in ((volumes, {}, 401), (volumes, {"X-Wake-Token": "0" * 48}, 401), (gateway, {}, 400), (gateway, {"X-Wake-Token": "0" * 48}, 400)):
        connection = http.client.HTTPConnection(to.addresses["content" if to is volumes else "tenants"], timeout=10)
        connection.request("POST", f"/mounts/{sandbox}", body, headers)
        assert connection.getresponse().status == wanted, (to.name, headers)
        connection.close()
    key = rig.tenant()
    volume = make(key, "mounted")
    assert rig.api("GET", f"/v1/sandboxes/{sandbox}/mounts", key=key)[0] == 401
    assert rig.api("DELETE", "/volumes/" + volume["volumeID"], key=key)[0] == 204


def nothing_leads_out_of_a_volume():
    volume = make(rig.tenant(), "walls")
    ok(volume, "PUT", "file", b"inside", path="/etc/passwd", force="true")
    root = folder_of(volume)
    os.symlink("/etc/passwd", os.path.join(root, "absolute"))
    os.symlink("../../../../../../etc/passwd", os.path.join(root, "relative"))
    os.symlink("/", os.path.join(root, "root"))
    os.symlink("/etc", os.path.join(root, "etc2"))
    os.symlink("loop", os.path.join(root, "loop"))
    os.symlink("/proc/self/root/etc/passwd", os.path.join(root, "magic"))
    os.mkfifo(os.path.join(root, "pipe"))
    for path in ("/absolute", "/relative", "/root/etc/passwd", "/etc2/passwd", "/../../../etc/passwd", "/etc/../etc/./passwd"):
        assert content(volume, "GET", "file", path=path) == (200, b"inside"), path
    for path, wanted in (("/magic", 404), ("/loop", 400), ("/pipe", 400), ("/root/loop/x", 400)):
        assert content(volume, "GET", "file", path=path)[0] == wanted, path
    link = ok(volume, "GET", "path", path="/absolute")
    assert (link["type"], link["target"]) == ("symlink", "/etc/passwd"), link
    assert ok(volume, "GET", "path", path="/pipe")["type"] == "unknown"
    with open("/etc/passwd", "rb") as file:
        real = file.read()
    # Writing replaces a link, and goes through none at the end; folders are followed within.
    ok(volume, "PUT", "file", b"new", path="/absolute")
    assert ok(volume, "GET", "path", path="/absolute")["type"] == "file"
    ok(volume, "PUT", "file", b"by a link", path="/etc2/new")
    assert content(volume, "GET", "file", path="/etc/new") == (200, b"by a link")
    assert content(volume, "PATCH", "path", '{"mode":511}', path="/relative")[0] == 400
    ok(volume, "PATCH", "path", '{"uid":9}', path="/relative")
    assert content(volume, "DELETE", "path", path="/etc2") == (204, b"")
    assert content(volume, "DELETE", "path", path="/root") == (204, b"")
    assert content(volume, "GET", "file", path="/etc/passwd") == (200, b"inside"), "a link's end is not its target's"
    with open("/etc/passwd", "rb") as file:
        assert file.read() == real and os.stat("/etc/passwd").st_uid == 0


# ---- room ----

def a_volume_holds_what_its_plan_says():
    key = rig.tenant(plan="hobby")  # 1 GiB
    volume = make(key, "full")
    root = folder_of(volume)
    ok(volume, "GET", "dir", path="/")
    volumes.stop()  # it counts anew
    with open(os.path.join(root, "big"), "wb") as file:
        file.truncate(1024 * MIB - 2 * MIB)
    volumes.start()
    ok(volume, "PUT", "file", bytes(MIB), path="/a")
    status, answer = content(volume, "PUT", "file", bytes(MIB), path="/b")
    assert status == 507 and answer["code"] == "volume_full", answer
    assert names(ok(volume, "GET", "dir", path="/")) == ["/a", "/big"], "what did not fit left nothing"
    assert os.listdir(rig.path("volumes", volume["volumeID"], "incoming")) == []
    ok(volume, "DELETE", "path", path="/a")
    ok(volume, "PUT", "file", bytes(MIB), path="/b")
    ok(volume, "PUT", "file", bytes(MIB // 2), path="/b")  # what it replaces is free once it is whole
    ok(volume, "PUT", "file", bytes(MIB // 4), path="/c")
    ok(volume, "DELETE", "path", path="/big")
    for number in range(3):
        ok(volume, "PUT", "file", bytes(MIB), path=f"/d{number}")


def an_upload_that_breaks_off_leaves_nothing():
    volume = make(rig.tenant(), "broken")
    ok(volume, "PUT", "file", b"old", path="/f")
    host, port = gateway.addresses["tenants"].rsplit(":", 1)
    for _ in range(3):
        with socket.create_connection((host, int(port))) as peer:
            peer.sendall(f"PUT /volumecontent/{volume['volumeID']}/file?path=/f HTTP/1.1\r\nHost: localhost\r\n"
                         f"Authorization: Bearer {volume['token']}\r\nContent-Length: 1000000\r\n\r\n".encode() + bytes(100000))
            wait_for("its first bytes", 10, lambda: os.listdir(rig.path("volumes", volume["volumeID"], "incoming")))
    wait_for("the end of what broke off", 20, lambda: not os.listdir(rig.path("volumes", volume["volumeID"], "incoming")))
    assert content(volume, "GET", "file", path="/f") == (200, b"old")


def resident_mib(process):
    with open(f"/proc/{process.pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) / 1024


def large_files_pass_in_pieces():
    volume = make(rig.tenant(), "large")
    n = 96 * MIB

    def pieces():
        for number in range(n // MIB):
            yield bytes([number]) * MIB

    before = resident_mib(volumes), resident_mib(gateway)
    entry = ok(volume, "PUT", "file", pieces(), path="/large")  # chunked
    assert entry["size"] == n
    connection = http.client.HTTPConnection(gateway.addresses["tenants"], timeout=60)
    connection.request("GET", f"/volumecontent/{volume['volumeID']}/file?path=/large", headers={"Authorization": "Bearer " + volume["token"]})
    answer = connection.getresponse()
    for number in range(n // MIB):
        assert answer.read(MIB) == bytes([number]) * MIB, number
    assert not answer.read()
    grown = resident_mib(volumes) - before[0], resident_mib(gateway) - before[1]
    assert max(grown) < 24, f"grown by {grown} MiB"


def many_at_once_do_not_mix():
    volume = make(rig.tenant(), "many")

    def one(number):
        body = (b"%06d" % number) * 20000
        ok(volume, "PUT", "file", body, path=f"/{number % 7}/{number}", force="true")
        assert content(volume, "GET", "file", path=f"/{number % 7}/{number}") == (200, body)

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        list(pool.map(one, range(60)))
    assert len(ok(volume, "GET", "dir", path="/", depth=2)) == 67


def a_deleted_volumes_files_are_gone():
    key = rig.tenant()
    volume, kept = make(key, "gone"), make(key, "kept")
    for each in (volume, kept):
        ok(each, "PUT", "file", b"x", path="/a/b/c", force="true")
    deep = os.open(folder_of(volume), os.O_RDONLY)
    for _ in range(1500):  # deeper than anybody walks, or than a path can be
        os.mkdir("d" * 20, dir_fd=deep)
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    assert rig.api("DELETE", "/volumes/" + volume["volumeID"], key=key)[0] == 204
    wait_for("its token to open nothing", 10, lambda: content(volume, "GET", "path", path="/a")[0] == 404)
    wait_for("its files to be gone", 20, lambda: not any(volume["volumeID"] in name for name in os.listdir(rig.path("volumes"))))
    assert content(volume, "PUT", "file", b"x", path="/f")[0] == 404
    assert content(kept, "GET", "file", path="/a/b/c") == (200, b"x")


def a_deep_folder_can_be_removed():
    volume = make(rig.tenant(), "deep")
    ok(volume, "POST", "dir", path="/top")
    deep = os.open(os.path.join(folder_of(volume), "top"), os.O_RDONLY)
    for _ in range(700):
        os.mkdir("d", dir_fd=deep)
        below = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    assert len(ok(volume, "GET", "dir", path="/", depth=4000000000)) == 256
    ok(volume, "DELETE", "path", path="/top")
    assert os.listdir(rig.path("volumes", volume["volumeID"], "incoming")) == []
    assert ok(volume, "GET", "dir", path="/") == []


def a_scheduler_that_has_forgotten_a_volume_costs_no_files():
    key = rig.tenant()
    rig.scheduler.stop()
    with open(rig.path("state", "scheduler.db"), "rb") as file:
        old = file.read()
    rig.scheduler.start()
    volume = make(key, "newer")
    ok(volume, "PUT", "file", b"dear", path="/f")
    rig.scheduler.stop()
    for suffix in ("-wal", "-shm"):
        if os.path.exists(rig.path("state", "scheduler.db" + suffix)):
            os.unlink(rig.path("state", "scheduler.db" + suffix))
    with open(rig.path("state", "scheduler.db"), "wb") as file:
        file.write(old)
    rig.scheduler.start()
    wait_for("it not to be known", 10, lambda: content(volume, "GET", "file", path="/f")[0] == 404)
    time.sleep(0.5)  # sweeps come every 200 ms
    with open(os.path.join(folder_of(volume), "f"), "rb") as file:
        assert file.read() == b"dear"


def main():
    global rig, volumes, gateway
    with Rig(agents=0, options=["--limits-volumes", "hobby=3", "--limits-volume-gib", "hobby=1,pro=2"]) as rig:
        volumes = daemon("volumes", "--state-dir", rig.path("volumes"), "--listen", f"127.0.0.1:{free_port()}", "--reserve", "0",
                         "--api-backend", rig.scheduler.addresses["api"], "--sweep", "200ms").start()
        gateway = daemon("gateway", "--listen", "127.0.0.1:0", "--tunnel-listen", "127.0.0.1:0",
                         "--volumes-backend", volumes.addresses["content"]).start()
        try:
            run_tests([
                volumes_are_made_listed_found_and_deleted, a_name_is_one_volumes_and_of_good_letters, a_plan_has_so_many_volumes,
                another_tenants_volume_is_as_unknown_as_none, files_are_written_read_listed_and_removed, names_are_any_text,
                what_cannot_be_done_is_said, a_token_opens_its_volume_and_nothing_else, only_the_scheduler_has_volumes_mounted, nothing_leads_out_of_a_volume,
                a_volume_holds_what_its_plan_says, an_upload_that_breaks_off_leaves_nothing, large_files_pass_in_pieces,
                many_at_once_do_not_mix, a_deleted_volumes_files_are_gone, a_deep_folder_can_be_removed,
                volumes_are_there_after_a_restart, a_scheduler_that_has_forgotten_a_volume_costs_no_files])
        finally:
            for each in (gateway, volumes):
                each.stop()


main()
