#!/usr/bin/env python3
"""Leaders that are killed, stopped, frozen and handed over, in the middle of what is asked of them."""
import http.client
import signal
import threading
import time

from replicas import Replicas, end_all, every_ledger_is_the_truth, in_state, listed, names, nodes, report, used
from rig import run_tests, wait_for


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


def cut_off(rig, key, to):
    try:
        rig.create(key, headers={"Idempotency-Key": "k"}, to=to)
    except (OSError, http.client.HTTPException):
        return
    raise AssertionError("it was answered")


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
            wait_for("creates", 30, lambda: len(told) >= 20)
            at = time.time()
            old.stop()
            new = rig.leader(other_than=old)
            print(f"   {old.name} to {new.name}: admits {rig.admitted_at(new, at) - at:.3f} s after TERM, "
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


def a_lost_node_is_lost_on_every_replica_and_holds_up_no_take_over():
    with Replicas(3, agents=2, options=["--lease", "6s"]) as rig:
        key = rig.tenant()
        made = [rig.create(key)[1]["sandboxID"] for _ in range(2)]
        where = {row["sandboxID"]: row["nodeID"] for row in rig.api("GET", "/v1/sandboxes", key=rig.operator_key)[1]}
        node = where[made[0]]
        name = next(name for name, row in nodes(rig).items() if row["nodeID"] == node)
        dead = rig.agents[int(name[-1])]
        gone = sorted(sandbox for sandbox in made if where[sandbox] == node)
        # What only a dead node's log tells is known to nobody but the leader that heard it.
        rig.everywhere("both", "SELECT count(*) FROM sandbox WHERE state = 2", [(2,)])
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
        what_was_told_survives_kill_9_of_the_leader_in_the_middle_of_creates,
        the_key_of_a_create_that_came_to_nothing_is_the_next_ones_on_every_replica,
        a_leader_that_stops_hands_over_and_nobody_is_refused,
        a_leader_that_slept_orders_nothing_any_more,
        a_lost_node_is_lost_on_every_replica_and_holds_up_no_take_over,
    ])
