#!/usr/bin/env python3
"""What is promised with several schedulers: whoever is asked, whichever dies, one fleet and one ledger."""
import http.client
import signal
import threading
import time

from replicas import Replicas
from rig import run_tests, wait_for

STANDING_BY = "X-Flotilla-Forwarded-By"  # as a replica marks what it forwards


def names(rows):
    return sorted(row["sandboxID"] for row in rows)


def listed(rig, key, to):
    found, token = {}, ""
    while token is not None:
        status, page = rig.api("GET", "/v2/sandboxes?limit=100&nextToken=" + token, key=key, to=to)
        assert status == 200, page
        found.update((row["sandboxID"], row) for row in page)
        token = rig.last["X-Next-Token"]
    return found


def used(rig, key):
    return rig.ask(key, "GET", "/v1/limits")[1]["concurrentSandboxes"]["current"]


def nodes(rig):
    return {node["name"]: node for node in rig.ask(rig.operator_key, "GET", "/v1/nodes")[1]}


def in_state(rig, name, state, seconds=30):
    wait_for(f"{name} to be {state}", seconds, lambda: nodes(rig)[name]["state"] == state)


def end_all(rig, key):
    for name in listed(rig, key, rig.leader()):
        assert rig.ask(key, "DELETE", "/sandboxes/" + name)[0] in (204, 404)
    wait_for("calm", 30, lambda: used(rig, key) == 0)


def every_ledger_is_the_truth(rig):
    """Waits until each has the whole log and ends the agents; what each replica billed is what ran, once."""
    log = "SELECT id, next_seq FROM node ORDER BY id"
    rig.everywhere("the logs", log, rig.rows(rig.leader(), log))
    ran = {}
    for agent in rig.agents:
        ran.update(rig.truth(agent))
    truth = sorted((name, max(1, (ms + 500) // 1000)) for name, ms in ran.items())
    rig.everywhere("the truth", "SELECT sandbox, sum(seconds) FROM rated_line WHERE meter = 1 GROUP BY sandbox", truth)
    rig.everywhere("each record once", "SELECT node, seq FROM usage_event GROUP BY node, seq HAVING count(*) > 1", [])
    rig.everywhere("every end", "SELECT id FROM sandbox WHERE state <> 4", [])
    logs = [sorted(rig.rows(scheduler, "SELECT node, seq, sandbox, kind FROM usage_event ORDER BY node, seq"))
            for scheduler in rig.schedulers if scheduler.alive()]
    assert all(log == logs[0] for log in logs), "the replicas keep different logs"
    return ran


def report(what, old, new, from_kill, from_key):
    print(f"   {what}: {old.name} to {new.name}, admits after {from_kill:.3f} s"
          + (f", {from_key * 1000:.0f} ms after etcd deleted the key" if from_key is not None else ""))


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
        status, refused = rig.api("GET", "/v1/tenants", key=rig.operator_key, to=rig.standby(), headers={STANDING_BY: "x"})
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


def creators(rig, key, told, stopping, n=4):
    """Threads that create, each under a key that is repeated until its answer is definite."""
    faults = []

    def create(thread):
        number = 0
        while not stopping.is_set():
            number += 1
            name = f"{thread}.{number}"
            try:
                status, answer = rig.ask(key, "POST", "/v2/sandboxes", {
                    "templateID": "base", "timeout": 3600, "metadata": {"key": name}}, headers={"Idempotency-Key": name}, seconds=60)
                assert status == 201, answer
                told[name] = answer["sandboxID"]
            except Exception as fault:  # told by whoever started us
                faults.append(fault)
                return
    threads = [threading.Thread(target=create, args=(number,)) for number in range(n)]
    for thread in threads:
        thread.start()

    def stop():
        stopping.set()
        for thread in threads:
            thread.join()
        assert not faults, faults
    return stop


def what_was_told_survives_kill_9_of_the_leader_in_the_middle_of_creates():
    with Replicas(3, agents=2, agent_options=["--sandboxes", "4000", "--usage-ms", "500"]) as rig:
        key = rig.tenant("steady", "enterprise", concurrentSandboxes=8000)
        told = {}
        stop = creators(rig, key, told, threading.Event())
        try:
            for _ in range(4):
                wait_for("creates", 30, lambda n=len(told): len(told) >= n + 20)
                old, new, *took = rig.kill_leader()
                report(f"with {len(told)} told", old, new, *took)
                wait_for("creates by the next", 30, lambda n=len(told): len(told) >= n + 20)
                rig.restart(old)
        finally:
            stop()
        found = listed(rig, key, rig.leader())
        assert set(told.values()) <= set(found), set(told.values()) - set(found)
        assert all(found[name]["metadata"] == {"key": made} for made, name in told.items())
        for made, name in list(told.items())[::7]:
            again = rig.ask(key, "POST", "/v2/sandboxes", {"templateID": "base", "timeout": 3600, "metadata": {"key": made}},
                            headers={"Idempotency-Key": made})
            assert again[0] == 201 and again[1]["sandboxID"] == name, (again, name)
        running = {row["metadata"]["key"] for row in found.values()}
        assert len(running) == len(found), "two run under one key"
        end_all(rig, key)
        ran = every_ledger_is_the_truth(rig)
        print(f"   {len(told)} were told running, {len(ran)} ran, each is billed once by each replica")


def the_key_of_a_create_that_came_to_nothing_is_the_next_ones_on_every_replica():
    with Replicas(2, agents=2, options=["--lease", "6s"]) as rig:
        key = rig.tenant()
        node = {name: row["nodeID"] for name, row in nodes(rig).items()}
        cordon = lambda name, act: rig.ask(rig.operator_key, "POST", f"/v1/nodes/{node[name]}/{act}", {})
        assert cordon("fake1", "cordon")[0] == 200
        rig.agents[0].kill()  # the leader believes in it for a while
        first = rig.leader()
        waiting = threading.Thread(target=lambda: cut_off(rig, key, first))
        waiting.start()
        placing = wait_for("a create that no node hears of", 20, lambda: rig.rows(first, "SELECT id FROM sandbox WHERE state = 1"))
        old, new, *took = rig.kill_leader()
        report("with a dead node, a lease of 6 s", old, new, *took)
        waiting.join()
        assert cordon("fake1", "uncordon")[0] == 200
        status, made = rig.ask(key, "POST", "/v2/sandboxes", {"templateID": "base"}, headers={"Idempotency-Key": "k"}, at=[new])
        assert status == 201 and made["sandboxID"] != placing[0][0], made
        rig.restart(old)
        rig.everywhere("the key's sandbox", "SELECT id FROM sandbox WHERE idempotency_key = 'k'", [(made["sandboxID"],)])
        report("back again", *rig.kill_leader())
        assert rig.ask(key, "POST", "/v2/sandboxes", {"templateID": "base"}, headers={"Idempotency-Key": "k"}, at=[old]) == (201, made)


def cut_off(rig, key, to):
    try:
        rig.create(key, headers={"Idempotency-Key": "k"}, to=to)
    except (OSError, http.client.HTTPException):
        return
    raise AssertionError("it was answered")


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


def a_leader_that_stops_hands_over_and_nobody_is_refused():
    with Replicas(3, agents=2, agent_options=["--sandboxes", "4000", "--claim-ms", "20"]) as rig:
        key = rig.tenant("steady", "enterprise", concurrentSandboxes=8000)
        old = rig.leader()
        through = rig.others(old)
        told, stopping, faults = [], threading.Event(), []

        def create(to):
            while not stopping.is_set():
                began = time.monotonic()
                status, answer = rig.create(key, to=to, timeout=3600)  # under no key: it cannot be repeated
                if status != 201:
                    faults.append((status, answer))
                told.append((answer.get("sandboxID"), time.monotonic() - began))
        threads = [threading.Thread(target=create, args=(to,)) for to in through * 2]
        for thread in threads:
            thread.start()
        try:
            for _ in range(2):
                wait_for("creates", 30, lambda n=len(told): len(told) >= n + 20)
                old = next(scheduler for scheduler in rig.schedulers if scheduler not in through)
                if rig.leader() is not old:
                    break
                at = time.time()
                old.stop()
                new = rig.leader(other_than=old)
                print(f"   {old.name} to {new.name}: admits {rig.admitted_at(new) - at:.3f} s after TERM, "
                      f"gone after {time.time() - at:.3f} s")
                assert old.process.returncode == 0
                rig.restart(old)
            wait_for("creates", 30, lambda n=len(told): len(told) >= n + 20)
        finally:
            stopping.set()
            for thread in threads:
                thread.join()
        assert not faults, faults[:3]
        print(f"   {len(told)} creates, the slowest took {max(took for _, took in told):.3f} s")
        assert {name for name, _ in told} == set(listed(rig, key, rig.leader()))
        end_all(rig, key)
        every_ledger_is_the_truth(rig)


def a_leader_that_slept_orders_nothing_any_more():
    with Replicas(3, agents=1, agent_options=["--sandboxes", "100"]) as rig:
        key = rig.tenant()
        kept = [rig.create(key)[1]["sandboxID"] for _ in range(3)]
        old = rig.leader()
        epoch = rig.api("GET", "/v1/scheduler", key=rig.operator_key, to=old)[1]["epoch"]
        old.process.send_signal(signal.SIGSTOP)
        waiting = []
        for request in (("POST", "/v2/sandboxes", {"templateID": "base"}), ("DELETE", "/sandboxes/" + kept[0], None)):
            def ask(method=request[0], path=request[1], body=request[2]):
                waiting.append((method, *rig.api(method, path, body, key=key, to=old)))
            thread = threading.Thread(target=ask)
            thread.start()
            waiting_for = thread
        rest = [scheduler for scheduler in rig.schedulers if scheduler is not old]
        new = wait_for("another leader", 30, lambda: next(
            (scheduler for scheduler in rest if (rig.role(scheduler) or ("",))[0] == "leading"), None), 0.01)
        rig.scheduler = new
        assert names(listed(rig, key, new).values()) == sorted(kept)
        old.process.send_signal(signal.SIGCONT)
        waiting_for.join()
        wait_for("both answers", 30, lambda: len(waiting) == 2)
        wait_for("it to follow", 30, lambda: rig.role(old) == ("standby", new.name))
        for method, status, answer in waiting:
            assert status in ((201, 503) if method == "POST" else (204, 503)), (method, status, answer)
        end_all(rig, key)
        agent = rig.agents[0]
        every_ledger_is_the_truth(rig)
        with open(agent.truth) as lines:
            epochs = {line.split()[0]: int(line.split()[3]) for line in lines}
        assert {epochs[name] for name in kept} == {epoch}
        late = {name: of for name, of in epochs.items() if name not in kept}
        assert all(of > epoch for of in late.values()), f"the old leader began {late}"


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
            status, made = rig.ask(key, "POST", "/v2/sandboxes", {"templateID": "base", "metadata": {"n": str(number)}},
                                   headers={"Idempotency-Key": f"k{number}"})
            assert status == 201
            if number % 3 == 0:
                assert rig.ask(key, "DELETE", "/sandboxes/" + made["sandboxID"])[0] == 204
            else:
                kept[number] = made
        rig.restart(away)
        running = "SELECT id, metadata FROM sandbox WHERE state = 2 ORDER BY id"
        rig.everywhere("what runs", running, rig.rows(rig.leader(), running))
        for scheduler in rig.others(away):
            scheduler.stop()
        assert rig.leader() is away
        rig.scheduler = away
        assert names(listed(rig, key, away).values()) == names(kept.values())
        for number, made in kept.items():
            assert rig.create(key, headers={"Idempotency-Key": f"k{number}"}, metadata={"n": str(number)}) == (201, made)
        assert used(rig, key) == len(kept) and rig.create(late)[0] == 201, "a tenant of the time when it was away"
        for scheduler in rig.schedulers:
            if scheduler is not away:
                rig.restart(scheduler)
        end_all(rig, key)
        end_all(rig, late)
        every_ledger_is_the_truth(rig)


def a_lost_node_is_lost_on_every_replica_and_holds_up_no_take_over():
    with Replicas(3, agents=2, options=["--lease", "6s"]) as rig:
        key = rig.tenant()
        made = [rig.create(key)[1]["sandboxID"] for _ in range(2)]
        where = {row["sandboxID"]: row["nodeID"] for row in rig.api("GET", "/v1/sandboxes", key=rig.operator_key)[1]}
        node = where[made[0]]
        name = next(name for name, row in nodes(rig).items() if row["nodeID"] == node)
        dead = rig.agents[int(name[-1])]
        gone = sorted(sandbox for sandbox in made if where[sandbox] == node)
        status, refused = rig.api("POST", f"/v1/nodes/{node}/lost", {}, key=rig.operator_key, to=rig.standby())
        assert status == 409 and refused["code"] == "node_alive", refused
        dead.send_signal(signal.SIGSTOP)
        old, new, *took = rig.kill_leader()
        report("with a dead node, a lease of 6 s", old, new, *took)
        rig.restart(old)
        in_state(rig, name, "silent")
        wait_for("the end of its lease", 20, lambda: rig.api("POST", f"/v1/nodes/{node}/lost", {}, key=rig.operator_key,
                                                             to=rig.standby())[0] == 200)
        rig.everywhere("the loss", "SELECT id FROM sandbox WHERE state = 4 ORDER BY id", [(sandbox,) for sandbox in gone])
        assert used(rig, key) == len(made) - len(gone)
        old, new, *took = rig.kill_leader()
        report("with a lost node", old, new, *took)
        rig.restart(old)
        assert nodes(rig)[name]["state"] == "lost"
        dead.send_signal(signal.SIGCONT)
        in_state(rig, name, "ready")
        rig.scheduler = new
        end_all(rig, key)
        ran = {}
        for agent in rig.agents:
            ran.update(rig.truth(agent))
        assert all(ran[sandbox] < 7000 for sandbox in gone), f"it ran on without a lease: {ran}"
        rig.everywhere("every end", "SELECT id FROM sandbox WHERE state <> 4", [])


if __name__ == "__main__":
    run_tests([
        whoever_is_asked_the_leader_answers,
        a_request_goes_from_one_replica_to_another_only_once,
        decisions_are_everywhere_and_of_the_next_leader_too,
        what_was_told_survives_kill_9_of_the_leader_in_the_middle_of_creates,
        the_key_of_a_create_that_came_to_nothing_is_the_next_ones_on_every_replica,
        a_kill_is_answered_when_it_is_in_a_log,
        a_moved_time_limit_is_in_a_log_when_it_is_told,
        a_leader_that_stops_hands_over_and_nobody_is_refused,
        a_leader_that_slept_orders_nothing_any_more,
        without_etcd_nothing_ends_and_it_heals_by_itself,
        a_replica_starts_without_etcd_and_joins_when_it_is_there,
        a_replica_that_was_away_catches_up_from_the_logs_and_can_lead_then,
        a_lost_node_is_lost_on_every_replica_and_holds_up_no_take_over,
    ])
