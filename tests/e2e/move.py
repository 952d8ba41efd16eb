#!/usr/bin/env python3
"""What is saved on one node and goes on, or begins, on another, on real microVMs: two agents, of which one may not or cannot run it."""
import http.client
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import pause  # noqa: E402
from fleet import Fleet, run_tests, wait_for  # noqa: E402
from pause import BOOT_ID, create, path, resume, run, state  # noqa: E402

fleet = None


def node_of(sandbox):
    rows = fleet.api("GET", "/v1/sandboxes", key=fleet.operator_key())[1]
    return next(row["nodeID"] for row in rows if row["sandboxID"] == sandbox["sandboxID"])


def cordon(*nodes, word="cordon"):
    for node in nodes:
        status, answer = fleet.api("POST", f"/v1/nodes/{node}/{word}", key=fleet.operator_key())
        assert status == 200, answer


def nodes():
    return [row["nodeID"] for row in fleet.api("GET", "/v1/nodes", key=fleet.operator_key())[1]]


def is_there_nothing():
    """No node has anything saved, or on its way."""
    for number in range(len(fleet.agents)):
        folder = fleet.path(f"agent{number}", "run", "vm")
        if any(os.path.isdir(os.path.join(folder, name, "saved")) for name in os.listdir(folder)):
            return False
        if os.path.isdir(os.path.join(folder, "fetch")) and os.listdir(os.path.join(folder, "fetch")):
            return False
    return True


def what_its_node_may_not_run_goes_on_elsewhere_with_its_memory():
    key = fleet.tenant("elsewhere")
    sandbox = create(key, envVars={"COLOUR": "blue"})
    home = node_of(sandbox)
    run(key, sandbox, "echo kept > /home/user/file; head -c 40M /dev/urandom > /dev/shm/x; sha256sum < /dev/shm/x > /dev/shm/sum")
    pid = run(key, sandbox, "(n=0; while :; do n=$((n+1)); echo $n > /tmp/m; mv /tmp/m /tmp/n; sleep 0.1; done) >/dev/null 2>&1 & echo $!")
    before = run(key, sandbox, BOOT_ID)
    pause.pause(key, sandbox)
    cordon(home)
    began = time.monotonic()
    resume(key, sandbox)
    print(f"# {time.monotonic() - began:.1f} s to go on elsewhere")
    away = node_of(sandbox)
    assert away != home and run(key, sandbox, BOOT_ID) == before
    assert run(key, sandbox, "cat /home/user/file; sha256sum < /dev/shm/x | cmp - /dev/shm/sum && echo same") == "kept\nsame"
    count = int(run(key, sandbox, "cat /tmp/n"))
    assert run(key, sandbox, f"kill -0 {pid} && echo $COLOUR") == "blue"
    wait_for("it to count on", 10, lambda: int(run(key, sandbox, "cat /tmp/n")) > count)
    # And back again, from where it is now; it is paused there as anything is.
    pause.pause(key, sandbox)
    cordon(home, word="uncordon")
    cordon(away)
    resume(key, sandbox)
    assert node_of(sandbox) == home and run(key, sandbox, f"kill -0 {pid} && cat /home/user/file") == "kept"
    cordon(away, word="uncordon")
    assert fleet.api("DELETE", path(sandbox), key=key)[0] == 204
    wait_for("nothing to be left", 20, is_there_nothing)


def it_can_be_moved_again_and_again():
    key = fleet.tenant("again")
    sandbox = create(key)
    for number in range(8):
        home = node_of(sandbox)
        run(key, sandbox, f"echo {number} >> /dev/shm/rounds")
        pause.pause(key, sandbox)
        cordon(home)
        resume(key, sandbox)
        assert node_of(sandbox) != home
        cordon(home, word="uncordon")
    assert run(key, sandbox, "cat /dev/shm/rounds | tr '\\n' ' '") == "0 1 2 3 4 5 6 7"
    assert fleet.api("DELETE", path(sandbox), key=key)[0] == 204
    wait_for("nothing to be left", 20, is_there_nothing)


def files_alone_go_on_elsewhere():
    key = fleet.tenant("files")
    sandbox = create(key, envVars={"COLOUR": "blue"})
    home = node_of(sandbox)
    run(key, sandbox, "echo kept > /home/user/file")
    before = run(key, sandbox, BOOT_ID)
    pause.pause(key, sandbox, memory=False)
    cordon(home)
    resume(key, sandbox)
    assert node_of(sandbox) != home and run(key, sandbox, BOOT_ID) != before
    assert run(key, sandbox, "cat /home/user/file; echo $COLOUR") == "kept\nblue"
    cordon(home, word="uncordon")
    assert fleet.api("DELETE", path(sandbox), key=key)[0] == 204


def a_node_that_is_full_hands_over():
    key = fleet.tenant("full")
    sandbox = create(key)
    home = node_of(sandbox)
    run(key, sandbox, "echo memory > /dev/shm/y")
    pause.pause(key, sandbox)
    away = [node for node in nodes() if node != home]
    cordon(*away)
    others = [create(key) for _ in range(CAPACITY)]
    status, answer = fleet.api("POST", "/v2" + path(sandbox, "/connect"), {"timeout": 300}, key=key)
    assert status == 503 and answer["error_code"] == "sandbox_capacity_unavailable", (status, answer)
    cordon(*away, word="uncordon")
    resume(key, sandbox)
    assert node_of(sandbox) != home and run(key, sandbox, "cat /dev/shm/y") == "memory"
    for box in (sandbox, *others):
        assert fleet.api("DELETE", path(box), key=key)[0] == 204


def where_there_is_no_other_node_it_waits_for_its_own():
    key = fleet.tenant("nowhere")
    sandbox = create(key)
    run(key, sandbox, "echo memory > /dev/shm/y")
    pause.pause(key, sandbox)
    cordon(*nodes())
    status, answer = fleet.api("POST", "/v2" + path(sandbox, "/connect"), {"timeout": 300}, key=key)
    assert status == 503 and answer["error_code"] == "sandbox_no_compatible_node", (status, answer)
    assert state(key, sandbox) == "paused"
    cordon(*nodes(), word="uncordon")
    resume(key, sandbox)
    assert run(key, sandbox, "cat /dev/shm/y") == "memory"
    pause.pause(key, sandbox)
    assert fleet.api("DELETE", path(sandbox), key=key)[0] == 204
    wait_for("nothing to be left", 20, is_there_nothing)


def ask(key, sandbox):
    """The status, or 0 if whoever was asked died."""
    try:
        return fleet.api("POST", "/v2" + path(sandbox, "/connect"), {"timeout": 300}, key=key)[0]
    except (OSError, http.client.HTTPException):
        return 0


def agents_and_a_scheduler_that_die_in_the_middle_lose_nothing():
    key = fleet.tenant("deaths")
    sandbox = create(key)
    run(key, sandbox, "head -c 100M /dev/urandom > /dev/shm/x; sha256sum < /dev/shm/x > /dev/shm/sum")
    for victims in (fleet.agents[:1], fleet.agents[1:], [fleet.scheduler], [*fleet.agents, fleet.scheduler]):
        home = node_of(sandbox)
        pause.pause(key, sandbox)
        cordon(home)
        asking = threading.Thread(target=ask, args=(key, sandbox))
        asking.start()
        time.sleep(0.6)
        for victim in victims:
            victim.kill()
        for victim in reversed(victims):
            victim.start()
        asking.join()
        wait_for("it to go on", 60, lambda: ask(key, sandbox) in (200, 201), 0.5)
        assert node_of(sandbox) != home
        assert run(key, sandbox, "sha256sum < /dev/shm/x | cmp - /dev/shm/sum && echo same") == "same"
        cordon(home, word="uncordon")
    assert fleet.api("DELETE", path(sandbox), key=key)[0] == 204
    wait_for("nothing to be left", 20, is_there_nothing)


def snapshot(key, sandbox):
    status, answer = fleet.api("POST", path(sandbox, "/snapshots"), {}, key=key)
    assert status == 201, answer
    return answer["snapshotID"]


def drop(key, snapshot_id):
    status, answer = fleet.api("DELETE", f"/templates/{snapshot_id.split(':')[0]}", key=key)
    assert status == 204, answer


def kill(key, *sandboxes):
    for sandbox in sandboxes:
        assert fleet.api("DELETE", path(sandbox), key=key)[0] == 204


def a_snapshot_begins_on_another_node_and_again_there_at_once():
    key = fleet.tenant("spread")
    sandbox = create(key, envVars={"COLOUR": "blue"})
    home = node_of(sandbox)
    run(key, sandbox, "echo kept > /home/user/file; head -c 40M /dev/urandom > /dev/shm/x; sha256sum < /dev/shm/x > /dev/shm/sum")
    pid = run(key, sandbox, "(n=0; while :; do n=$((n+1)); echo $n > /tmp/m; mv /tmp/m /tmp/n; sleep 0.1; done) >/dev/null 2>&1 & echo $!")
    boot, kept = run(key, sandbox, BOOT_ID), snapshot(key, sandbox)
    cordon(home)
    took = []
    others = []
    for _ in range(2):
        began = time.monotonic()
        others.append(create(key, templateID=kept))
        took.append(time.monotonic() - began)
        assert node_of(others[-1]) != home and run(key, others[-1], BOOT_ID) == boot
        assert run(key, others[-1], "cat /home/user/file; sha256sum < /dev/shm/x | cmp - /dev/shm/sum && echo same") == "kept\nsame"
        assert run(key, others[-1], f"kill -0 {pid} && echo $COLOUR; hostname") == f"blue\n{others[-1]['sandboxID']}"
        count = int(run(key, others[-1], "cat /tmp/n"))
        wait_for("it to count on", 10, lambda: int(run(key, others[-1], "cat /tmp/n")) > count)
    print(f"# {took[0]:.1f} s to begin elsewhere, {took[1]:.1f} s the next time")
    assert len(fleet.api("GET", "/snapshots", key=key)[1]) == 1
    cordon(home, word="uncordon")
    kill(key, sandbox, *others)
    at_home = create(key, templateID=kept)
    assert node_of(at_home) == home
    drop(key, kept)
    kill(key, at_home)
    wait_for("nothing to be left", 20, is_there_nothing)


def forks_that_find_no_room_beside_their_source_begin_elsewhere():
    key = fleet.tenant("wide")
    source = create(key)
    home = node_of(source)
    run(key, source, "echo memory > /dev/shm/y")
    status, answers = fleet.api("POST", path(source, "/fork"), {"count": 3, "timeout": 300}, key=key)
    assert status == 201 and all("sandbox" in answer for answer in answers), answers
    forks = [answer["sandbox"] for answer in answers]
    assert sorted(node_of(one) == home for one in forks) == [False, False, True], forks
    assert all(run(key, one, "cat /dev/shm/y") == "memory" for one in forks)
    kill(key, source, *forks)
    wait_for("nothing to be left", 20, is_there_nothing)


def where_no_node_can_have_it_a_create_is_told_so():
    key = fleet.tenant("neither")
    sandbox = create(key)
    kept = snapshot(key, sandbox)
    cordon(*nodes())
    status, answer = fleet.api("POST", "/v2/sandboxes", {"templateID": kept}, key=key)
    assert status == 503 and answer["error_code"] == "sandbox_no_compatible_node", (status, answer)
    cordon(*nodes(), word="uncordon")
    drop(key, kept)
    kill(key, sandbox)
    wait_for("nothing to be left", 20, is_there_nothing)


def agents_that_die_while_a_snapshot_is_copied_lose_nothing():
    key = fleet.tenant("copied")
    for victim in fleet.agents:
        sandbox = create(key)
        home = node_of(sandbox)
        run(key, sandbox, "head -c 100M /dev/urandom > /dev/shm/x; sha256sum < /dev/shm/x > /dev/shm/sum")
        kept = snapshot(key, sandbox)
        cordon(home)
        answers = []
        asking = threading.Thread(target=lambda: answers.append(fleet.api("POST", "/v2/sandboxes", {"templateID": kept, "timeout": 300}, key=key)))
        asking.start()
        time.sleep(0.6)
        victim.kill()
        victim.start()
        asking.join()

        def begin():
            if answers[-1][0] != 201:
                answers.append(fleet.api("POST", "/v2/sandboxes", {"templateID": kept, "timeout": 300}, key=key))
            return answers[-1][0] == 201
        wait_for("one to begin", 60, begin, 0.5)
        other = answers[-1][1]
        assert node_of(other) != home
        assert run(key, other, "sha256sum < /dev/shm/x | cmp - /dev/shm/sum && echo same") == "same"
        cordon(home, word="uncordon")
        drop(key, kept)
        kill(key, sandbox, other)
    wait_for("nothing to be left", 20, is_there_nothing)


def a_snapshot_outlives_its_node_where_there_is_a_copy():
    key = fleet.tenant("outlives")
    sandbox = create(key)
    home = node_of(sandbox)
    run(key, sandbox, "echo memory > /dev/shm/y")
    kept = snapshot(key, sandbox)
    cordon(home)
    first = create(key, templateID=kept)
    assert node_of(first) != home
    agent = fleet.agents[nodes().index(home)]
    agent.kill()

    def is_lost():
        return fleet.api("POST", f"/v1/nodes/{home}/lost", key=fleet.operator_key())[0] == 200
    wait_for("its node to be declared lost", 60, is_lost, 0.5)
    second = create(key, templateID=kept)
    assert node_of(second) != home and run(key, second, "cat /dev/shm/y") == "memory"
    agent.start()
    wait_for("what it ran to end", 30, lambda: fleet.api("GET", path(sandbox), key=key)[0] == 404)
    cordon(home, word="uncordon")
    drop(key, kept)
    kill(key, first, second)
    wait_for("nothing to be left", 30, is_there_nothing)


CAPACITY = 2

if __name__ == "__main__":
    with Fleet(agents=2, agent_options=["--capacity-sandboxes", str(CAPACITY)]) as fleet:
        pause.fleet = fleet
        run_tests([
            what_its_node_may_not_run_goes_on_elsewhere_with_its_memory,
            it_can_be_moved_again_and_again,
            files_alone_go_on_elsewhere,
            a_node_that_is_full_hands_over,
            where_there_is_no_other_node_it_waits_for_its_own,
            agents_and_a_scheduler_that_die_in_the_middle_lose_nothing,
            a_snapshot_begins_on_another_node_and_again_there_at_once,
            forks_that_find_no_room_beside_their_source_begin_elsewhere,
            where_no_node_can_have_it_a_create_is_told_so,
            agents_that_die_while_a_snapshot_is_copied_lose_nothing,
            a_snapshot_outlives_its_node_where_there_is_a_copy,
        ])
