#!/usr/bin/env python3
"""
What sandboxes reach, on real microVMs, in a world of the test's own: it and its fleet live in a network namespace
whose only way out leads to the servers of tests/lib/internet.py.
"""
import os
import re
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from fleet import BIN, DAEMONS, Fleet, ensure_template, run_tests, wait_for  # noqa: E402
from internet import DNS, HOST, World  # noqa: E402
import subprocess  # noqa: E402

fleet = world = None
ALL = ["0.0.0.0/0"]


def create(key, **body):
    status, sandbox = fleet.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 300, **body}, key=key)
    assert status == 201, sandbox
    return sandbox


def kill(key, sandbox):
    assert fleet.api("DELETE", f"/sandboxes/{sandbox['sandboxID']}", key=key)[0] == 204


def shell(key, sandbox, command, seconds=60):
    """What a shell in the guest prints, as a list of lines."""
    env = fleet.env(key)
    done = subprocess.run([os.path.join(BIN, "flotilla"), "sandbox", "exec", sandbox["sandboxID"], "--", "bash", "-c", command],
                          env={**os.environ, "FLOTILLA_API_URL": env["E2B_API_URL"], "FLOTILLA_API_KEY": key,
                               "FLOTILLA_GATEWAY_URL": env["E2B_SANDBOX_URL"], "HOME": fleet.root},
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)
    return done.stdout.strip().splitlines()


def gets(key, sandbox, *urls):
    """For each URL who answered, or "-"."""
    return shell(key, sandbox, "; ".join(f"curl -s -m 15 {url} || echo -" for url in urls))


def keepers():
    """The pids of all keepers of this fleet's sandboxes."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/exe").startswith(os.path.abspath(DAEMONS)) and \
                    open(f"/proc/{pid}/comm").read().strip() == "flotilla-egress":
                found.append(int(pid))
        except OSError:
            pass
    return found


def all_but_what_is_closed_is_reached():
    key = fleet.tenant("open")
    sandbox = create(key)
    assert len(keepers()) == 1
    answers = gets(key, sandbox, "http://203.0.113.10:8080/", "http://good.example/", "http://10.9.9.9/", f"http://{HOST}/",
                   "http://169.254.169.254/", "http://inside.example/", "http://169.254.0.22/", "http://[2001:db8::1]/")
    assert re.match(r"203\.0\.113\.10:8080 got", answers[0]) and re.match(r"203\.0\.113\.10:80 got", answers[1]), answers
    assert answers[2:] == ["-"] * 6, answers
    echo = "import socket; s = socket.socket(2, 2); s.settimeout(5); s.sendto(b'abc', ('203.0.113.10', 7777)); print(s.recv(9))"
    assert shell(key, sandbox, f'python3 -c "{echo}"') == ["b'cba'"]
    kill(key, sandbox)
    wait_for("its keeper to be gone", 10, lambda: not keepers())


def who_may_reach_nothing_has_no_network():
    key = fleet.tenant("closed")
    for body in ({"allow_internet_access": False}, {"network": {"denyOut": ALL}}):
        sandbox = create(key, **body)
        assert keepers() == [], "nothing is kept for it"
        assert gets(key, sandbox, "http://203.0.113.10:8080/", "http://good.example/") == ["-", "-"]
        kill(key, sandbox)


def addresses_and_names_are_allowed():
    key = fleet.tenant("some")
    sandbox = create(key, network={"denyOut": ALL, "allowOut": ["203.0.113.11", "*.good.example"]})
    answers = gets(key, sandbox, "http://203.0.113.11:8080/", "http://www.good.example/", "http://other.example/",
                   "http://203.0.113.10:8080/", "-H 'Host: www.good.example' http://203.0.113.10/")
    assert answers[0].startswith("203.0.113.11:8080 ") and answers[1].startswith("203.0.113.10:80 "), answers
    assert answers[2:4] == ["-", "-"] and answers[4].startswith("203.0.113.10:80 "), answers
    assert "other.example" not in world.asked and "www.good.example" in world.asked, world.asked
    neighbour = create(key)
    server = "python3 -m http.server 8080 >/dev/null 2>&1 & for i in {1..50}; do sleep 0.3; " \
             "curl -s -m 5 -o /dev/null http://169.254.0.21:8080/ && echo up && break; done"
    assert shell(key, neighbour, server) == ["up"]
    assert gets(key, sandbox, "http://169.254.0.22:8080/") == ["-"], "each has a network of its own"
    kill(key, sandbox)
    kill(key, neighbour)


def change(key, sandbox, **body):
    status, answer = fleet.api("PUT", f"/sandboxes/{sandbox['sandboxID']}/network", body, key=key)
    assert status == 204, answer


def what_may_be_reached_is_changed_while_it_runs():
    key = fleet.tenant("live")
    sandbox = create(key, network={"allowPublicTraffic": False})
    path = f"/sandboxes/{sandbox['sandboxID']}"
    shell(key, sandbox, "(exec 3<>/dev/tcp/203.0.113.10/8080; echo hello >&3; read a <&3; while echo x >&3; do sleep 0.1; done; "
                        "echo ended > /tmp/ended) >/dev/null 2>&1 & sleep 1")
    assert gets(key, sandbox, "http://203.0.113.10:8080/")[0] != "-"
    change(key, sandbox, denyOut=ALL, allowOut=["*.good.example"])
    answers = gets(key, sandbox, "http://203.0.113.10:8080/", "http://www.good.example/")
    assert answers[0] == "-" and answers[1].startswith("203.0.113.10:80 "), answers
    wait_for("what was open to end", 10, lambda: shell(key, sandbox, "cat /tmp/ended") == ["ended"], 0.1)
    detail = fleet.api("GET", path, key=key)[1]
    assert detail["network"] == {"allowPublicTraffic": False, "denyOut": ALL, "allowOut": ["*.good.example"]}, detail
    assert detail["allowInternetAccess"] is None, detail
    change(key, sandbox, allow_internet_access=False)
    assert gets(key, sandbox, "http://www.good.example/") == ["-"]
    assert fleet.api("GET", path, key=key)[1]["allowInternetAccess"] is False
    fleet.agents[0].kill()
    fleet.agents[0].start()
    change(key, sandbox)
    assert gets(key, sandbox, "http://203.0.113.10:8080/")[0] != "-"
    detail = fleet.api("GET", path, key=key)[1]
    assert detail["allowInternetAccess"] is None and detail["network"] == {"allowPublicTraffic": False}, detail
    for body, word in (({"denyOut": ["x"]}, "invalid denied CIDR x"), ({"allowOut": ["a.example"]}, "ALL_TRAFFIC"), ({"allowOut": 1}, "allowOut")):
        status, answer = fleet.api("PUT", path + "/network", body, key=key)
        assert status == 400 and word in answer["message"], answer
    assert fleet.api("PUT", path + "/network", {}, key=fleet.tenant("other"))[0] == 404
    change(key, sandbox, denyOut=ALL, allowOut=["203.0.113.11"])
    assert fleet.api("POST", path + "/pause", {}, key=key)[0] == 204
    status, answer = fleet.api("PUT", path + "/network", {}, key=key)
    assert status == 409 and answer["code"] == 409, answer
    assert fleet.api("POST", f"/v2{path}/connect", {"timeout": 300}, key=key)[0] == 201
    answers = gets(key, sandbox, "http://203.0.113.11:8080/", "http://203.0.113.10:8080/")
    assert answers[0].startswith("203.0.113.11:8080 ") and answers[1] == "-", "the last change holds after a pause, too"
    kill(key, sandbox)
    assert fleet.api("PUT", path + "/network", {}, key=key)[0] == 404


def a_network_is_given_to_what_had_none():
    key = fleet.tenant("later")
    sandbox = create(key, allow_internet_access=False)
    assert keepers() == [] and gets(key, sandbox, "http://good.example/") == ["-"]
    change(key, sandbox, denyOut=ALL, allowOut=["good.example"])
    answers = gets(key, sandbox, "http://good.example/", "http://other.example/")
    assert answers[0].startswith("203.0.113.10:80 ") and answers[1] == "-", answers
    kill(key, sandbox)


def a_pause_keeps_what_may_be_reached():
    key = fleet.tenant("pause")
    sandbox = create(key, network={"denyOut": ALL, "allowOut": ["good.example"]})
    assert gets(key, sandbox, "http://good.example/")[0].startswith("203.0.113.10:80 ")
    assert fleet.api("POST", f"/sandboxes/{sandbox['sandboxID']}/pause", {}, key=key)[0] == 204
    wait_for("its keeper to be gone", 10, lambda: not keepers())
    assert fleet.api("POST", f"/v2/sandboxes/{sandbox['sandboxID']}/connect", {"timeout": 300}, key=key)[0] == 201
    assert len(keepers()) == 1
    answers = gets(key, sandbox, "http://good.example/", "http://other.example/")
    assert answers[0].startswith("203.0.113.10:80 ") and answers[1] == "-", answers
    kill(key, sandbox)


def a_keeper_that_dies_has_a_successor_and_none_outlives_its_sandbox():
    key = fleet.tenant("crash")
    sandbox = create(key)
    wait_for("one keeper", 10, lambda: len(keepers()) == 1)
    os.kill(keepers()[0], signal.SIGKILL)

    def reaches():
        return gets(key, sandbox, "http://203.0.113.10:8080/")[0] != "-"

    wait_for("another", 20, reaches, 0.2)
    fleet.agents[0].kill()
    assert reaches(), "the agent is not needed for it"
    for pid, line in fleet.vm_processes().items():
        if "flotilla-shim" in line:
            os.kill(pid, signal.SIGKILL)
    wait_for("its keeper to be gone", 10, lambda: not keepers())
    fleet.agents[0].start()
    fleet.wait_warm(1)


def build(key, name, *lines):
    """Begins one upon base; (what tells how it is, the template's id)."""
    status, made = fleet.api("POST", "/v3/templates", {"name": name}, key=key)
    assert status == 202, made
    path = f"/templates/{made['templateID']}/builds/{made['buildID']}"
    steps = [{"type": "RUN", "args": [line, "root"]} for line in lines]
    status, answer = fleet.api("POST", "/v2" + path, {"fromTemplate": "base", "force": True, "steps": steps}, key=key)
    assert status == 202, answer
    return lambda: fleet.api("GET", path + "/status", key=key)[1], made["templateID"]


def ended(status):
    return wait_for("the build", 120, lambda: (lambda it: it if it["status"] in ("ready", "error") else None)(status()), 0.2)


def steps_of_a_build_reach_what_sandboxes_do():
    key = fleet.tenant("builds")
    status, template = build(
        key, "fetched", "curl -sf -m 15 http://good.example/ >/opt/got", "grep -q 169.254.0.22 /etc/resolv.conf",
        "curl -sf -m 5 http://10.9.9.9/ || echo closed >/opt/closed", "curl -sf -m 15 http://203.0.113.10:8080/ >>/opt/got; sleep 1")
    wait_for("its keeper", 60, lambda: len(keepers()) == 1 or status()["status"] == "error", 0.05)
    it = ended(status)
    assert it["status"] == "ready", it
    assert keepers() == [], "of a build nothing is left"
    sandbox = create(key, templateID=template, allow_internet_access=False)
    lines = shell(key, sandbox, "cat /opt/got /opt/closed; stat -c %s /etc/resolv.conf; cat /sys/class/net/eth0/operstate")
    assert lines[0].startswith("203.0.113.10:80 ") and lines[1].startswith("203.0.113.10:8080 "), lines
    assert lines[2:4] == ["closed", "0"] and lines[4:] in ([], ["down"]), lines
    assert keepers() == [] and gets(key, sandbox, "http://good.example/") == ["-"]
    kill(key, sandbox)
    sandbox = create(key, templateID=template)
    assert gets(key, sandbox, "http://good.example/")[0] != "-"
    kill(key, sandbox)


def a_builder_that_is_killed_takes_its_keeper_with_it():
    key = fleet.tenant("killed")
    status, _ = build(key, "killed", "curl -sf -m 15 http://good.example/ && sleep 60")
    wait_for("its keeper", 60, lambda: len(keepers()) == 1, 0.05)
    subprocess.run(["pkill", "-KILL", "-f", "flotilla-template build .*" + re.escape(fleet.root)], check=True)
    wait_for("its keeper to be gone", 10, lambda: not keepers())
    assert ended(status)["status"] == "error"


def main():
    global fleet, world
    ensure_template()  # from Debian's mirror, which the world below does not have
    world = World(here=True)
    with Fleet(agents=1, agent_options=["--egress", "on", "--egress-dns", DNS]) as fleet:
        run_tests([all_but_what_is_closed_is_reached, who_may_reach_nothing_has_no_network, addresses_and_names_are_allowed,
                   a_pause_keeps_what_may_be_reached, what_may_be_reached_is_changed_while_it_runs,
                   a_network_is_given_to_what_had_none, steps_of_a_build_reach_what_sandboxes_do,
                   a_builder_that_is_killed_takes_its_keeper_with_it, a_keeper_that_dies_has_a_successor_and_none_outlives_its_sandbox])


main()
