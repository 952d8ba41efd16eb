"""Templates go from node to node: three agents, each with a store of its own, of which one has the template.

The second gets it because it shall be everywhere, and its sandboxes run; the third's copy is cut off in the
middle by the death of its agent and of the gateway, and goes on with what it had.
"""
import os
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from fleet import BIN, DAEMONS, TEMPLATES, Failed, Fleet, run_tests, wait_for  # noqa: E402


def snapshots(store):
    path = os.path.join(store, "snapshot")
    return sorted(os.listdir(path)) if os.path.isdir(path) else []


def offered(fleet, name="base"):
    """By how many nodes."""
    status, rows = fleet.api("GET", "/v1/templates", key=fleet.operator_key())
    return next((row["nodes"] for row in rows if row["name"] == name), 0) if status == 200 else 0


def own_store(fleet, number):
    store = fleet.path(f"store{number}")
    os.makedirs(store)
    return fleet.add_agent(number, ["--template-dir", store]), store


def run_on(fleet, key, node):
    """A sandbox that runs a command, on the node of that name."""
    status, made = fleet.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 60}, key=key)
    assert status == 201, (status, made)
    status, text = fleet.in_guest(made, "GET", "/health")
    assert status in (200, 204), (status, text)
    status, sandboxes = fleet.api("GET", "/v1/nodes", key=fleet.operator_key())
    return made, sandboxes


def a_template_goes_where_it_is_wanted():
    with Fleet(agents=1, agent_options=["--capacity-sandboxes", "2", "--pool-floor", "1", "--pool-ceiling", "2"],
               scheduler_options=["--templates-everywhere", "base"]) as fleet:
        key = fleet.tenant("acme")
        began = time.monotonic()
        _, store = own_store(fleet, 1)
        wait_for("the second node to offer it", 60, lambda: offered(fleet) == 2)
        took = time.monotonic() - began
        assert snapshots(store) == [os.path.basename(os.path.realpath(os.path.join(TEMPLATES, "name", "base")))]
        assert os.listdir(os.path.join(store, "fetch")) == [] and os.listdir(os.path.join(store, "tmp")) == []
        used = sum(int(subprocess.run(["du", "-sk", os.path.join(store, part)], capture_output=True, text=True).stdout.split()[0])
                   for part in ("snapshot", "rootfs"))
        print(f"# {used // 1024} MiB on another node's disk, and offered, {took:.1f} s after its start")
        # Four sandboxes need both nodes; each answers.
        for _ in range(4):
            status, made = fleet.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 60}, key=key)
            assert status == 201, (status, made)
            assert fleet.in_guest(made, "GET", "/health")[0] == 204
        a_copy_that_is_cut_off_goes_on(fleet)


def partial(store):
    """Bytes of a copy that is under way."""
    path = os.path.join(store, "fetch")
    if not os.path.isdir(path):
        return 0
    return sum(int(line.split()[0]) * 1024 for line in
               subprocess.run(["du", "-sk", path], capture_output=True, text=True).stdout.splitlines())


def carriers(store):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as file:
                words = file.read().split("\0")
            if words[0].endswith("/flotilla-carry") and words[1] == "fetch":
                found.append(int(pid))
        except (OSError, IndexError):
            pass
    return found


def a_copy_that_is_cut_off_goes_on(fleet):
    agent, store = own_store(fleet, 2)
    wait_for("a part of it", 60, lambda: partial(store) > 20 << 20, 0.005)
    copies = fleet.api("GET", "/v1/transfers", key=fleet.operator_key())[1]
    assert [(it["template"], it["state"], it["bytes"] > 0) for it in copies] == [("base", "copying", True)], copies
    assert snapshots(store) == [] and not os.path.exists(os.path.join(store, "name", "base"))
    agent.kill()
    wait_for("its child to end with it", 5, lambda: not carriers(store))
    had = partial(store)
    fleet.gateway.kill()
    assert snapshots(store) == []
    fleet.gateway.start()
    agent.start()
    wait_for("the third node to offer it", 100, lambda: offered(fleet) == 3)
    assert snapshots(store) == [os.path.basename(os.path.realpath(os.path.join(TEMPLATES, "name", "base")))]
    print(f"# cut off with {had >> 20} MiB, whole after that")


if __name__ == "__main__":
    run_tests([a_template_goes_where_it_is_wanted])
