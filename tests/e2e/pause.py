#!/usr/bin/env python3
"""Sandboxes that are paused and go on, on real microVMs: what a tenant has in them is there again."""
import os
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from fleet import BIN, Fleet, run_tests, wait_for  # noqa: E402

fleet = None
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


def create(key, **body):
    status, sandbox = fleet.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 300, **body}, key=key)
    assert status == 201, sandbox
    return sandbox


def path(sandbox, what=""):
    return f"/sandboxes/{sandbox['sandboxID']}{what}"


def pause(key, sandbox, **body):
    status, answer = fleet.api("POST", path(sandbox, "/pause"), body, key=key)
    assert status == 204, answer


def resume(key, sandbox, **body):
    status, answer = fleet.api("POST", "/v2" + path(sandbox, "/connect"), {"timeout": 300, **body}, key=key)
    assert status == 201 and answer["envdAccessToken"] == sandbox["envdAccessToken"], (status, answer)
    wait_for("the guest", 10, lambda: fleet.in_guest(sandbox, "GET", "/health")[0] == 204, 0.01)


def state(key, sandbox):
    return fleet.api("GET", path(sandbox), key=key)[1].get("state")


def run(key, sandbox, command):
    """What a shell in the guest prints."""
    env = fleet.env(key)
    done = subprocess.run([os.path.join(BIN, "flotilla"), "sandbox", "exec", sandbox["sandboxID"], "--", "bash", "-c", command],
                          env={**os.environ, "FLOTILLA_API_URL": env["E2B_API_URL"], "FLOTILLA_API_KEY": key,
                               "FLOTILLA_GATEWAY_URL": env["E2B_SANDBOX_URL"], "HOME": fleet.root},
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done
    return done.stdout.strip()


def what_runs_goes_on_with_its_memory_its_files_and_its_numbers():
    key = fleet.tenant("memory", concurrentSandboxes=1)
    sandbox = create(key, envVars={"COLOUR": "blue"})
    run(key, sandbox, "echo kept > /home/user/file; mkdir /dev/shm/x; echo memory > /dev/shm/x/y")
    pid = run(key, sandbox, "(n=0; while :; do n=$((n+1)); echo $n > /tmp/m; mv /tmp/m /tmp/n; sleep 0.1; done) >/dev/null 2>&1 & echo $!")
    before = run(key, sandbox, BOOT_ID)
    pause(key, sandbox)
    assert state(key, sandbox) == "paused"
    status, answer = fleet.in_guest(sandbox, "GET", "/health")
    assert status == 502 and answer["message"] == "The sandbox was not found", (status, answer)
    other = create(key)  # it holds none of the quota
    assert fleet.api("DELETE", path(other), key=key)[0] == 204
    time.sleep(1)
    resume(key, sandbox)
    assert state(key, sandbox) == "running" and run(key, sandbox, BOOT_ID) == before
    assert run(key, sandbox, "cat /home/user/file /dev/shm/x/y") == "kept\nmemory"
    assert run(key, sandbox, f"kill -0 {pid} && echo alive") == "alive"
    count = int(run(key, sandbox, "cat /tmp/n"))
    wait_for("it to count on", 10, lambda: int(run(key, sandbox, "cat /tmp/n")) > count)
    assert run(key, sandbox, "echo $COLOUR") == "blue"
    assert abs(int(run(key, sandbox, "date +%s")) - time.time()) < 3, "the clock was not set"
    assert fleet.api("DELETE", path(sandbox), key=key)[0] == 204


def it_can_be_paused_again_and_again():
    key = fleet.tenant("again")
    sandbox = create(key)
    for number in range(4):
        run(key, sandbox, f"echo {number} >> /home/user/rounds; echo {number} >> /dev/shm/rounds")
        pause(key, sandbox)
        resume(key, sandbox)
    assert run(key, sandbox, "cat /home/user/rounds /dev/shm/rounds | tr '\\n' ' '") == "0 1 2 3 0 1 2 3"
    assert fleet.api("DELETE", path(sandbox), key=key)[0] == 204


def files_alone_are_kept_if_that_was_asked():
    key = fleet.tenant("files")
    sandbox = create(key, envVars={"COLOUR": "blue", "QUOTED": "a \"b\"\nc"})
    run(key, sandbox, "echo kept > /home/user/file; echo lost > /dev/shm/file")
    before = run(key, sandbox, BOOT_ID)
    pause(key, sandbox, memory=False)
    resume(key, sandbox)
    assert run(key, sandbox, BOOT_ID) != before
    assert run(key, sandbox, "cat /home/user/file; ls /dev/shm") == "kept"
    # What it was given is there again, also the second time.
    pause(key, sandbox, memory=False)
    resume(key, sandbox)
    assert run(key, sandbox, "echo \"$COLOUR $QUOTED\"") == "blue a \"b\"\nc"
    assert fleet.api("DELETE", path(sandbox), key=key)[0] == 204


def what_was_paused_with_its_memory_boots_anew_if_that_was_asked():
    key = fleet.tenant("cold")
    sandbox = create(key, envVars={"COLOUR": "blue"})
    run(key, sandbox, "echo kept > /home/user/file; sync; echo lost > /dev/shm/file")
    before = run(key, sandbox, BOOT_ID)
    pause(key, sandbox)
    resume(key, sandbox, memory=False)
    assert run(key, sandbox, BOOT_ID) != before
    assert run(key, sandbox, "cat /home/user/file; ls /dev/shm; echo $COLOUR") == "kept\nblue"
    pause(key, sandbox)
    resume(key, sandbox, memory=True)
    assert run(key, sandbox, "cat /home/user/file; echo $COLOUR") == "kept\nblue"
    assert fleet.api("DELETE", path(sandbox), key=key)[0] == 204


def the_time_limit_pauses_if_that_was_asked():
    key = fleet.tenant("limit")
    sandbox = create(key, timeout=2, autoPause=True)
    pid = run(key, sandbox, "sleep 1000 >/dev/null 2>&1 & echo $!")
    wait_for("the limit", 20, lambda: state(key, sandbox) == "paused")
    resume(key, sandbox)
    assert run(key, sandbox, f"kill -0 {pid} && echo alive") == "alive"
    assert fleet.api("DELETE", path(sandbox), key=key)[0] == 204


def what_is_paused_outlives_every_daemon_and_leaves_nothing_when_it_is_ended():
    key = fleet.tenant("restart")
    sandbox = create(key)
    run(key, sandbox, "echo memory > /dev/shm/y")
    pause(key, sandbox)
    agent = fleet.agents[0]
    agent.kill()
    fleet.scheduler.kill()
    fleet.scheduler.start()
    agent.start()
    wait_for("the node", 20, lambda: fleet.api("POST", "/v2" + path(sandbox, "/connect"), {"timeout": 300}, key=key)[0] == 201)
    assert run(key, sandbox, "cat /dev/shm/y") == "memory"
    pause(key, sandbox)
    agent.stop()
    agent.start()
    assert fleet.api("DELETE", path(sandbox), key=key)[0] == 204
    folders = os.path.join(fleet.root, "agent0", "run", "vm")
    wait_for("its folder to go", 20, lambda: not any(
        os.path.exists(os.path.join(folders, name, "saved")) for name in os.listdir(folders)))


def traffic_wakes_what_is_to_be_woken():
    key = fleet.tenant("wake", concurrentSandboxes=1)
    sandbox = create(key, autoPause=True, autoResume={"enabled": True}, timeout=60)
    assert fleet.api("GET", path(sandbox), key=key)[1]["lifecycle"] == {"onTimeout": "pause", "autoResume": True}
    run(key, sandbox, "echo memory > /dev/shm/y")
    pause(key, sandbox)
    other = create(key)
    status, answer = fleet.in_guest(sandbox, "GET", "/health")
    assert status == 429 and "limit" in answer["message"], (status, answer)
    assert fleet.api("DELETE", path(other), key=key)[0] == 204
    began = time.monotonic()
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(fleet.in_guest(sandbox, "GET", "/health")[0])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"   woken, and eight requests answered, in {time.monotonic() - began:.2f} s")
    assert answers == [204] * 8, answers
    wait_for("the scheduler to hear of it", 5, lambda: state(key, sandbox) == "running")
    assert run(key, sandbox, "cat /dev/shm/y") == "memory"
    assert fleet.api("DELETE", path(sandbox), key=key)[0] == 204
    status, answer = fleet.in_guest(sandbox, "GET", "/health")
    assert status == 502 and answer["message"] == "The sandbox was not found", (status, answer)
    url = f"/v1{path(sandbox)}/wake"
    assert fleet.api("POST", url, key=key)[0] == 401 and fleet.api("POST", url, headers={"X-Wake-Token": "0" * 48}.items())[0] == 401


def who_asks_at_the_end_is_told_of_it_as_soon_as_it_is_known():
    key = fleet.tenant("end")
    sandbox = create(key, timeout=2)
    agent, answers = fleet.agents[0].process, []
    agent.send_signal(signal.SIGSTOP)
    try:
        time.sleep(3)  # its shim ends it, and nobody tells the scheduler
        assert state(key, sandbox) == "running"
        thread = threading.Thread(target=lambda: answers.append(fleet.in_guest(sandbox, "GET", "/health")))
        thread.start()
        time.sleep(1)
        assert not answers, answers
        began = time.monotonic()
    finally:
        agent.send_signal(signal.SIGCONT)
    thread.join()
    print(f"   told {time.monotonic() - began:.2f} s after the agent went on")
    assert answers[0][0] == 502 and answers[0][1]["message"] == "The sandbox was not found", answers


def a_pause_costs_nothing():
    key = fleet.tenant("bill")
    sandbox = create(key)
    time.sleep(1.5)
    pause(key, sandbox)
    time.sleep(3)
    resume(key, sandbox)
    time.sleep(1.5)
    assert fleet.api("DELETE", path(sandbox), key=key)[0] == 204

    def bill():
        rows = fleet.api("GET", "/v1/usage", key=key)[1]["sandboxes"]
        return rows[0] if rows and rows[0]["endedAt"] else None
    row = wait_for("the bill", 10, bill)
    assert 3 <= row["seconds"] <= 5, row


if __name__ == "__main__":
    with Fleet(agents=1) as fleet:
        run_tests([
            what_runs_goes_on_with_its_memory_its_files_and_its_numbers,
            it_can_be_paused_again_and_again,
            files_alone_are_kept_if_that_was_asked,
            what_was_paused_with_its_memory_boots_anew_if_that_was_asked,
            the_time_limit_pauses_if_that_was_asked,
            what_is_paused_outlives_every_daemon_and_leaves_nothing_when_it_is_ended,
            traffic_wakes_what_is_to_be_woken,
            who_asks_at_the_end_is_told_of_it_as_soon_as_it_is_known,
            a_pause_costs_nothing,
        ])
