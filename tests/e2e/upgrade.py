#!/usr/bin/env python3
"""The agent is replaced by another build while a tenant streams output and holds a connection: both go on unbroken."""
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from fleet import BIN, BUILD, ROOT, Failed, Fleet, run_tests, wait_for  # noqa: E402
from streams import Output, connect, serve_echo  # noqa: E402

NEWER = os.path.join(os.path.dirname(os.path.abspath(BUILD)), "newer")
NEWER_VERSION = "99.0.0"

fleet = None


def build_newer():
    for argv in (["cmake", "-S", ROOT, "-B", NEWER, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DFLOTILLA_TESTS=OFF",
                  f"-DFLOTILLA_VERSION={NEWER_VERSION}"],
                 ["cmake", "--build", NEWER, "--target", "flotilla-agent", "flotilla-shim"]):
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"{' '.join(argv)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def version():
    rows = fleet.api("GET", "/v1/nodes", key=fleet.operator_key())[1]
    return rows[0].get("version")


def replaced(end):
    """One life of a sandbox across a change of agents and back."""
    key = fleet.tenant("upgrade")
    began = time.time()
    status, sandbox = fleet.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 600}, key=key)
    assert status == 201, sandbox
    env = {"FLOTILLA_API_URL": fleet.env(key)["E2B_API_URL"], "FLOTILLA_API_KEY": key,
           "FLOTILLA_GATEWAY_URL": fleet.env(key)["E2B_SANDBOX_URL"], "HOME": fleet.root}
    serve_echo(fleet, env, sandbox)
    output = Output(env, sandbox)
    connection = connect(fleet.gateway.addresses["tenants"], sandbox)
    wait_for("output", 20, lambda: len(output.lines) > 5)
    agent = fleet.agents[0]
    old = agent.argv[0]
    for program, wanted in ((os.path.join(NEWER, "bin", "flotilla-agent"), NEWER_VERSION), (old, None)):
        end(agent)
        time.sleep(0.5)  # it is away for a while
        agent.argv[0] = program
        agent.start()
        if wanted:
            wait_for("the newer agent", 20, lambda: version() == wanted)
        else:
            wait_for("the older agent", 20, lambda: version() != NEWER_VERSION)
        output.check_goes_on()
        connection.check_goes_on()
    connection.close()
    output.check()
    output.close()
    assert fleet.api("DELETE", f"/sandboxes/{sandbox['sandboxID']}", key=key)[0] == 204
    ran = time.time() - began

    def bill():
        rows = fleet.api("GET", "/v1/usage", key=key)[1]["sandboxes"]
        return rows[0] if rows and rows[0]["endedAt"] else None
    row = wait_for("the bill", 20, bill)
    assert abs(row["seconds"] - ran) <= 1.5, (row, ran)


def an_agent_told_to_stop_is_replaced_and_streams_go_on():
    replaced(lambda agent: agent.stop())


def an_agent_killed_is_replaced_and_streams_go_on():
    replaced(lambda agent: agent.kill(signal.SIGKILL))


if __name__ == "__main__":
    build_newer()
    with Fleet(agents=1) as fleet:
        run_tests([an_agent_told_to_stop_is_replaced_and_streams_go_on, an_agent_killed_is_replaced_and_streams_go_on])
