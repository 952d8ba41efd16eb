#!/usr/bin/env python3
"""Forks and snapshots, against the real daemon and fake nodes."""
import sqlite3
import threading

from replicas import Replicas
from rig import Rig, run_tests, wait_for

KEPT, ENDED = 10, 4


def path(made, what=""):
    return f"/sandboxes/{made['sandboxID']}{what}"


def fork(rig, key, made, **body):
    return rig.api("POST", path(made, "/fork"), body, key=key)


def snapshot(rig, key, made, **body):
    return rig.api("POST", path(made, "/snapshots"), body, key=key)


def listed(rig, key, **query):
    words = "&".join(f"{name}={value}" for name, value in query.items())
    return [row["snapshotID"] for row in rig.api("GET", f"/snapshots?{words}", key=key)[1]]


def running(rig, key):
    return {row["sandboxID"] for row in rig.api("GET", "/v2/sandboxes?state=running", key=key)[1]}


def each_fork_is_answered_for_itself():
    with Rig() as rig:
        key = rig.tenant("forks", concurrentSandboxes=3)
        made = rig.create(key, metadata={"a": "b"}, network={"allowPublicTraffic": False}, autoPause=True)[1]
        status, answers = fork(rig, key, made, count=4, timeout=60)
        assert status == 201 and len(answers) == 4, answers
        forks = [answer["sandbox"] for answer in answers if list(answer) == ["sandbox"]]
        errors = [answer["error"] for answer in answers if list(answer) == ["error"]]
        assert len(forks) == 2 and [error["code"] for error in errors] == [429, 429], answers
        assert running(rig, key) == {one["sandboxID"] for one in [made, *forks]}
        for one in forks:
            detail = rig.api("GET", path(one), key=key)[1]
            assert detail["metadata"] == {"a": "b"} and detail["network"] == {"allowPublicTraffic": False}, detail
            assert detail["lifecycle"] == {"onTimeout": "pause", "autoResume": False}
            assert one["envdAccessToken"] != made["envdAccessToken"] and one["trafficAccessToken"] != made["trafficAccessToken"]
        assert listed(rig, key) == [] and rig.api("GET", path({"sandboxID": "s" + "0" * 20}), key=key)[0] == 404


def what_is_not_a_number_of_forks_is_refused():
    with Rig() as rig:
        key = rig.tenant("numbers")
        made = rig.create(key)[1]
        for count in (0, -1, 101, "2", 1.5):
            assert fork(rig, key, made, count=count)[0] == 400, count
        assert fork(rig, key, made, timeout=0)[0] == 400
        assert running(rig, key) == {made["sandboxID"]}


def a_node_that_cannot_save_is_no_end():
    with Rig(agent_options=["--keep"]) as rig:
        key = rig.tenant("keep")
        made = rig.create(key)[1]
        for status, answer in (fork(rig, key, made), snapshot(rig, key, made)):
            assert (status, answer["code"]) == (503, 503) and "runs on" in answer["message"], answer
        assert running(rig, key) == {made["sandboxID"]} and listed(rig, key) == []


def a_snapshot_is_known_after_a_crash_and_what_came_to_nothing_is_not():
    with Rig() as rig:
        key = rig.tenant("crash")
        made = rig.create(key)[1]
        status, kept = snapshot(rig, key, made, name="kept:v1")
        assert status == 201 and kept == {"snapshotID": "crash/kept:v1", "names": ["crash/kept:v1"]}, kept
        rig.scheduler.kill()
        rig.scheduler.start()
        assert listed(rig, key) == [kept["snapshotID"]] == listed(rig, key, name="kept")
        assert listed(rig, key, name="kept:v2") == []
        status, begun = wait_for("the node", 20, lambda: (lambda answer: answer if answer[0] == 201 else None)(
            rig.create(key, templateID="kept:v1")))
        assert begun["sandboxID"] in running(rig, key)
        assert rig.api("DELETE", "/templates/crash%2Fkept", key=key)[0] == 204
        assert rig.create(key, templateID="kept:v1")[0] == 404 and listed(rig, key) == []


def rows(rig, state):
    """Of snapshots, by the number that its state has in sandbox_states.def."""
    store = sqlite3.connect(f"file:{rig.path('state', 'scheduler.db')}?mode=ro", uri=True)
    try:
        return store.execute("SELECT count(*) FROM sandbox WHERE source <> '' AND state = ?", (state,)).fetchone()[0]
    finally:
        store.close()


def a_fork_that_a_crash_cut_off_leaves_no_snapshot():
    with Rig(agent_options=["--claim-ms", "1500"]) as rig:
        key = rig.tenant("cut")
        made = rig.create(key)[1]

        def ask():
            try:
                fork(rig, key, made, count=2)
            except OSError:
                pass
        asking = threading.Thread(target=ask)
        asking.start()
        wait_for("the snapshot in passing", 10, lambda: rows(rig, KEPT) == 1, 0.01)
        rig.scheduler.kill()
        asking.join()
        rig.scheduler.start()
        wait_for("it to be dropped", 20, lambda: rows(rig, KEPT) == 0 and rows(rig, ENDED) == 1)
        wait_for("claims to have their answers", 20, lambda: made["sandboxID"] in running(rig, key))


def the_next_leader_knows_it_and_drops_what_is_deleted():
    with Replicas(3, agents=1) as rig:
        key = rig.tenant("next")
        made = rig.ask(key, "POST", "/v2/sandboxes", {"templateID": "base", "timeout": 600})[1]
        status, kept = rig.ask(key, "POST", path(made, "/snapshots"), {"name": "kept"})
        assert status == 201, kept
        rig.kill_leader()
        assert [row["snapshotID"] for row in rig.ask(key, "GET", "/snapshots")[1]] == [kept["snapshotID"]]
        status, begun = rig.ask(key, "POST", "/v2/sandboxes", {"templateID": kept["snapshotID"], "timeout": 600})
        assert status == 201, begun
        status, answers = rig.ask(key, "POST", path(begun, "/fork"), {"count": 2})
        assert status == 201 and all("sandbox" in answer for answer in answers), answers
        assert rig.ask(key, "DELETE", "/templates/" + kept["snapshotID"].replace("/", "%2F"))[0] == 204
        assert rig.ask(key, "GET", "/snapshots")[1] == []


if __name__ == "__main__":
    run_tests([
        each_fork_is_answered_for_itself,
        what_is_not_a_number_of_forks_is_refused,
        a_node_that_cannot_save_is_no_end,
        a_snapshot_is_known_after_a_crash_and_what_came_to_nothing_is_not,
        a_fork_that_a_crash_cut_off_leaves_no_snapshot,
        the_next_leader_knows_it_and_drops_what_is_deleted,
    ])
