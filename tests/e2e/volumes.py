#!/usr/bin/env python3
"""Volumes in sandboxes: real microVMs, flotilla-volumes, and a gateway that restarts."""
import json
import os
import subprocess
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from fleet import BIN, Fleet, request, run_tests, wait_for  # noqa: E402

fleet = key = env = None


def make(name):
    status, made = fleet.api("POST", "/volumes", {"name": name}, key=key)
    assert status == 201, made
    return made


def create(mounts, **more):
    body = {"templateID": "base", "volumeMounts": [{"name": n, "path": p} for p, n in mounts.items()], "timeout": 300, **more}
    status, made = fleet.api("POST", "/v2/sandboxes", body, key=key)
    assert status == 201, made
    return made


def sh(sandbox, script, user="root", good=True, seconds=60):
    done = subprocess.run([os.path.join(BIN, "flotilla"), "sandbox", "exec", "--user", user, sandbox["sandboxID"], "--", "bash", "-c", script],
                          env=env, capture_output=True, text=True, timeout=seconds)
    assert (done.returncode == 0) == good, (done.returncode, done.stdout, done.stderr)
    return done.stdout


def kill(*sandboxes):
    for sandbox in sandboxes:
        fleet.api("DELETE", "/sandboxes/" + sandbox["sandboxID"], key=key)


def content(volume, method, what, body=None, **query):
    return request(fleet.gateway.addresses["tenants"], method,
                   f"/volumecontent/{volume['volumeID']}/{what}?" + urllib.parse.urlencode(query), body,
                   headers={"Authorization": "Bearer " + volume["token"]}.items())


def a_volume_is_there_when_the_create_is_answered():
    volume = make("first")
    status, _ = content(volume, "PUT", "file", b"from outside\n", path="/hello")
    assert status == 201
    sandbox = create({"/mnt/data/deep": "first"})
    assert sh(sandbox, "cat /mnt/data/deep/hello") == "from outside\n"
    assert sh(sandbox, "cat /mnt/data/deep/hello; id -u; echo mine > /mnt/data/deep/mine", user="user") == "from outside\n1000\n"
    assert content(volume, "GET", "file", path="/mine") == (200, "mine\n")
    detail = fleet.api("GET", "/sandboxes/" + sandbox["sandboxID"], key=key)[1]
    assert detail["volumeMounts"] == [{"name": "first", "path": "/mnt/data/deep"}], detail
    kill(sandbox)


def programs_find_a_volume_like_any_disk():
    volume = make("disk")
    sandbox = create({"/mnt/v": "disk"})
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "in_volume.py")) as file:
        status, answer = fleet.in_guest(sandbox, "POST", "/files?path=/tmp/in_volume.py", body=file.read().encode(),
                                        headers={"Content-Type": "application/octet-stream"}.items())
    assert status == 200, answer
    print(sh(sandbox, "python3 /tmp/in_volume.py /var/tmp /mnt/v", seconds=120), end="")
    assert content(volume, "GET", "dir", path="/") == (200, [])
    kill(sandbox)


def two_sandboxes_share_a_volume():
    make("shared")
    one, two = create({"/mnt/v": "shared"}), create({"/other/place": "shared"})
    sh(one, "mkdir /mnt/v/d; echo from one > /mnt/v/d/f")
    assert sh(two, "cat /other/place/d/f") == "from one\n"
    sh(two, "echo from two >> /other/place/d/f; chmod 600 /other/place/d/f")
    wait_for("the change to be seen", 5, lambda: sh(one, "cat /mnt/v/d/f; stat -c %a /mnt/v/d/f") == "from one\nfrom two\n600\n")
    # Each append is whole, whoever else appends.
    writers = [subprocess.Popen([os.path.join(BIN, "flotilla"), "sandbox", "exec", "--user", "root", sandbox["sandboxID"], "--", "bash", "-c",
                                 f"for i in $(seq 100); do echo {name}-$i >> {path}/log; done"], env=env)
               for sandbox, name, path in ((one, "one", "/mnt/v"), (two, "two", "/other/place"))]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    lines = sh(two, "cat /other/place/log").split()
    assert sorted(lines) == sorted(f"{name}-{i}" for name in ("one", "two") for i in range(1, 101)), len(lines)
    sh(one, "rm -r /mnt/v/d")
    wait_for("the end to be seen", 5, lambda: sh(two, "ls /other/place") == "log\n")
    kill(one, two)


def envd_s_own_file_calls_reach_it():
    volume = make("calls")
    sandbox = create({"/mnt/v": "calls"})
    status, answer = fleet.in_guest(sandbox, "POST", "/files?path=/mnt/v/a/b&username=user", body=b"x" * 300000,
                                    headers={"Content-Type": "application/octet-stream"}.items())
    assert status == 200, answer
    assert fleet.in_guest(sandbox, "GET", "/files?path=/mnt/v/a/b&username=user") == (200, "x" * 300000)
    assert content(volume, "GET", "path", path="/a/b")[1]["size"] == 300000
    status, answer = fleet.in_guest(sandbox, "POST", "/filesystem.Filesystem/ListDir", {"path": "/mnt/v", "depth": 2})
    assert status == 200 and sorted(entry["path"] for entry in answer["entries"]) == ["/mnt/v/a", "/mnt/v/a/b"], answer
    for allows, good in ((False, False), (True, True)):
        status, answer = fleet.in_guest(sandbox, "POST", "/filesystem.Filesystem/CreateWatcher", {"path": "/mnt/v", "allowNetworkMounts": allows})
        assert (status == 200) == good, answer
    kill(sandbox)


def a_pause_and_a_restart_of_anything_only_make_it_wait():
    make("waits")
    sandbox = create({"/mnt/v": "waits"})
    # A program that writes all along, with its file open; nothing of it is lost or there twice.
    sh(sandbox, "cat > /tmp/writer.py <<'END'\n"
                "import os, time\n"
                "file = open('/mnt/v/log', 'a')\n"
                "for number in range(100000):\n"
                "    file.write(f'{number}\\n'); file.flush()\n"
                "    if number % 10 == 0:\n"
                "        os.mkdir(f'/mnt/v/d{number}'); os.rename(f'/mnt/v/d{number}', f'/mnt/v/e{number}'); os.rmdir(f'/mnt/v/e{number}')\n"
                "    time.sleep(0.01)\n"
                "END\n"
                "setsid python3 /tmp/writer.py </dev/null >/tmp/writer.out 2>&1 &")

    wait_for("the program to begin", 20, lambda: sh(sandbox, "ls /mnt/v").count("log"))

    def goes_on():
        n = len(sh(sandbox, "cat /mnt/v/log").split())
        wait_for("the program to go on", 20, lambda: len(sh(sandbox, "cat /mnt/v/log; cat /tmp/writer.out >&2").split()) > n + 20, 0.3)
        lines = sh(sandbox, "cat /mnt/v/log").split()
        assert lines == [str(number) for number in range(len(lines))], "lost or repeated"
        assert sh(sandbox, "cat /tmp/writer.out") == ""

    goes_on()
    for _ in range(2):
        status, answer = fleet.api("POST", f"/sandboxes/{sandbox['sandboxID']}/pause", {}, key=key)
        assert status == 204, answer
        time.sleep(1)
        status, answer = fleet.api("POST", f"/v2/sandboxes/{sandbox['sandboxID']}/connect", {"timeout": 300}, key=key)
        assert status == 201, answer
        goes_on()
    fleet.gateway.stop()
    time.sleep(0.5)
    fleet.gateway.start()
    goes_on()
    fleet.gateway.kill()
    fleet.gateway.start()
    goes_on()
    kill(sandbox)


def a_server_that_restarts_loses_what_is_open_and_no_file():
    volume = make("restarted")
    sandbox = create({"/mnt/v": "restarted"})
    sh(sandbox, "echo before > /mnt/v/f")
    fleet.volumes.stop()
    fleet.volumes.start()
    assert wait_for("the volume", 20, lambda: sh(sandbox, "cat /mnt/v/f")) == "before\n"
    sh(sandbox, "echo after > /mnt/v/g; mkdir /mnt/v/d")
    assert content(volume, "GET", "file", path="/g") == (200, "after\n")
    kill(sandbox)
    wait_for("the mount to be forgotten", 30, lambda: not os.listdir(fleet.path("volumes", "mounts")))


def nobody_waits_for_ever():
    make("away")
    sandbox = create({"/mnt/v": "away"})
    sh(sandbox, "echo x > /mnt/v/f")
    fleet.volumes.stop()
    began = time.monotonic()
    done = subprocess.Popen([os.path.join(BIN, "flotilla"), "sandbox", "exec", "--user", "root", sandbox["sandboxID"], "--", "bash", "-c",
                             "sleep 1.5; cat /mnt/v/f"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while done.poll() is None:  # whoever does not want the volume does not wait
        assert fleet.in_guest(sandbox, "GET", "/health", seconds=5)[0] == 204
        time.sleep(1)
    assert done.returncode and "Input/output error" in done.stderr.read(), done.returncode
    assert 25 < time.monotonic() - began < 45, time.monotonic() - began
    fleet.volumes.start()
    wait_for("the volume to be back", 20, lambda: "x" in sh(sandbox, "cat /mnt/v/f || true"), 0.5)
    kill(sandbox)


def files_alone_bring_the_volume_back():
    make("booted")
    sandbox = create({"/mnt/v": "booted"})
    sh(sandbox, "echo kept > /mnt/v/f")
    status, answer = fleet.api("POST", f"/sandboxes/{sandbox['sandboxID']}/pause", {"memory": False}, key=key)
    assert status == 204, answer
    status, answer = fleet.api("POST", f"/v2/sandboxes/{sandbox['sandboxID']}/connect", {"timeout": 300}, key=key)
    assert status == 201, answer
    assert sh(sandbox, "cat /mnt/v/f") == "kept\n"
    kill(sandbox)


def a_volume_that_is_full_says_so():
    volume = make("full")
    sandbox = create({"/mnt/v": "full"})
    sh(sandbox, "truncate -s 1020M /mnt/v/big")
    out = sh(sandbox, "dd if=/dev/zero of=/mnt/v/more bs=64k count=100 2>&1; ls /mnt/v; df -B1M --output=size,avail /mnt/v | tail -1", good=True)
    assert "No space left on device" in out and out.split()[-2] == "1024", out
    sh(sandbox, "rm /mnt/v/big; dd if=/dev/zero of=/mnt/v/more bs=64k count=100 2>&1")
    assert content(volume, "GET", "path", path="/more")[1]["size"] == 6553600
    kill(sandbox)


def a_volume_in_use_stays_and_bad_mounts_are_refused():
    volume = make("used")
    other = fleet.tenant("other", "pro")
    sandbox = create({"/mnt/v": "used"})
    status, answer = fleet.api("DELETE", "/volumes/" + volume["volumeID"], key=key)
    assert status == 409 and "mounted in 1 sandbox" in answer["message"], answer
    for mounts, who in (([{"name": "used", "path": "relative"}], key), ([{"name": "used", "path": "/"}], key), ([{"name": "used"}], key),
                        ([{"name": "used", "path": "/proc/x"}], key), ([{"name": "used", "path": "/a/../b"}], key), ([{"name": "used", "path": "/a//b"}], key),
                        ([{"name": "none", "path": "/a"}], key), ([{"name": "used", "path": "/a"}], other), ("x", key), ([1], key),
                        ([{"name": "used", "path": "/a"}, {"name": "used", "path": "/a"}], key), ([{"name": "used", "path": "/" + "x" * 255}], key)):
        status, answer = fleet.api("POST", "/v2/sandboxes", {"templateID": "base", "volumeMounts": mounts}, key=who)
        assert status == 400 and answer["message"], (mounts, answer)
    # What cannot be mounted ends what was made for it.
    status, answer = fleet.api("POST", "/v2/sandboxes", {"templateID": "base", "volumeMounts": [{"name": "used", "path": "/etc/passwd"}]}, key=key)
    assert status == 500 and "Not a directory" in answer["message"], answer
    wait_for("one sandbox alone", 10, lambda: len(fleet.api("GET", "/v2/sandboxes", key=key)[1]) == 1)
    # Nobody else than who keeps volumes reaches a sandbox's mounts.
    for headers in ({}, {"X-Flotilla-Mount-Token": "0" * 48}):
        status, answer = request(fleet.gateway.addresses["tenants"], "GET", "/?volume=vol_x&path=/x", headers={
            "E2b-Sandbox-Id": sandbox["sandboxID"], "E2b-Sandbox-Port": "49982", "Connection": "Upgrade", "Upgrade": "flotilla-fuse", **headers}.items())
        assert status == 404, (status, answer)
    kill(sandbox)
    wait_for("it to be free", 10, lambda: fleet.api("DELETE", "/volumes/" + volume["volumeID"], key=key)[0] == 204)


def main():
    global fleet, key, env
    with Fleet(agents=1, scheduler_options=["--limits-volume-gib", "pro=1"]) as fleet:
        key = fleet.tenant("acme", "pro")
        env = {**os.environ, "FLOTILLA_API_URL": "http://" + fleet.scheduler.addresses["api"], "FLOTILLA_API_KEY": key,
               "FLOTILLA_GATEWAY_URL": fleet.env(key)["E2B_SANDBOX_URL"], "HOME": fleet.root}
        run_tests([a_volume_is_there_when_the_create_is_answered, programs_find_a_volume_like_any_disk, two_sandboxes_share_a_volume,
                   envd_s_own_file_calls_reach_it, a_pause_and_a_restart_of_anything_only_make_it_wait,
                   a_server_that_restarts_loses_what_is_open_and_no_file, nobody_waits_for_ever, files_alone_bring_the_volume_back, a_volume_that_is_full_says_so,
                   a_volume_in_use_stays_and_bad_mounts_are_refused])


main()
