#!/usr/bin/env python3
"""Three agents with declared room for sixty sandboxes, a hundred asked: nothing is oversold, and the
ledger agrees with what this test itself saw the virtual machines do."""
import concurrent.futures
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from fleet import Fleet, run_tests, wait_for  # noqa: E402

AGENTS, ROOM, ASKED = 3, 20, 100
fleet = None


class Sampler(threading.Thread):
    """Watches what the nodes hold and when each microVM is there, all along."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most, self.samples, self.over = {}, 0, []
        self.stopping = threading.Event()

    def run(self):
        operator = fleet.operator_key()
        while not self.stopping.wait(0.1):
            status, nodes = fleet.api("GET", "/v1/nodes", key=operator)
            if status != 200:
                continue
            self.samples += 1
            for node in nodes:
                for what in ("vcpus", "memoryMiB", "sandboxes"):
                    held, declared = node["committed"][what], node["capacity"][what]
                    if declared and held > declared:
                        self.over.append((node["name"], what, held, declared))
                self.most[node["name"]] = max(self.most.get(node["name"], 0), node["committed"]["sandboxes"])


def a_hundred_asked_and_exactly_sixty_run():
    key = fleet.tenant("crowd", "pro")
    sampler = Sampler()
    sampler.start()
    started, ended = {}, {}  # (before asking, after the answer): what is asked for happens in between

    def create(_):
        asked = time.time()
        status, answer = fleet.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 3000}, key=key, seconds=300)
        if status == 201:
            started[answer["sandboxID"]] = (asked, time.time())
        return status, answer

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(ASKED)))
    made = [answer for status, answer in answers if status == 201]
    refused = [answer for status, answer in answers if status == 503]
    assert (len(made), len(refused)) == (AGENTS * ROOM, ASKED - AGENTS * ROOM), [s for s, _ in answers]
    assert all(answer["error_code"] == "sandbox_capacity_unavailable" for answer in refused), refused[0]
    for sandbox in made:
        assert fleet.in_guest(sandbox, "GET", "/health")[0] == 204, sandbox
    assert len({answer["sandboxID"] for answer in made}) == AGENTS * ROOM

    def kill(sandbox):
        asked = time.time()
        status = fleet.api("DELETE", f"/sandboxes/{sandbox['sandboxID']}", key=key, seconds=60)[0]
        ended[sandbox["sandboxID"]] = (asked, time.time())
        return status
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(kill, made)) == {204}
    sampler.stopping.set()
    sampler.join()
    assert sampler.samples > 20 and not sampler.over, (sampler.samples, sampler.over[:5])
    assert all(most == ROOM for most in sampler.most.values()) and len(sampler.most) == AGENTS, sampler.most

    def usage():
        rows = fleet.api("GET", "/v1/usage", key=key)[1]["sandboxes"]
        return rows if len(rows) == len(made) and all(row["endedAt"] for row in rows) else None
    rows = wait_for("the ledger", 30, usage)
    worst = 0
    for row in rows:
        start, end = started[row["sandboxID"]], ended[row["sandboxID"]]
        least, most = end[0] - start[1], end[1] - start[0]
        assert least - 1 <= row["seconds"] <= most + 1, (row, least, most)
        worst = max(worst, abs(row["seconds"] - (least + most) / 2))
    print(f"   {len(rows)} sandboxes; ledger and record differ by {worst:.2f} s at the most")


if __name__ == "__main__":
    with Fleet(agents=AGENTS, agent_options=["--capacity-sandboxes", str(ROOM), "--capacity-vcpus", "4096",
                                             "--capacity-mem", "1TiB", "--capacity-disk", "1024TiB"]) as fleet:
        run_tests([a_hundred_asked_and_exactly_sixty_run])
