#!/usr/bin/env python3
"""What is promised with several schedulers: whoever is asked, one fleet, one ledger, and etcd that goes and comes."""
import os
import signal
import time

from replicas import Replicas, end_all, every_ledger_is_the_truth, in_state, listed, names, nodes, report, used
from rig import run_tests, wait_for

FORWARDED = "X-Flotilla-Forwarded-By"  # as a replica marks what it forwards


def whoever_is_asked_the_leader_answers():
    with Replicas(3, agents=2) as rig:
        key = rig.tenant()
        leader = rig.leader()
        first, second = rig.others(leader)
        status, made = rig.create(key, to=first, headers={"Idempotency-Key": "k"}, metadata={"a": "b"})
        assert status == 201, made
        assert rig.create(key, to=second, headers={"Idempotency-Key": "k"}, metadata={"a": "b"}) == (201, made)
        assert rig.create(key, to=second, headers={"Idempotency-Key": "k"}, metadata={"a": "c"})[0] == 422
        for _ in range(4):
            assert rig.create(key, to=second)[0] == 201
        for scheduler in rig.schedulers:
            assert len(listed(rig, key, scheduler)) == 5
            status, row = rig.api("GET", "/sandboxes/" + made["sandboxID"], key=key, to=scheduler)
            assert status == 200 and row["metadata"] == {"a": "b"}, row
            status, page = rig.api("GET", "/v2/sandboxes?limit=2", key=key, to=scheduler)
            assert len(page) == 2 and rig.last["X-Next-Token"] and rig.last["X-Total-Running"] == "5", dict(rig.last)
        for request in (("GET", "/v2/sandboxes", None, "e2b_" + "0" * 40), ("GET", "/nowhere", None, key),
                        ("POST", "/v2/sandboxes", {"templateID": "none"}, key), ("POST", "/v2/sandboxes", {}, key),
                        ("POST", "/v2/sandboxes", "{", key), ("PUT", "/v2/sandboxes", None, key),
                        ("POST", "/v1/tenants", {"name": ""}, rig.operator_key), ("GET", "/v1/nodes", None, key)):
            answers = []
            for scheduler in (leader, first):
                status, answer = rig.api(*request, to=scheduler)
                assert status >= 400, answer
                answer.pop("request_id", None)
                answers.append((status, answer, rig.last["Content-Type"], rig.last["Allow"]))
            assert answers[0] == answers[1], answers
        assert rig.api("DELETE", "/sandboxes/" + made["sandboxID"], key=key, to=first) == (204, "")
        assert rig.api("GET", "/livez", to=first)[0] == rig.api("GET", "/readyz", to=first)[0] == 200
        assert "flotilla_polls_total" in rig.api("GET", "/metrics", to=first)[1]
        end_all(rig, key)
        every_ledger_is_the_truth(rig)


def a_request_goes_from_one_replica_to_another_only_once():
    with Replicas(2, agents=0) as rig:
        status, refused = rig.api("GET", "/v1/tenants", key=rig.operator_key, to=rig.standby(), headers={FORWARDED: "x"})
        assert status == 503 and refused["code"] == "no_leader" and rig.last["Retry-After"], refused


def decisions_are_everywhere_and_of_the_next_leader_too():
    with Replicas(3, agents=2) as rig:
        rig.scheduler = rig.standby()
        key = rig.tenant("acme", "pro")
        tenant = rig.api("GET", "/v1/tenants", key=rig.operator_key)[1][0]["tenantID"]
        rig.everywhere("the tenant", "SELECT id, name, plan FROM tenant", [(tenant, "acme", "pro")])
        rig.everywhere("its key", "SELECT tenant FROM api_key WHERE tenant IS NOT NULL", [(tenant,)])
        rig.everywhere("the nodes", "SELECT name FROM node ORDER BY name", [("fake0",), ("fake1",)])
        status, _ = rig.api("POST", f"/v1/nodes/{nodes(rig)['fake0']['nodeID']}/cordon", {}, key=rig.operator_key)
        assert status == 200
        rig.everywhere("the cordon", "SELECT name FROM node WHERE cordoned", [("fake0",)])
        report("decisions", *rig.kill_leader())
        assert nodes(rig)["fake0"]["state"] == "cordoned"
        rig.scheduler = rig.leader()
        in_state(rig, "fake1", "ready")
        assert [rig.create(key)[0] for _ in range(4)] == [201] * 4
        assert nodes(rig)["fake0"]["committed"]["sandboxes"] == 0
        rig.add_agent("late")
        rig.everywhere("the node", "SELECT name FROM node WHERE name = 'late'", [("late",)])


def a_kill_is_answered_when_it_is_in_a_log():
    with Replicas(3, agents=1) as rig:
        key = rig.tenant()
        made = [rig.create(key)[1]["sandboxID"] for _ in range(2)]
        agent = rig.agents[0]
        agent.send_signal(signal.SIGSTOP)
        status, refused = rig.api("DELETE", "/sandboxes/" + made[0], key=key, to=rig.standby())
        assert status == 503 and "confirm" in refused["message"], refused
        agent.send_signal(signal.SIGCONT)
        assert rig.ask(key, "DELETE", "/sandboxes/" + made[0])[0] in (204, 404)
        assert rig.api("DELETE", "/sandboxes/" + made[1], key=key, to=rig.standby())[0] == 204
        old, new, *took = rig.kill_leader()
        report("after a kill", old, new, *took)
        assert listed(rig, key, new) == {} and used(rig, key) == 0
        rig.restart(old)
        every_ledger_is_the_truth(rig)


def a_moved_time_limit_is_in_a_log_when_it_is_told():
    with Replicas(2, agents=1) as rig:
        key = rig.tenant()
        made = rig.create(key, timeout=600)[1]["sandboxID"]
        assert rig.api("POST", f"/sandboxes/{made}/timeout", {"timeout": 1800}, key=key, to=rig.standby())[0] == 204
        before = rig.api("GET", "/sandboxes/" + made, key=key)[1]["endAt"]
        old, new, *took = rig.kill_leader()
        report("after a limit", old, new, *took)
        after = rig.api("GET", "/sandboxes/" + made, key=key, to=new)[1]["endAt"]
        assert before[:19] == after[:19], (before, after)
        agent = rig.agents[0]
        agent.send_signal(signal.SIGSTOP)
        status, refused = rig.api("POST", f"/sandboxes/{made}/timeout", {"timeout": 60}, key=key, to=new)
        assert status == 503 and "confirm" in refused["message"], refused
        agent.send_signal(signal.SIGCONT)
        assert rig.ask(key, "POST", f"/sandboxes/{made}/timeout", {"timeout": 60})[0] == 204


def without_etcd_nothing_ends_and_it_heals_by_itself():
    with Replicas(3, agents=1) as rig:
        key = rig.tenant()
        kept = [rig.create(key)[1]["sandboxID"] for _ in range(3)]
        rig.etcd.kill()
        wait_for("nobody to lead", 30, lambda: all((rig.role(scheduler) or ("",))[0] == "standby" for scheduler in rig.schedulers))
        began = time.monotonic()
        status, refused = rig.create(key)
        assert status == 503 and rig.last["Retry-After"] == "1" and refused["code"] == 503, refused
        print(f"   refused after {time.monotonic() - began:.2f} s")
        status, refused = rig.api("POST", "/v1/tenants", {"name": "x", "plan": "pro"}, key=rig.operator_key)
        assert status == 503 and refused["code"] == "no_leader", refused
        text = rig.api("GET", "/readyz?verbose")[1]
        assert "leader: none" in text, text
        rig.etcd.start()
        new = rig.leader()
        assert names(listed(rig, key, new).values()) == sorted(kept)
        assert rig.ask(key, "POST", "/v2/sandboxes", {"templateID": "base"})[0] == 201
        end_all(rig, key)
        every_ledger_is_the_truth(rig)


def a_replica_starts_without_etcd_and_joins_when_it_is_there():
    with Replicas(2, agents=1) as rig:
        key = rig.tenant()
        other = rig.standby()
        other.stop()
        rig.etcd.kill()
        other.start()
        assert rig.role(other) == ("standby", "none,"), rig.role(other)
        assert rig.api("GET", "/livez", to=other)[0] == 200
        rig.etcd.start()
        rig.leader()
        wait_for("it to know a leader", 30, lambda: rig.role(other)[1] != "none,")
        assert rig.ask(key, "POST", "/v2/sandboxes", {"templateID": "base"}, at=[other])[0] == 201


def a_replica_that_was_away_catches_up_from_the_logs_and_can_lead_then():
    with Replicas(3, agents=2, agent_options=["--usage-ms", "200", "--sandboxes", "100"]) as rig:
        key = rig.tenant()
        away = rig.standby()
        away.kill()
        late = rig.tenant("late")
        kept = {}
        for number in range(12):
            status, made = rig.ask(key, "POST", "/v2/sandboxes", {
                "templateID": "base", "metadata": {"n": str(number)}, "network": {"allowPublicTraffic": False}}, headers={"Idempotency-Key": f"k{number}"})
            assert status == 201
            if number % 3 == 0:
                assert rig.ask(key, "DELETE", "/sandboxes/" + made["sandboxID"])[0] == 204
            else:
                kept[number] = made
        rig.restart(away)
        running = "SELECT id, metadata, network FROM sandbox WHERE state = 2 ORDER BY id"
        rig.everywhere("what runs", running, rig.rows(rig.leader(), running))
        for scheduler in rig.others(away):
            scheduler.stop()
        assert rig.leader() is away
        rig.scheduler = away
        assert names(listed(rig, key, away).values()) == names(kept.values())
        for number, made in kept.items():
            assert rig.create(key, headers={"Idempotency-Key": f"k{number}"}, metadata={"n": str(number)},
                              network={"allowPublicTraffic": False}) == (201, made)
        assert used(rig, key) == len(kept) and rig.create(late)[0] == 201, "a tenant of the time when it was away"
        for scheduler in rig.schedulers:
            if scheduler is not away:
                rig.restart(scheduler)
        end_all(rig, key)
        end_all(rig, late)
        every_ledger_is_the_truth(rig)


def who_waits_for_a_leader_that_hangs_is_told_so_when_another_leads():
    with Replicas(2, agents=1) as rig:
        key = rig.tenant()
        hung, other = rig.leader(), rig.standby()
        os.kill(hung.pid, signal.SIGSTOP)
        began = time.monotonic()
        status, answer = rig.create(key, to=other)
        took = time.monotonic() - began
        assert status in (201, 502), answer
        assert took < 20, f"it was waited for {took:.1f} s"
        if status == 502:  # it was sent before the leader's end was known
            assert answer["message"].startswith("The leader was lost while it had this request"), answer
        assert rig.role(other)[0] != "standby"
        os.kill(hung.pid, signal.SIGCONT)
        assert rig.ask(key, "POST", "/v2/sandboxes", {"templateID": "base"}, headers={"Idempotency-Key": "k"})[0] == 201


if __name__ == "__main__":
    run_tests([
        whoever_is_asked_the_leader_answers,
        a_request_goes_from_one_replica_to_another_only_once,
        decisions_are_everywhere_and_of_the_next_leader_too,
        a_kill_is_answered_when_it_is_in_a_log,
        a_moved_time_limit_is_in_a_log_when_it_is_told,
        without_etcd_nothing_ends_and_it_heals_by_itself,
        a_replica_starts_without_etcd_and_joins_when_it_is_there,
        a_replica_that_was_away_catches_up_from_the_logs_and_can_lead_then,
        who_waits_for_a_leader_that_hangs_is_told_so_when_another_leads,
    ])
