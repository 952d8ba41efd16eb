#!/usr/bin/env python3
"""From a request to a bill, on real microVMs: the promises a tenant can see."""
import json
import os
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from fleet import BIN, Fleet, run_tests, wait_for  # noqa: E402

fleet = None


def create(key, **body):
    return fleet.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 300, **body}, key=key)


def flotilla(key, *words, **options):
    env = {**os.environ, **fleet.env(key), "FLOTILLA_API_URL": fleet.env(key)["E2B_API_URL"],
           "FLOTILLA_GATEWAY_URL": fleet.env(key)["E2B_SANDBOX_URL"], "FLOTILLA_API_KEY": key,
           "HOME": fleet.root, "NO_COLOR": "1"}
    return subprocess.run([os.path.join(BIN, "flotilla"), *words], env=env, capture_output=True, text=True,
                          timeout=120, **options)


def a_request_becomes_a_sandbox_and_then_a_bill():
    key = fleet.tenant("one")
    status, sandbox = create(key, metadata={"purpose": "test"}, envVars={"COLOUR": "blue"})
    assert status == 201, (status, sandbox)
    began = time.time()
    assert fleet.in_guest(sandbox, "GET", "/health")[0] == 204
    status, listed = fleet.api("GET", "/v2/sandboxes", key=key)
    assert status == 200 and [row["sandboxID"] for row in listed] == [sandbox["sandboxID"]], listed
    assert listed[0]["metadata"] == {"purpose": "test"} and listed[0]["state"] == "running", listed
    assert fleet.in_guest(sandbox, "GET", "/envs")[1].get("COLOUR") == "blue"
    time.sleep(2.2)  # what is billed must be there to be seen
    assert fleet.api("DELETE", f"/sandboxes/{sandbox['sandboxID']}", key=key)[0] == 204
    ran = time.time() - began
    status, gone = fleet.api("GET", f"/sandboxes/{sandbox['sandboxID']}", key=key)
    assert status == 404 and gone["code"] == 404, (status, gone)
    status, answer = fleet.in_guest(sandbox, "GET", "/health")
    assert status == 502 and answer["message"] == "The sandbox was not found", (status, answer)

    def bill():
        usage = fleet.api("GET", "/v1/usage", key=key)[1]
        return usage if usage["sandboxes"] and usage["sandboxes"][0]["endedAt"] else None
    usage = wait_for("the bill", 10, bill)
    line = usage["sandboxes"][0]
    assert abs(line["seconds"] - ran) <= 1, (line, ran)
    assert line["vcpuSeconds"] == line["seconds"] * line["vcpus"], line
    assert line["cause"] == "request", line
    nanos = line["vcpuSeconds"] * 14000 + line["seconds"] * line["memoryMiB"] * 4500 // 1024
    assert abs(round(float(usage["total"]) * 1e9) - nanos) <= 1, (usage, nanos)


def the_command_streams_output_and_passes_the_exit_code():
    key = fleet.tenant("two")
    done = flotilla(key, "run", "base", "--env", "A=1", "--", "bash", "-c", "echo out $A; echo err >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, "out 1\n"), done
    assert "err\n" in done.stderr, done
    done = flotilla(key, "run", "base", "--", "cat", input="through stdin\n")
    assert (done.returncode, done.stdout) == (0, "through stdin\n"), done
    done = flotilla(key, "run", "nothing-of-the-kind", "--", "true")
    assert done.returncode == 3 and "nothing-of-the-kind" in done.stderr, done
    assert json.loads(flotilla(key, "sandbox", "ls", "-o", "json").stdout) is not None
    assert fleet.api("GET", "/v2/sandboxes", key=key)[1] == []


def a_job_in_python_runs():
    key = fleet.tenant("three")
    done = flotilla(key, "run", "base", "--", "python3", "-c", "print(6*7)")
    assert (done.returncode, done.stdout) == (0, "42\n"), done


def the_time_limit_ends_a_sandbox_and_says_so():
    key = fleet.tenant("four")
    status, sandbox = create(key, timeout=2)
    assert status == 201, sandbox
    wait_for("the time limit", 15, lambda: fleet.api("GET", f"/sandboxes/{sandbox['sandboxID']}", key=key)[0] == 404)

    def ended():
        rows = fleet.api("GET", "/v1/usage", key=key)[1]["sandboxes"]
        return rows and rows[0]["endedAt"] and rows[0]
    line = wait_for("the bill", 10, ended)
    assert line["cause"] == "timeout" and 2 <= line["seconds"] <= 3, line


def the_time_limit_can_be_moved_and_connect_only_extends():
    key = fleet.tenant("five")
    sandbox = create(key, timeout=60)[1]
    path = f"/sandboxes/{sandbox['sandboxID']}"

    def end():
        return fleet.api("GET", path, key=key)[1]["endAt"]
    first = end()
    status, again = fleet.api("POST", f"/v2{path}/connect", {"timeout": 10}, key=key)
    assert status == 200 and again["envdAccessToken"] == sandbox["envdAccessToken"], again
    assert end() == first
    assert fleet.api("POST", f"{path}/timeout", {"timeout": 600}, key=key)[0] == 204
    assert end() > first
    assert fleet.api("POST", f"{path}/timeout", {"timeout": 1}, key=key)[0] == 204
    wait_for("the shorter limit", 10, lambda: fleet.api("GET", path, key=key)[0] == 404)


def a_tenant_at_its_cap_is_refused_as_e2b_does():
    key = fleet.tenant("capped", "hobby")
    operator = fleet.operator_key()
    made = []
    for _ in range(20):
        status, sandbox = create(key)
        assert status == 201, (status, sandbox)
        made.append(sandbox)
    status, refusal = create(key)
    assert status == 429 and refusal["code"] == 429, (status, refusal)
    assert refusal["message"].startswith("you have reached the maximum number of concurrent E2B sandboxes (20)"), refusal
    assert len(fleet.api("GET", "/v1/sandboxes", key=operator)[1]) >= 20
    for sandbox in made:
        assert fleet.api("DELETE", f"/sandboxes/{sandbox['sandboxID']}", key=key)[0] == 204
    status, sandbox = create(key)
    assert status == 201, (status, sandbox)
    fleet.api("DELETE", f"/sandboxes/{sandbox['sandboxID']}", key=key)


def another_tenants_sandbox_does_not_exist():
    mine, theirs = fleet.tenant("mine"), fleet.tenant("theirs")
    sandbox = create(mine)[1]
    path = f"/sandboxes/{sandbox['sandboxID']}"
    unknown = fleet.api("GET", "/sandboxes/i00000000000000000000", key=theirs)
    for method, where, body in (("GET", path, None), ("DELETE", path, None), ("POST", path + "/timeout", {"timeout": 9}),
                                ("POST", "/v2" + path + "/connect", {})):
        status, answer = fleet.api(method, where, body, key=theirs)
        assert status == 404 and answer["code"] == 404, (method, where, status, answer)
    assert unknown[0] == 404
    wrong = {**sandbox, "envdAccessToken": "0" * 48}
    assert fleet.in_guest(wrong, "GET", "/envs")[0] == 401
    assert fleet.api("DELETE", path, key=mine)[0] == 204


def bad_input_gets_a_clear_error():
    key = fleet.tenant("clumsy")
    for body, status in ((b"{", 400), (b"[]", 400), ({"templateID": 7}, 400), ({}, 400), ({"templateID": "nope"}, 404),
                         ({"templateID": "base", "timeout": -1}, 400), ({"templateID": "base", "timeout": 10 ** 9}, 400),
                         ({"templateID": "base", "metadata": [1]}, 400), (b"x" * (4 << 20), 413)):
        try:
            got, answer = fleet.api("POST", "/v2/sandboxes", body, key=key)
        except (BrokenPipeError, ConnectionResetError):
            assert status == 413  # refused before the whole body was sent
            continue
        assert got == status and answer["code"] == status and answer["message"], (body, got, answer)
    assert fleet.api("GET", "/v2/sandboxes", key="e2b_" + "0" * 40)[0] == 401
    assert fleet.api("GET", "/v2/sandboxes")[0] == 401
    status, answer = fleet.api("PATCH", "/v2/sandboxes", key=key)
    assert status == 405, (status, answer)


def garbage_on_any_port_harms_nobody():
    key = fleet.tenant("patient")
    sandbox = create(key)[1]
    ports = [*fleet.scheduler.addresses.values(), *fleet.gateway.addresses.values()]
    for address in ports:
        host, port = address.rsplit(":", 1)
        for noise in (os.urandom(4096), b"GET / HTTP/1.1\r\n" + b"A" * 100000, b"\0" * 10, b"POST /v2/sandboxes HTTP/1.1\r\nContent-"):
            with socket.create_connection((host, int(port)), timeout=5) as connection:
                try:
                    connection.sendall(noise)
                    connection.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
    assert fleet.in_guest(sandbox, "GET", "/health")[0] == 204
    assert fleet.api("DELETE", f"/sandboxes/{sandbox['sandboxID']}", key=key)[0] == 204
    assert all(daemon.alive() for daemon in (fleet.scheduler, fleet.gateway, *fleet.agents))


def a_closed_port_and_a_served_one_are_told_apart():
    key = fleet.tenant("server")
    sandbox = create(key)[1]
    status, answer = fleet.in_guest(sandbox, "GET", "/", port=8000)
    assert status == 502 and answer["message"] == "The sandbox is running but port is not open", (status, answer)
    done = flotilla(key, "sandbox", "exec", sandbox["sandboxID"], "--", "bash", "-c",
                    "cd /tmp && echo served > f && (setsid python3 -m http.server 8000 >/dev/null 2>&1 &)")
    assert done.returncode == 0, done
    status, body = wait_for("the guest's server", 30, lambda: (
        lambda answer: answer if answer[0] == 200 else None)(fleet.in_guest(sandbox, "GET", "/f", port=8000)))
    assert body == "served\n", body
    assert fleet.in_guest(sandbox, "POST", "/init", {})[0] == 404
    assert fleet.api("DELETE", f"/sandboxes/{sandbox['sandboxID']}", key=key)[0] == 204


if __name__ == "__main__":
    with Fleet(agents=1, agent_options=["--capacity-vcpus", "64", "--capacity-mem", "64GiB"]) as fleet:
        run_tests([
            a_request_becomes_a_sandbox_and_then_a_bill,
            the_command_streams_output_and_passes_the_exit_code,
            a_job_in_python_runs,
            the_time_limit_ends_a_sandbox_and_says_so,
            the_time_limit_can_be_moved_and_connect_only_extends,
            a_closed_port_and_a_served_one_are_told_apart,
            another_tenants_sandbox_does_not_exist,
            bad_input_gets_a_clear_error,
            garbage_on_any_port_harms_nobody,
            a_tenant_at_its_cap_is_refused_as_e2b_does,
        ])
