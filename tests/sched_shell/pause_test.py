#!/usr/bin/env python3
"""Sandboxes that are paused and go on, against the real daemon and fake nodes."""
import time

from replicas import Replicas
from rig import Rig, run_tests, wait_for


def path(made):
    return "/sandboxes/" + made["sandboxID"]


def pause(rig, key, made, **more):
    return rig.api("POST", path(made) + "/pause", more, key=key)


def connect(rig, key, made, **more):
    return rig.api("POST", "/v2" + path(made) + "/connect", more, key=key)


def listed(rig, key, states):
    return {row["sandboxID"]: row["state"] for row in rig.api("GET", "/v2/sandboxes?state=" + states, key=key)[1]}


def a_paused_sandbox_is_listed_costs_no_quota_and_goes_on():
    with Rig() as rig:
        key = rig.tenant("saver", "pro", concurrentSandboxes=1)
        made = rig.create(key, timeout=60, metadata={"a": "b"})[1]
        before = rig.api("GET", path(made), key=key)[1]
        assert pause(rig, key, made) == (204, "")
        assert rig.api("GET", path(made), key=key)[1]["state"] == "paused"
        assert listed(rig, key, "paused") == {made["sandboxID"]: "paused"} and listed(rig, key, "running") == {}
        assert rig.last["X-Total-Running"] == "0" and rig.api("GET", "/sandboxes", key=key)[1] == []
        status, other = rig.create(key)
        assert status == 201 and listed(rig, key, "running,paused") == {made["sandboxID"]: "paused", other["sandboxID"]: "running"}
        status, refused = connect(rig, key, made)
        assert status == 429 and refused["code"] == 429, refused
        assert rig.api("DELETE", path(other), key=key)[0] == 204
        status, again = connect(rig, key, made, timeout=120)
        assert (status, again) == (201, made), (status, again)
        after = rig.api("GET", path(made), key=key)[1]
        assert after["startedAt"] == before["startedAt"] and after["state"] == "running" and after["metadata"] == {"a": "b"}
        assert after["endAt"] > before["endAt"]
        assert connect(rig, key, made, timeout=10) == (200, made)
        assert rig.api("GET", path(made), key=key)[1]["endAt"] == after["endAt"]


def e2bs_words_for_what_cannot_be():
    with Rig() as rig:
        key, stranger = rig.tenant("one"), rig.tenant("two")
        made = rig.create(key)[1]
        assert pause(rig, stranger, made)[1]["message"] == \
            f'Sandbox "{made["sandboxID"]}" doesn\'t exist or you don\'t have access to it'
        assert rig.api("POST", path(made) + "/pause", key=key)[0] == 204, "a body may be absent"
        status, refused = pause(rig, key, made)
        assert (status, refused["code"]) == (409, 409)
        assert refused["message"] == f"Error pausing sandbox - sandbox '{made['sandboxID']}' is already paused", refused
        assert rig.api("POST", path(made) + "/timeout", {"timeout": 30}, key=key)[0] == 404
        assert connect(rig, stranger, made)[0] == 404
        status, again = rig.api("POST", path(made) + "/resume", {"timeout": 60}, key=key)
        assert (status, again) == (201, made)
        assert pause(rig, key, {"sandboxID": "i00000000000000000000"})[0] == 404


def a_paused_sandbox_can_be_ended():
    with Rig() as rig:
        key = rig.tenant()
        made = rig.create(key)[1]
        assert pause(rig, key, made, memory=False)[0] == 204
        assert rig.api("DELETE", path(made), key=key) == (204, "")
        assert rig.api("DELETE", path(made), key=key)[0] == 404 and connect(rig, key, made)[0] == 404
        assert listed(rig, key, "running,paused") == {}
        usage = rig.api("GET", "/v1/usage", key=key)[1]["sandboxes"]
        assert [row["cause"] for row in usage] == ["request"], usage


def a_limit_pauses_if_it_was_asked_to():
    with Rig() as rig:
        key = rig.tenant()
        made = rig.create(key, timeout=1, autoPause=True)[1]
        assert rig.api("GET", path(made), key=key)[1]["lifecycle"] == {"onTimeout": "pause", "autoResume": False}
        wait_for("the pause", 20, lambda: listed(rig, key, "paused"))
        assert connect(rig, key, made, timeout=1)[0] == 201
        wait_for("the next", 20, lambda: listed(rig, key, "paused"))


def a_pause_that_fails_leaves_it_running():
    with Rig(agent_options=["--keep"]) as rig:
        key = rig.tenant()
        made = rig.create(key)[1]
        status, refused = pause(rig, key, made)
        assert (status, refused["code"]) == (503, 503), refused
        assert listed(rig, key, "running") == {made["sandboxID"]: "running"}


def what_is_paused_outlives_the_scheduler_and_is_not_billed():
    with Rig(agent_options=["--usage-ms", "200"]) as rig:
        key = rig.tenant()
        made = rig.create(key, timeout=600)[1]
        time.sleep(1.2)
        assert pause(rig, key, made)[0] == 204
        rig.scheduler.kill()
        rig.scheduler.start()
        time.sleep(2)
        assert listed(rig, key, "paused") == {made["sandboxID"]: "paused"}
        wait_for("its node", 20, lambda: connect(rig, key, made, timeout=600)[0] == 201)
        time.sleep(0.3)
        assert rig.api("DELETE", path(made), key=key)[0] == 204
        billed = rig.api("GET", "/v1/usage", key=key)[1]["sandboxes"][0]
        ran = rig.truth(rig.agents[0])[made["sandboxID"]]
        assert 1500 <= ran < 2500, ran
        # Each life is rounded, and counts at least a second.
        assert 2 <= billed["seconds"] <= 3, (billed, ran)


def the_next_leader_knows_what_is_paused():
    with Replicas(3, agents=1) as rig:
        key = rig.tenant()
        made = rig.ask(key, "POST", "/v2/sandboxes", {"templateID": "base", "timeout": 600})[1]
        assert rig.ask(key, "POST", path(made) + "/pause", {})[0] == 204
        old = rig.kill_leader()[0]
        assert listed_at_leader(rig, key) == {made["sandboxID"]: "paused"}
        status, again = rig.ask(key, "POST", "/v2" + path(made) + "/connect", {"timeout": 600})
        assert (status, again["sandboxID"]) == (201, made["sandboxID"]), again
        rig.restart(old)
        wait_for("all replicas to know that it runs", 30, lambda: all(
            {row["state"] for row in rig.api("GET", "/v2/sandboxes", key=key, to=scheduler)[1]} == {"running"}
            for scheduler in rig.schedulers))
        assert rig.ask(key, "POST", path(made) + "/pause", {})[0] == 204
        rig.kill_leader()
        assert rig.ask(key, "DELETE", path(made))[0] == 204
        assert listed_at_leader(rig, key) == {}


def listed_at_leader(rig, key):
    return {row["sandboxID"]: row["state"] for row in rig.ask(key, "GET", "/v2/sandboxes")[1]}


if __name__ == "__main__":
    run_tests([
        a_paused_sandbox_is_listed_costs_no_quota_and_goes_on,
        e2bs_words_for_what_cannot_be,
        a_paused_sandbox_can_be_ended,
        a_limit_pauses_if_it_was_asked_to,
        a_pause_that_fails_leaves_it_running,
        what_is_paused_outlives_the_scheduler_and_is_not_billed,
        the_next_leader_knows_what_is_paused,
    ])
