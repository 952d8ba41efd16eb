#!/usr/bin/env python3
"""Forks and snapshots of sandboxes that run, on real microVMs: what begins from one has what was there, and nobody notices the other."""
import http.client
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from fleet import BIN, Fleet, run_tests, wait_for  # noqa: E402

fleet = None
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


def create(key, template="base", **body):
    status, sandbox = fleet.api("POST", "/v2/sandboxes", {"templateID": template, "timeout": 300, **body}, key=key)
    assert status == 201, sandbox
    return sandbox


def path(sandbox, what=""):
    return f"/sandboxes/{sandbox['sandboxID']}{what}"


def detail(key, sandbox):
    return fleet.api("GET", path(sandbox), key=key)[1]


def kill(key, *sandboxes):
    for sandbox in sandboxes:
        assert fleet.api("DELETE", path(sandbox), key=key)[0] == 204


def run(key, sandbox, command):
    """What a shell in the guest prints."""
    env = fleet.env(key)
    done = subprocess.run([os.path.join(BIN, "flotilla"), "sandbox", "exec", sandbox["sandboxID"], "--", "bash", "-c", command],
                          env={**os.environ, "FLOTILLA_API_URL": env["E2B_API_URL"], "FLOTILLA_API_KEY": key,
                               "FLOTILLA_GATEWAY_URL": env["E2B_SANDBOX_URL"], "HOME": fleet.root},
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done
    return done.stdout.strip()


def fork(key, sandbox, **body):
    status, answers = fleet.api("POST", path(sandbox, "/fork"), body, key=key)
    assert status == 201, answers
    return answers


def saved_folders():
    folders = os.path.join(fleet.root, "agent0", "run", "vm")
    return [name for name in os.listdir(folders) if os.path.exists(os.path.join(folders, name, "saved"))]


def forks_go_on_from_what_runs_and_are_somebody_else():
    key = fleet.tenant("forks", concurrentSandboxes=3)
    source = create(key, envVars={"COLOUR": "blue"}, metadata={"a": "b"})
    run(key, source, "echo kept > /home/user/file; echo memory > /dev/shm/x")
    pid = run(key, source, "(while :; do echo >> /tmp/n; sleep 0.1; done) >/dev/null 2>&1 & echo $!")
    boot, end_at = run(key, source, BOOT_ID), detail(key, source)["endAt"]
    began = time.monotonic()
    answers = fork(key, source, count=3, timeout=300)
    print(f"   three forks in {time.monotonic() - began:.2f} s")
    forks = [answer["sandbox"] for answer in answers if "sandbox" in answer]
    errors = [answer["error"] for answer in answers if "error" in answer]
    assert len(forks) == 2 and len(errors) == 1 and errors[0]["code"] == 429 and "3" in errors[0]["message"], answers
    assert detail(key, source)["state"] == "running" and detail(key, source)["endAt"] == end_at
    assert len({sandbox["sandboxID"] for sandbox in [source, *forks]}) == 3
    assert len({sandbox["envdAccessToken"] for sandbox in [source, *forks]}) == 3
    for one in forks:
        assert detail(key, one)["metadata"] == {"a": "b"}
        assert run(key, one, BOOT_ID) == boot and run(key, one, f"kill -0 {pid} && echo alive") == "alive"
        assert run(key, one, "cat /home/user/file /dev/shm/x; echo $COLOUR; hostname") == f"kept\nmemory\nblue\n{one['sandboxID']}"
        assert abs(int(run(key, one, "date +%s")) - time.time()) < 3, "the clock was not set"
        count = int(run(key, one, "wc -l < /tmp/n"))
        wait_for("it to count on", 10, lambda: int(run(key, one, "wc -l < /tmp/n")) > count)
        # A token opens the one that it is of.
        stolen = {**one, "envdAccessToken": source["envdAccessToken"]}
        assert fleet.in_guest(stolen, "GET", "/files?path=/home/user/file")[0] == 401
        assert fleet.in_guest({**source, "envdAccessToken": one["envdAccessToken"]}, "GET", "/files?path=/home/user/file")[0] == 401
    # They share nothing from there on, not even what is random.
    for number, one in enumerate([source, *forks]):
        run(key, one, f"echo {number} > /home/user/file; echo {number} > /dev/shm/x")
    assert [run(key, one, "cat /home/user/file /dev/shm/x") for one in [source, *forks]] == ["0\n0", "1\n1", "2\n2"]
    assert len({run(key, one, "head -c 16 /dev/urandom | od -An -tx1") for one in [source, *forks]}) == 3
    wait_for("the snapshot in passing to go", 10, lambda: not saved_folders())
    kill(key, source, *forks)


def forks_have_the_volumes_of_their_source():
    key = fleet.tenant("volumes")
    assert fleet.api("POST", "/volumes", {"name": "shared"}, key=key)[0] == 201
    source = create(key, volumeMounts=[{"name": "shared", "path": "/mnt/v"}])
    run(key, source, "echo before > /mnt/v/before")
    forks = [answer["sandbox"] for answer in fork(key, source, count=2)]
    for one in forks:
        assert detail(key, one)["volumeMounts"] == [{"name": "shared", "path": "/mnt/v"}]
        assert run(key, one, f"cat /mnt/v/before; echo {one['sandboxID']} > /mnt/v/{one['sandboxID']}") == "before"
    assert sorted(run(key, source, "ls /mnt/v").split()) == sorted(["before", *(one["sandboxID"] for one in forks)])
    kill(key, source, *forks)


def what_cannot_be_forked_is_refused():
    key, other = fleet.tenant("refused"), fleet.tenant("stranger")
    source = create(key)
    for count in (0, -1, 101):
        assert fleet.api("POST", path(source, "/fork"), {"count": count}, key=key)[0] == 400
    assert fleet.api("POST", path(source, "/fork"), {"timeout": 0}, key=key)[0] == 400
    status, answer = fleet.api("POST", path(source, "/fork"), {}, key=other)
    assert status == 404 and answer["message"] == f"Sandbox \"{source['sandboxID']}\" doesn't exist or you don't have access to it", answer
    assert fleet.api("POST", path(source, "/pause"), {}, key=key)[0] == 204
    assert fleet.api("POST", path(source, "/fork"), {}, key=key)[0] == 409
    kill(key, source)
    assert fleet.api("POST", path(source, "/fork"), {}, key=key)[0] == 404


def a_fork_is_billed_for_itself_and_its_source_for_what_it_ran():
    key = fleet.tenant("bill")
    source = create(key)
    time.sleep(1)
    [answer] = fork(key, source)
    time.sleep(2)
    kill(key, source, answer["sandbox"])

    def bill():
        rows = fleet.api("GET", "/v1/usage", key=key)[1]["sandboxes"]
        return {row["sandboxID"]: row for row in rows} if len(rows) == 2 and all(row["endedAt"] for row in rows) else None
    rows = wait_for("the bill", 10, bill)
    assert 3 <= rows[source["sandboxID"]]["seconds"] <= 5, rows
    assert 2 <= rows[answer["sandbox"]["sandboxID"]]["seconds"] <= 4, rows


def snapshot(key, sandbox, **body):
    status, answer = fleet.api("POST", path(sandbox, "/snapshots"), body, key=key)
    assert status == 201, answer
    return answer


def listed(key, **query):
    words = "&".join(f"{name}={value}" for name, value in query.items())
    status, rows = fleet.api("GET", f"/snapshots?{words}", key=key)
    assert status == 200, rows
    return [row["snapshotID"] for row in rows]


def delete(key, snapshot_id):
    return fleet.api("DELETE", f"/templates/{snapshot_id.replace('/', '%2F').replace(':', '%3A')}", key=key)[0]


def a_snapshot_outlives_its_sandbox_and_every_daemon():
    key = fleet.tenant("kept")
    source = create(key, envVars={"COLOUR": "blue"})
    run(key, source, "echo kept > /home/user/file; echo memory > /dev/shm/x")
    kept = snapshot(key, source, name="stage")
    assert kept == {"snapshotID": "kept/stage:default", "names": ["kept/stage:default"]}, kept
    run(key, source, "echo later > /home/user/file")
    unnamed = snapshot(key, source)
    assert unnamed["names"] == [] and unnamed["snapshotID"].endswith(":default"), unnamed
    assert listed(key) == [unnamed["snapshotID"], kept["snapshotID"]]
    assert listed(key, sandboxID=source["sandboxID"], name="stage", limit=1) == [kept["snapshotID"]]
    assert listed(key, name="nothing") == listed(key, sandboxID="inothing") == []
    kill(key, source)
    agent = fleet.agents[0]
    agent.kill()
    fleet.scheduler.kill()
    fleet.scheduler.start()
    agent.start()
    begun = wait_for("the node", 20, lambda: (lambda status, answer: answer if status == 201 else None)(
        *fleet.api("POST", "/v2/sandboxes", {"templateID": kept["snapshotID"], "envVars": {"SHAPE": "round"}}, key=key)))
    assert run(key, begun, "cat /home/user/file /dev/shm/x; echo $COLOUR $SHAPE") == "kept\nmemory\nblue round"
    # It has its environment when it has to boot anew, too.
    assert fleet.api("POST", path(begun, "/pause"), {"memory": False}, key=key)[0] == 204
    assert fleet.api("POST", "/v2" + path(begun, "/connect"), {"timeout": 300}, key=key)[0] == 201
    assert run(key, begun, "cat /home/user/file; echo $COLOUR $SHAPE") == "kept\nblue round"
    second = create(key, unnamed["snapshotID"])
    assert run(key, second, "cat /home/user/file") == "later"
    kill(key, begun, second)
    assert len(saved_folders()) == 2
    assert delete(key, kept["snapshotID"]) == 204 and delete(key, kept["snapshotID"]) == 404
    assert fleet.api("POST", "/v2/sandboxes", {"templateID": kept["snapshotID"]}, key=key)[0] == 404
    assert listed(key) == [unnamed["snapshotID"]]
    assert delete(key, unnamed["snapshotID"]) == 204 and listed(key) == []
    wait_for("their folders to go", 20, lambda: not saved_folders())


def the_same_name_again_is_what_begins_from_then_on():
    key = fleet.tenant("again")
    source = create(key)
    for number in range(2):
        run(key, source, f"echo {number} > /home/user/file")
        kept = snapshot(key, source, name="again:v1")
        assert kept["snapshotID"] == "again/again:v1"
    begun = create(key, "again:v1")
    assert run(key, begun, "cat /home/user/file") == "1"
    wait_for("the first to go", 20, lambda: len(saved_folders()) == 1)
    kill(key, begun, source)
    assert fleet.api("DELETE", "/templates/again", key=key)[0] == 204


def nobody_sees_anothers_snapshot():
    key, other = fleet.tenant("own"), fleet.tenant("spy")
    source = create(key)
    kept = snapshot(key, source, name="secret")
    assert listed(other) == [] == listed(other, name=kept["snapshotID"].replace("/", "%2F")) == listed(other, sandboxID=source["sandboxID"])
    assert fleet.api("POST", "/v2/sandboxes", {"templateID": kept["snapshotID"]}, key=other)[0] == 404
    assert fleet.api("POST", path(source, "/snapshots"), {}, key=other)[0] == 404
    assert delete(other, kept["snapshotID"]) == 404
    for name in ("spy/secret", "Not a name", "a:b:c"):
        assert fleet.api("POST", path(source, "/snapshots"), {"name": name}, key=key)[0] == 400, name
    assert listed(key) == [kept["snapshotID"]]
    kill(key, source)
    assert delete(key, kept["snapshotID"]) == 204


if __name__ == "__main__":
    with Fleet(agents=1) as fleet:
        run_tests([
            forks_go_on_from_what_runs_and_are_somebody_else,
            forks_have_the_volumes_of_their_source,
            what_cannot_be_forked_is_refused,
            a_fork_is_billed_for_itself_and_its_source_for_what_it_ran,
            a_snapshot_outlives_its_sandbox_and_every_daemon,
            the_same_name_again_is_what_begins_from_then_on,
            nobody_sees_anothers_snapshot,
        ])
