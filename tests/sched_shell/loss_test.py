#!/usr/bin/env python3
"""What operators decide of nodes, and what the nodes' logs tell a scheduler that forgot."""
import os
import shutil
import signal
import sqlite3

from rig import Rig, run_tests, wait_for


def nodes(rig):
    return {node["name"]: node for node in rig.api("GET", "/v1/nodes", key=rig.operator_key)[1]}


def decide(rig, name, act):
    return rig.api("POST", f"/v1/nodes/{nodes(rig)[name]['nodeID']}/{act}", {}, key=rig.operator_key)


def placed(rig):
    """Names of the nodes that hold sandboxes."""
    return {name for name, node in nodes(rig).items() if node["committed"]["sandboxes"]}


def in_state(rig, name, state, seconds=30):
    wait_for(f"{name} to be {state}", seconds, lambda: nodes(rig)[name]["state"] == state)


def used(rig, key):
    return rig.api("GET", "/v1/limits", key=key)[1]["concurrentSandboxes"]["current"]


def a_cordoned_node_gets_nothing_new_until_it_is_uncordoned():
    with Rig(agents=2) as rig:
        key = rig.tenant()
        status, decided = decide(rig, "fake0", "cordon")
        assert status == 200 and decided["cordoned"] is True and decided["name"] == "fake0", decided
        assert decide(rig, "fake0", "cordon")[0] == 200, "what is decided already can be decided again"
        assert nodes(rig)["fake0"]["state"] == "cordoned"
        assert [rig.create(key)[0] for _ in range(5)] == [201] * 5 and placed(rig) == {"fake1"}
        rig.scheduler.kill()
        rig.scheduler.start()
        in_state(rig, "fake1", "ready")
        assert nodes(rig)["fake0"]["state"] == "cordoned", "not even after a restart"
        assert decide(rig, "fake1", "cordon")[0] == 200
        assert rig.create(key)[0] == 503
        assert decide(rig, "fake0", "uncordon")[0] == 200
        in_state(rig, "fake0", "ready")
        assert rig.create(key)[0] == 201 and placed(rig) == {"fake0", "fake1"}
        assert rig.api("POST", "/v1/nodes/nod_00000000000000000000/cordon", {}, key=rig.operator_key)[0] == 404
        assert rig.api("POST", "/v1/nodes/x/cordon", {}, key=rig.operator_key)[0] == 404
        assert rig.api("POST", f"/v1/nodes/{nodes(rig)['fake0']['nodeID']}/lost", {}, key=key)[0] == 403


def a_lost_node_gives_its_room_back_at_once_and_ends_what_it_ran_when_it_returns():
    with Rig(agents=1, options=["--lease", "6s"]) as rig:
        key = rig.tenant()
        made = rig.create(key, metadata={"a": "b"})[1]["sandboxID"]
        status, refused = decide(rig, "fake0", "lost")
        assert status == 409 and refused["code"] == "node_alive", refused
        rig.agents[0].send_signal(signal.SIGSTOP)
        in_state(rig, "fake0", "silent")
        assert used(rig, key) == 1, "silence ends nothing"
        status, decided = decide(rig, "fake0", "lost")
        assert status == 200, decided
        assert used(rig, key) == 0 and nodes(rig)["fake0"]["state"] == "lost"
        wait_for("its end", 5, lambda: rig.api("GET", "/sandboxes/" + made, key=key)[0] == 404)
        assert rig.create(key)[0] == 503, "there is no node but the lost one"
        row, = rig.api("GET", "/v1/usage", key=key)[1]["sandboxes"]
        assert (row["cause"], row["state"]) == ("node_lost", "ended"), row
        rig.scheduler.kill()
        rig.scheduler.start()
        assert nodes(rig)["fake0"]["state"] == "lost" and used(rig, key) == 0, "a loss is durable"
        rig.agents[0].send_signal(signal.SIGCONT)
        in_state(rig, "fake0", "ready")
        assert rig.create(key)[0] == 201 and used(rig, key) == 1
        row = next(row for row in rig.api("GET", "/v1/usage", key=key)[1]["sandboxes"] if row["sandboxID"] == made)
        ran = rig.truth(rig.agents[0])
        assert ran[made] < 7000, f"it ran on without a lease: {ran}"
        assert row["cause"] == "node_lost" and row["unbilledSeconds"] + row["seconds"] == max(1, (ran[made] + 500) // 1000), (row, ran)


def what_may_still_run_is_not_given_up():
    with Rig(agents=1, options=["--lease", "1h"]) as rig:
        key = rig.tenant()
        assert rig.create(key)[0] == 201
        rig.agents[0].send_signal(signal.SIGSTOP)
        in_state(rig, "fake0", "silent")
        status, refused = decide(rig, "fake0", "lost")
        assert status == 409 and refused["code"] == "lease_runs" and "lease" in refused["detail"], refused
        assert used(rig, key) == 1 and nodes(rig)["fake0"]["state"] == "silent"
        rig.agents[0].send_signal(signal.SIGCONT)
        in_state(rig, "fake0", "ready")
        assert used(rig, key) == 1


def books(rig, sql):
    with sqlite3.connect(f"file:{rig.path('state', 'scheduler.db')}?mode=ro", uri=True) as opened:
        return opened.execute(sql).fetchall()


def keep_a_copy(rig, name):
    """The state as it is now, while the scheduler does not run."""
    shutil.copytree(rig.path("state"), rig.path(name))


def go_back_to(rig, name):
    shutil.rmtree(rig.path("state"))
    os.rename(rig.path(name), rig.path("state"))


def acknowledged(rig):
    return dict(books(rig, "SELECT id, next_seq FROM node"))


def older_copy(restarts):
    with Rig(agents=2, agent_options=["--usage-ms", "300"]) as rig:
        key = rig.tenant()
        old = rig.create(key)[1]["sandboxID"]
        rig.scheduler.stop()
        keep_a_copy(rig, "copy")
        rig.scheduler.start()
        wait_for("the nodes", 20, lambda: all(node["state"] == "ready" for node in nodes(rig).values()))
        made = [rig.create(key, headers={"Idempotency-Key": f"k{n}"}, metadata={"number": str(n)}, timeout=600)
                for n in range(6)]
        assert [status for status, _ in made] == [201] * 6, made
        names = [answer["sandboxID"] for _, answer in made]
        assert rig.api("DELETE", "/sandboxes/" + names[5], key=key)[0] == 204
        for _ in range(restarts):
            rig.scheduler.kill()
            rig.scheduler.start()
            wait_for("the nodes", 20, lambda: all(node["state"] == "ready" for node in nodes(rig).values()))
            wait_for("a record, hence an answer", 20, lambda n=acknowledged(rig): any(acknowledged(rig)[name] > n[name] for name in n))
        before = {row["sandboxID"]: row for row in rig.api("GET", "/v2/sandboxes", key=key)[1]}
        seen = books(rig, "SELECT value FROM meta WHERE name = 'epoch'")[0][0]
        rig.scheduler.stop()
        go_back_to(rig, "copy")
        rig.scheduler.start()
        after = wait_for("what runs", 20, lambda: (lambda rows: len(rows) == 6 and rows)(
            rig.api("GET", "/v2/sandboxes", key=key)[1]))
        assert {row["sandboxID"] for row in after} == {old, *names[:5]}
        for row in after:
            was = before[row["sandboxID"]]
            assert all(row[name] == was[name] for name in ("metadata", "startedAt", "templateID", "cpuCount")), (row, was)
        wait_for("an epoch above", 20, lambda: books(rig, "SELECT value FROM meta WHERE name = 'epoch'")[0][0] > seen)
        with open(rig.scheduler.log) as log:
            assert "begins again above what nodes have seen" in log.read(), "it must be said loudly"
        for n in range(5):
            assert rig.create(key, headers={"Idempotency-Key": f"k{n}"}, metadata={"number": str(n)}, timeout=600) == made[n]
        assert used(rig, key) == 6
        for name in (old, *names[:5]):
            assert rig.api("DELETE", "/sandboxes/" + name, key=key)[0] == 204
        assert used(rig, key) == 0
        ran = {}
        for agent in rig.agents:
            ran.update(rig.truth(agent))
        assert set(ran) == {old, *names}, (ran, old, names)
        billed = dict(books(rig, "SELECT sandbox, sum(seconds) FROM rated_line WHERE meter = 1 GROUP BY sandbox"))
        assert billed == {name: max(1, (ms + 500) // 1000) for name, ms in ran.items()}, (billed, ran)


def an_older_copy_learns_what_runs_from_the_nodes_logs_and_leads_above_their_epoch():
    older_copy(2)


def an_older_copy_gives_no_attempt_out_again_that_it_has_forgotten():
    older_copy(0)  # its next epoch is the one that the nodes have seen


def a_key_that_went_on_to_another_sandbox_ends_the_adopted_one():
    with Rig(agents=1) as rig:
        key = rig.tenant()
        rig.scheduler.stop()
        keep_a_copy(rig, "copy")
        rig.scheduler.start()
        in_state(rig, "fake0", "ready")
        lost = rig.create(key, headers={"Idempotency-Key": "k"})[1]["sandboxID"]
        rig.agents[0].send_signal(signal.SIGSTOP)  # its log is not heard before the key is used again
        rig.scheduler.kill()
        go_back_to(rig, "copy")
        rig.scheduler.start()
        rig.add_agent("other")
        status, won = rig.create(key, headers={"Idempotency-Key": "k"})
        assert status == 201 and won["sandboxID"] != lost, won
        rig.agents[0].send_signal(signal.SIGCONT)
        ended = wait_for("the end of the first", 20, lambda: [row for row in rig.api("GET", "/v1/usage", key=key)[1]["sandboxes"]
                                                            if row["sandboxID"] == lost and row["endedAt"]])
        assert ended[0]["cause"] == "platform" and ended[0]["seconds"] == 0 and ended[0]["unbilledSeconds"] > 0, ended
        rows = rig.api("GET", "/v2/sandboxes", key=key)[1]
        assert [row["sandboxID"] for row in rows] == [won["sandboxID"]] and used(rig, key) == 1
        assert rig.create(key, headers={"Idempotency-Key": "k"}) == (201, won)


def metadata_that_no_node_could_keep_is_refused():
    with Rig(agents=1) as rig:
        key = rig.tenant()
        status, refused = rig.create(key, metadata={"a": "x" * 17000})
        assert status == 400 and "metadata" in refused["message"], refused
        status, made = rig.create(key, metadata={"a": "x" * 15000}, headers={"Idempotency-Key": "k" * 255})
        assert status == 201, made


if __name__ == "__main__":
    run_tests([
        a_cordoned_node_gets_nothing_new_until_it_is_uncordoned,
        a_lost_node_gives_its_room_back_at_once_and_ends_what_it_ran_when_it_returns,
        what_may_still_run_is_not_given_up,
        an_older_copy_learns_what_runs_from_the_nodes_logs_and_leads_above_their_epoch,
        an_older_copy_gives_no_attempt_out_again_that_it_has_forgotten,
        a_key_that_went_on_to_another_sandbox_ends_the_adopted_one,
        metadata_that_no_node_could_keep_is_refused,
    ])
