#!/usr/bin/env python3
"""What is promised when nodes are full, slow, gone or back."""
import threading
import time

from rig import Rig, run_tests, wait_for


def in_background(function, *args, **more):
    """Runs it in a thread; the answer is what the returned function waits for."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*args, **more)))
    thread.start()

    def answer():
        thread.join(60)
        return results[0]
    return answer


def a_full_fleet_refuses_for_capacity_and_takes_again_when_there_is_room():
    with Rig(agents=2, agent_options=["--sandboxes", "3"]) as rig:
        key = rig.tenant()
        answers = [rig.create(key) for _ in range(8)]
        made = [answer["sandboxID"] for status, answer in answers if status == 201]
        refused = [answer for status, answer in answers if status == 503]
        assert (len(made), len(refused)) == (6, 2), answers
        assert all(a["error_code"] == "sandbox_capacity_unavailable" for a in refused) and rig.last["Retry-After"] == "1"
        committed = [node["committed"]["sandboxes"] for node in rig.api("GET", "/v1/nodes", key=rig.operator_key)[1]]
        assert committed == [3, 3], committed
        assert rig.api("DELETE", "/sandboxes/" + made[0], key=key)[0] == 204
        assert rig.create(key)[0] == 201


def a_node_that_says_no_is_passed_over():
    with Rig(agents=0) as rig:
        key = rig.tenant()
        rig.add_agent("sour", ["--refuse"])
        status, refused = rig.create(key)
        assert status == 503 and refused["error_code"] == "sandbox_capacity_unavailable", refused
        rig.add_agent("sweet", [])
        assert [rig.create(key)[0] for _ in range(5)] == [201] * 5
        assert rig.api("GET", "/v1/usage", key=key)[1]["sandboxes"] and len(rig.api("GET", "/v2/sandboxes", key=key)[1]) == 5


def a_node_that_can_start_nothing_says_why_and_is_left_alone():
    with Rig(agents=0) as rig:
        key = rig.tenant()
        for name, options in (("full", ["--trouble", "its disk is full"]), ("going", ["--leaving"]), ("well", [])):
            rig.add_agent(name, options)
        nodes = {node["name"]: node for node in rig.api("GET", "/v1/nodes", key=rig.operator_key)[1]}
        told = {name: (node["state"], node["trouble"]) for name, node in nodes.items()}
        assert told == {"full": ("troubled", "its disk is full"), "going": ("leaving", ""), "well": ("ready", "")}, told
        assert [rig.create(key)[0] for _ in range(5)] == [201] * 5
        placed = rig.api("GET", "/v1/sandboxes", key=rig.operator_key)[1]
        assert {(row["nodeID"], row["cause"]) for row in placed} == {(nodes["well"]["nodeID"], "")}, placed


def without_nodes_nothing_is_placed():
    with Rig(agents=0) as rig:
        status, refused = rig.create(rig.tenant())
        assert status == 404 and "template 'base' not found" in refused["message"], refused


def what_is_being_started_is_told_to_whoever_asks_again():
    with Rig(agents=1, agent_options=["--claim-ms", "700"]) as rig:
        key = rig.tenant()
        first = in_background(rig.create, key, headers={"Idempotency-Key": "k"})
        wait_for("the create", 10, lambda: "flotilla_api_held 1" in rig.api("GET", "/metrics")[1])
        status, answer = rig.create(key, headers={"Idempotency-Key": "k"})
        assert status == 409 and answer["error_code"] == "sandbox_start_in_flight" and rig.last["Retry-After"] == "1", answer
        assert rig.create(key, headers={"Idempotency-Key": "k"}, timeout=9)[0] == 422
        status, made = first()
        assert status == 201
        assert rig.create(key, headers={"Idempotency-Key": "k"}) == (201, made)


def a_sandbox_that_is_not_told_yet_is_not_there_yet():
    with Rig(agents=1, agent_options=["--claim-ms", "500"]) as rig:
        key = rig.tenant()
        first = in_background(rig.create, key)
        row = wait_for("the create", 10, lambda: rig.api("GET", "/v1/sandboxes", key=rig.operator_key)[1])[0]
        assert row["state"] == "placing" and row["startedAt"] is None, row
        assert rig.api("GET", "/sandboxes/" + row["sandboxID"], key=key)[0] == 404
        assert rig.api("GET", "/v2/sandboxes", key=key)[1] == []
        assert first()[0] == 201


def cut_off_by_a_restart(rig, key, **more):
    """A create whose scheduler is killed while the node starts the sandbox."""
    def create():
        try:
            return rig.create(key, **more)
        except OSError:
            return None
    first = in_background(create)
    wait_for("the create", 10, lambda: rig.api("GET", "/v1/sandboxes", key=rig.operator_key)[1])
    rig.scheduler.kill()
    rig.scheduler.start()
    assert first() is None


def a_create_cut_off_by_a_restart_is_found_by_its_key():
    with Rig(agents=1, agent_options=["--claim-ms", "1500"]) as rig:
        key = rig.tenant()
        cut_off_by_a_restart(rig, key, headers={"Idempotency-Key": "k"})

        def definite():
            status, answer = rig.create(key, headers={"Idempotency-Key": "k"})
            assert status in (201, 409), (status, answer)
            return answer if status == 201 else None
        made = wait_for("a definite answer", 20, definite)
        rows = rig.api("GET", "/v2/sandboxes", key=key)[1]
        assert [row["sandboxID"] for row in rows] == [made["sandboxID"]], rows
        assert rig.api("DELETE", "/sandboxes/" + made["sandboxID"], key=key)[0] == 204
        assert list(rig.truth(rig.agents[0])) == [made["sandboxID"]]


def an_orphan_is_listed_and_ends_at_its_time_limit():
    with Rig(agents=1, agent_options=["--claim-ms", "1000"]) as rig:
        key = rig.tenant()
        cut_off_by_a_restart(rig, key, timeout=3)
        name = wait_for("the orphan", 20, lambda: rig.api("GET", "/v2/sandboxes", key=key)[1])[0]["sandboxID"]
        row = wait_for("its end", 20, lambda: [row for row in rig.api("GET", "/v1/usage", key=key)[1]["sandboxes"]
                                               if row["endedAt"]])[0]
        assert (row["sandboxID"], row["cause"], row["seconds"]) == (name, "timeout", 3), row
        assert rig.api("GET", "/v1/limits", key=key)[1]["concurrentSandboxes"]["current"] == 0


def a_node_keeps_its_identity_over_a_restart_of_the_scheduler():
    with Rig(agents=2) as rig:
        key = rig.tenant()
        before = rig.api("GET", "/v1/nodes", key=rig.operator_key)[1]
        made = [rig.create(key)[1]["sandboxID"] for _ in range(4)]
        rig.scheduler.kill()
        rig.scheduler.start()
        after = wait_for("the nodes", 20, lambda: (lambda rows: all(row["state"] == "ready" for row in rows) and rows)(
            rig.api("GET", "/v1/nodes", key=rig.operator_key)[1]))
        assert [row["nodeID"] for row in before] == [row["nodeID"] for row in after]
        assert sum(row["committed"]["sandboxes"] for row in after) == 4
        for name in made:
            assert rig.api("DELETE", "/sandboxes/" + name, key=key)[0] == 204


def a_dead_node_is_silent_and_its_sandboxes_stay_listed():
    with Rig(agents=1) as rig:
        key = rig.tenant()
        made = rig.create(key)[1]["sandboxID"]
        rig.agents[0].kill()
        rig.agents[0].wait()
        wait_for("silence", 30, lambda: rig.api("GET", "/v1/nodes", key=rig.operator_key)[1][0]["state"] == "silent")
        assert rig.api("GET", "/sandboxes/" + made, key=key)[0] == 200
        status, refused = rig.create(key)
        assert status == 503 and refused["code"] == 503, refused


def many_at_once_are_all_answered():
    with Rig(agents=3, agent_options=["--sandboxes", "30", "--claim-ms", "30"]) as rig:
        key = rig.tenant("crowd", "enterprise")
        waiting = [in_background(rig.create, key) for _ in range(120)]
        statuses = [answer()[0] for answer in waiting]
        assert (statuses.count(201), statuses.count(503)) == (90, 30), statuses
        listed = rig.api("GET", "/v2/sandboxes?limit=100", key=key)[1]
        assert len(listed) == 90
        ends = [in_background(rig.api, "DELETE", "/sandboxes/" + row["sandboxID"], None, key) for row in listed]
        assert {answer()[0] for answer in ends} == {204}
        assert rig.api("GET", "/v1/limits", key=key)[1]["concurrentSandboxes"]["current"] == 0
        time.sleep(0.1)
        assert "flotilla_api_held 0" in rig.api("GET", "/metrics")[1]


if __name__ == "__main__":
    run_tests([
        a_full_fleet_refuses_for_capacity_and_takes_again_when_there_is_room,
        a_node_that_says_no_is_passed_over,
        a_node_that_can_start_nothing_says_why_and_is_left_alone,
        without_nodes_nothing_is_placed,
        what_is_being_started_is_told_to_whoever_asks_again,
        a_sandbox_that_is_not_told_yet_is_not_there_yet,
        a_create_cut_off_by_a_restart_is_found_by_its_key, an_orphan_is_listed_and_ends_at_its_time_limit,
        a_node_keeps_its_identity_over_a_restart_of_the_scheduler,
        a_dead_node_is_silent_and_its_sandboxes_stay_listed,
        many_at_once_are_all_answered,
    ])
