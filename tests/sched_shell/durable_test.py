#!/usr/bin/env python3
"""What was told is durable: through kills in the middle of creates, and through a full disk."""
import os
import signal
import sqlite3
import threading
import time

from rig import Failed, Rig, run_tests, wait_for


def rows(rig, sql):
    with sqlite3.connect(f"file:{rig.path('state', 'scheduler.db')}?mode=ro", uri=True) as books:
        return books.execute(sql).fetchall()


def creators(rig, key, told, stopping, n=4):
    """Threads that create, and put what they are told into `told`."""
    def create():
        while not stopping.is_set():
            try:
                status, answer = rig.create(key, timeout=3600)
            except OSError:
                time.sleep(0.02)  # the scheduler is away
                continue
            if status == 201:
                told.append(answer["sandboxID"])
            elif status in (500, 503, 504):
                time.sleep(0.02)
            else:
                raise AssertionError(answer)
    threads = [threading.Thread(target=create) for _ in range(n)]
    for thread in threads:
        thread.start()
    return threads


def listed(rig, key):
    found, token = {}, ""
    while token is not None:
        status, page = rig.api("GET", "/v2/sandboxes?limit=100&nextToken=" + token, key=key)
        assert status == 200, page
        found.update((row["sandboxID"], row) for row in page)
        token = rig.last["X-Next-Token"]
    return found


def settle_and_compare(rig, key):
    """Ends everything and compares the ledger with what the nodes know of their own."""
    def end_all():
        for name in listed(rig, key):
            assert rig.api("DELETE", "/sandboxes/" + name, key=key)[0] in (204, 404)

    def is_calm():
        # One that was being started when a kill came is listed only once its node has joined again.
        end_all()
        return rig.api("GET", "/v1/limits", key=key)[1]["concurrentSandboxes"]["current"] == 0
    end_all()
    try:
        wait_for("calm", 30, is_calm)
    except Failed:
        print("   not ended:", rows(rig, "SELECT id, node, state, cause, attempt, tries, created_at, started_at"
                                         " FROM sandbox WHERE state <> 4"))
        raise
    time.sleep(0.3)
    ran = {}
    for agent in rig.agents:
        ran.update(rig.truth(agent))
    billed = dict(rows(rig, "SELECT sandbox, sum(seconds) FROM rated_line WHERE meter = 1 GROUP BY sandbox"))
    assert set(billed) == set(ran), (len(billed), len(ran), list(set(billed) ^ set(ran))[:5])
    for name, ms in ran.items():
        assert billed[name] == max(1, (ms + 500) // 1000), (name, ms, billed[name])
    assert rows(rig, "SELECT node, seq FROM usage_event GROUP BY node, seq HAVING count(*) > 1") == []
    gaps = rows(rig, "SELECT node, count(*), max(seq) FROM usage_event GROUP BY node HAVING count(*) > max(seq)")
    assert gaps == [], gaps
    assert rows(rig, "SELECT 1 FROM sandbox WHERE state <> 4") == []
    return ran


def what_was_told_running_survives_kill_9_in_the_middle_of_creates():
    with Rig(agents=2, agent_options=["--sandboxes", "4000", "--usage-ms", "300"]) as rig:
        key = rig.tenant("steady", "enterprise", concurrentSandboxes=8000)
        told, stopping = [], threading.Event()
        threads = creators(rig, key, told, stopping)
        try:
            for _ in range(5):
                wait_for("creates", 30, lambda n=len(told): len(told) >= n + 20)
                rig.scheduler.kill(signal.SIGKILL)
                began = time.monotonic()
                rig.scheduler.start()
                print(f"   up again after {time.monotonic() - began:.2f} s with {len(told)} told")
            wait_for("creates after the last restart", 30, lambda n=len(told): len(told) >= n + 20)
        finally:
            stopping.set()
            for thread in threads:
                thread.join()
        found = listed(rig, key)
        assert set(told) <= set(found), set(told) - set(found)
        epochs = rows(rig, "SELECT value FROM meta WHERE name = 'epoch'")
        assert epochs == [(6,)], epochs
        ran = settle_and_compare(rig, key)
        print(f"   {len(told)} were told running, {len(ran)} ran, and each is billed once")


def a_full_disk_refuses_new_work_and_heals_by_itself():
    with Rig(agents=1, agent_options=["--sandboxes", "4000", "--usage-ms", "300"]) as rig:
        key = rig.tenant("steady", "enterprise", concurrentSandboxes=8000)
        told, stopping = [], threading.Event()
        threads = creators(rig, key, told, stopping)
        try:
            for _ in range(3):
                wait_for("creates", 30, lambda n=len(told): len(told) >= n + 20)
                rig.disk_is_full(True)
                wait_for("it to be noticed", 10, lambda: rig.api("GET", "/readyz")[0] == 503)
                assert rig.api("GET", "/livez")[0] == 200
                status, refused = rig.create(key)
                assert status == 503 and "durably" in refused["message"] and rig.last["Retry-After"] == "1", refused
                status, text = rig.api("GET", "/readyz?verbose")
                assert status == 503 and "[-] store" in text, text
                status, page = rig.api("GET", "/v2/sandboxes", key=key)
                assert status == 200 and page, "what is known can still be read"
                before = len(told)
                time.sleep(0.2)
                assert len(told) == before, "something was told that cannot have been written"
                rig.disk_is_full(False)
                wait_for("it to work again", 10, lambda: rig.api("GET", "/readyz")[0] == 200)
            wait_for("creates after the last one", 30, lambda n=len(told): len(told) >= n + 20)
        finally:
            stopping.set()
            for thread in threads:
                thread.join()
        assert set(told) <= set(listed(rig, key))
        settle_and_compare(rig, key)
        assert "flotilla_commit_faults_total 0" not in rig.api("GET", "/metrics")[1]


def a_start_with_many_rows_takes_less_than_a_second():
    with Rig(agents=0) as rig:
        key = rig.tenant("old", "enterprise")
        tenant = rig.api("GET", "/v1/tenants", key=rig.operator_key)[1][0]["tenantID"]
        rig.scheduler.stop()
        with sqlite3.connect(rig.path("state", "scheduler.db")) as books:
            books.execute("INSERT INTO template VALUES ('base', 2, 512, 1024)")
            books.execute("INSERT INTO node (id, name, public_key, vcpus, mem_mib, disk_mib, sandboxes, enrolled_at) "
                          "VALUES ('nod_x', 'x', x'00', 100000, 100000000, 100000000, 100000, 0)")
            books.executemany(
                "INSERT INTO sandbox (id, tenant, node, template, vcpus, mem_mib, disk_mib, state, refusal, cause, attempt, "
                "tries, deadline_version, deadline_known, created_at, started_at, timeout_s, end_at, ended_at, plan, price_version) "
                "VALUES (?, ?, 'nod_x', 'base', 2, 512, 1024, ?, 0, ?, ?, 1, 0, 0, 1, 1, 300, ?, ?, 'pro', 1)",
                ((f"i{n:020}", tenant, 2 if n < 20000 else 4, 0 if n < 20000 else 1, (1 << 32) + n, 10 ** 18, 0 if n < 20000 else 2)
                 for n in range(40000)))
        books.close()
        began = time.monotonic()
        rig.scheduler.start()
        took = time.monotonic() - began
        assert rig.api("GET", "/v2/sandboxes?limit=1", key=key)[0] == 200 and rig.last["X-Total-Running"] == "20000"
        print(f"   20,000 running of 40,000 rows: ready after {took:.2f} s")


def a_tenant_whose_credit_runs_out_starts_nothing_new():
    with Rig(agents=1) as rig:
        key = rig.tenant("thrifty", "hobby")
        rig.scheduler.stop()
        with sqlite3.connect(rig.path("state", "scheduler.db")) as books:
            books.execute("UPDATE tenant SET credit_left_nano = 50000")  # a second is 30250
        books.close()
        rig.scheduler.start()
        made = []
        for _ in range(2):
            status, answer = wait_for("the node", 20, lambda: (lambda got: got if got[0] != 503 else None)(rig.create(key)))
            assert status == 201, answer
            made.append(answer["sandboxID"])
        for name in made:
            assert rig.api("DELETE", "/sandboxes/" + name, key=key)[0] == 204
        status, refused = rig.create(key)
        assert status == 402 and refused["code"] == 402 and "credit" in refused["message"], refused
        assert rig.api("GET", "/v1/limits", key=key)[1]["credit"] == "0.000000000"
        rig.scheduler.kill()
        rig.scheduler.start()
        assert rig.create(key)[0] == 402, "not even after a restart"


def a_changed_ledger_is_found_at_the_start():
    import subprocess
    with Rig(agents=1) as rig:
        key = rig.tenant()
        for _ in range(3):
            made = rig.create(key)[1]["sandboxID"]
            assert rig.api("DELETE", "/sandboxes/" + made, key=key)[0] == 204
        rig.scheduler.stop()
        rig.scheduler.argv.append("--store-verify")
        rig.scheduler.start()
        rig.scheduler.stop()
        with sqlite3.connect(rig.path("state", "scheduler.db")) as books:
            books.execute("DROP TRIGGER usage_event_keeps")
            books.execute("UPDATE usage_event SET to_ms = to_ms + 1000 WHERE id = 2")
        books.close()
        done = subprocess.run(rig.scheduler.argv, capture_output=True, text=True, timeout=20)
        assert done.returncode == 1 and "usage_event 2 was changed" in done.stderr, done
        rig.scheduler.argv.pop()
        rig.scheduler.start()


def a_second_scheduler_on_the_same_state_is_refused():
    import subprocess
    with Rig(agents=0) as rig:
        argv = [*rig.scheduler.argv, "--api-listen", "127.0.0.1:0", "--bus-listen", "127.0.0.1:0", "--ready-file", rig.path("second")]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
        assert done.returncode == 1 and str(rig.scheduler.pid) in done.stderr, done
        assert not os.path.exists(rig.path("second")) and rig.api("GET", "/readyz")[0] == 200


def a_term_ends_it_at_once_with_requests_under_way():
    with Rig(agents=1, agent_options=["--claim-ms", "60000"]) as rig:
        key = rig.tenant()
        results = []
        thread = threading.Thread(target=lambda: results.append(rig.create(key)))
        thread.start()
        wait_for("the create", 10, lambda: "flotilla_api_held 1" in rig.api("GET", "/metrics")[1])
        began = time.monotonic()
        rig.scheduler.stop()
        assert time.monotonic() - began < 5 and rig.scheduler.process.returncode == 0
        thread.join()
        assert results[0][0] == 503, results


if __name__ == "__main__":
    run_tests([
        what_was_told_running_survives_kill_9_in_the_middle_of_creates,
        a_full_disk_refuses_new_work_and_heals_by_itself,
        a_start_with_many_rows_takes_less_than_a_second,
        a_tenant_whose_credit_runs_out_starts_nothing_new,
        a_changed_ledger_is_found_at_the_start,
        a_second_scheduler_on_the_same_state_is_refused,
        a_term_ends_it_at_once_with_requests_under_way,
    ])
