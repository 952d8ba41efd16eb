#!/usr/bin/env python3
"""What was told "running" still answers after a daemon was killed, and every second is billed once."""
import os
import sqlite3
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from fleet import BIN, Fleet, run_tests, wait_for  # noqa: E402

fleet = None


def create(key, seconds=60):
    return fleet.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 600}, key=key, seconds=seconds)


def bills(key, sandboxes):
    def probe():
        rows = fleet.api("GET", "/v1/usage", key=key)[1]["sandboxes"]
        rows = {row["sandboxID"]: row for row in rows}
        return rows if all(rows.get(name, {}).get("endedAt") for name in sandboxes) else None
    return wait_for("the bills", 30, probe)


def the_scheduler_is_killed_in_the_middle_of_creates():
    key = fleet.tenant("steady")
    told, lock, stopping = {}, threading.Lock(), threading.Event()

    def creator():
        while not stopping.is_set():
            try:
                status, answer = create(key, 20)
            except OSError:
                time.sleep(0.05)  # the scheduler is away
                continue
            if status == 201:
                with lock:
                    told[answer["sandboxID"]] = (answer, time.time())
            elif status in (500, 503, 504):
                time.sleep(0.05)

    threads = [threading.Thread(target=creator) for _ in range(3)]
    for thread in threads:
        thread.start()
    for round_number in range(3):
        wait_for("creates", 60, lambda n=len(told): len(told) >= n + 2)
        fleet.scheduler.kill()
        time.sleep(0.2)
        fleet.scheduler.start()
    wait_for("creates after the last restart", 60, lambda n=len(told): len(told) >= n + 2)
    stopping.set()
    for thread in threads:
        thread.join()
    for name, (sandbox, _) in told.items():
        assert fleet.in_guest(sandbox, "GET", "/health")[0] == 204, name
        assert fleet.api("GET", f"/sandboxes/{name}", key=key)[0] == 200, name
    finish(key, told)


def an_agent_is_killed_with_sandboxes_running():
    key = fleet.tenant("calm")
    told = {}
    for _ in range(3):
        status, sandbox = create(key)
        assert status == 201, sandbox
        told[sandbox["sandboxID"]] = (sandbox, time.time())
    before = set(fleet.vm_processes())
    fleet.agents[0].kill()
    for sandbox, _ in told.values():
        assert fleet.in_guest(sandbox, "GET", "/health")[0] == 204  # while no agent is there
    time.sleep(1)
    fleet.agents[0].start()
    for sandbox, _ in told.values():
        assert fleet.in_guest(sandbox, "GET", "/health")[0] == 204
    assert before <= set(fleet.vm_processes()), "a microVM did not outlive its agent"
    status, sandbox = create(key)
    assert status == 201, sandbox
    told[sandbox["sandboxID"]] = (sandbox, time.time())
    finish(key, told)


def a_scheduler_put_back_from_a_copy_learns_the_rest_from_the_agents_journal():
    key, other = fleet.tenant("restored"), fleet.tenant("before")
    state, copy = fleet.path("scheduler"), fleet.path("copy")
    program = [os.path.join(BIN, "flotilla"), "backup"]
    finish(other, {made["sandboxID"]: (made, time.time()) for made in [create(other)[1]]})
    subprocess.run([*program, "create", copy, "--state-dir", state, "--with-secrets"], check=True, capture_output=True)
    runs_on = create(key)[1]
    ended = {made["sandboxID"]: (made, time.time()) for made in [create(other)[1], create(other)[1]]}
    finish(other, ended)
    path = os.path.join(state, "scheduler.db")
    wanted = {row[:2]: row for row in facts(path)}
    fleet.scheduler.kill()
    subprocess.run([*program, "restore", copy, "--state-dir", state, "--force"], check=True, capture_output=True)
    fleet.scheduler.start()
    wait_for("the journal again", 30, lambda: set(wanted) <= {row[:2] for row in facts(path)})
    assert all(wanted[row[:2]] == row for row in facts(path) if row[:2] in wanted)
    assert fleet.in_guest(runs_on, "GET", "/health")[0] == 204
    status, sandbox = create(key)  # nodes take orders of the new epoch
    assert status == 201 and fleet.in_guest(sandbox, "GET", "/health")[0] == 204, sandbox
    assert fleet.api("DELETE", "/sandboxes/" + sandbox["sandboxID"], key=key)[0] == 204
    subprocess.run([os.path.join(BIN, "flotilla"), "ledger", "verify", "--state-dir", state], check=True, capture_output=True)


def facts(path):
    """What nodes said, by node and sequence."""
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return database.execute("SELECT node, seq, kind, sandbox, from_ms, to_ms, cause FROM usage_event").fetchall()
    finally:
        database.close()


def finish(key, told):
    """Kills every sandbox, those of requests that were cut off too, and compares record and ledger."""
    ended = {}
    for row in fleet.api("GET", "/v2/sandboxes?limit=100", key=key)[1]:
        assert fleet.api("DELETE", f"/sandboxes/{row['sandboxID']}", key=key)[0] in (204, 404)
        ended[row["sandboxID"]] = time.time()
    assert set(told) <= set(ended), set(told) - set(ended)
    rows = bills(key, told)
    for name, (_, started) in told.items():
        seen = ended[name] - started
        assert abs(rows[name]["seconds"] - seen) <= 1.5, (rows[name], seen)
    assert fleet.api("GET", "/v1/limits", key=key)[1]["concurrentSandboxes"]["current"] == 0


if __name__ == "__main__":
    with Fleet(agents=1, agent_options=["--capacity-vcpus", "256", "--capacity-mem", "256GiB"]) as fleet:
        run_tests([
            the_scheduler_is_killed_in_the_middle_of_creates,
            an_agent_is_killed_with_sandboxes_running,
            a_scheduler_put_back_from_a_copy_learns_the_rest_from_the_agents_journal,
        ])
