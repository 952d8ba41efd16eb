#!/usr/bin/env python3
"""Copies of a running scheduler's state: whole, verified, refused when they are not, and restored."""
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "sched_shell"))
from rig import BIN, Rig, run_tests, wait_for  # noqa: E402

SECRETS = ["fleet.key", "key.pepper", "bus.key", "vault.key", "operator.key"]


def flotilla(*words, status=0):
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    done = subprocess.run([os.path.join(BIN, "flotilla"), *words, "-o", "json"], env=env, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout)["data"] if status == 0 else done.stderr


def backup(rig, name, *flags, status=0):
    return flotilla("backup", "create", rig.path(name), "--state-dir", rig.path("state"), *flags, status=status)


def ask(path, sql):
    books = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return books.execute(sql).fetchall()
    finally:
        books.close()


def change(path, *statements):
    books = sqlite3.connect(path)
    for statement in statements:
        books.execute(statement)
    books.commit()
    books.close()


def run_one(rig, key):
    status, made = rig.create(key)
    assert status == 201, made
    assert rig.api("DELETE", "/sandboxes/" + made["sandboxID"], key=key)[0] == 204
    return made["sandboxID"]


def facts(rig):
    return ask(rig.path("state", "scheduler.db"), "SELECT count(*) FROM usage_event")[0][0]


def settled(rig, key):
    wait_for("calm", 20, lambda: rig.api("GET", "/v1/limits", key=key)[1]["concurrentSandboxes"]["current"] == 0)


def a_copy_made_while_everything_moves_is_of_one_instant():
    with Rig(agents=1) as rig:
        key = rig.tenant()
        stopping, failed = threading.Event(), []

        def work():
            try:
                while not stopping.is_set():
                    run_one(rig, key)
            except BaseException as fault:
                failed.append(fault)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            wait_for("facts", 20, lambda: facts(rig) > 50)
            for number in range(5):
                backup(rig, f"copy{number}", "--with-secrets")
        finally:
            stopping.set()
            for thread in threads:
                thread.join()
        assert not failed, failed
        seen = [flotilla("backup", "verify", rig.path(f"copy{number}")) for number in range(5)]
        assert [one["facts"] for one in seen] == sorted(one["facts"] for one in seen) and seen[0]["facts"] > 50, seen
        assert all(one["signatures"] == "checked" and one["heads"] > 0 and one["secrets"] for one in seen), seen
        assert sorted(os.listdir(rig.path("copy4"))) == sorted(["MANIFEST", "scheduler.db", *SECRETS])
        for name in os.listdir(rig.path("copy4")):
            assert stat.S_IMODE(os.stat(rig.path("copy4", name)).st_mode) == 0o600, name
        assert stat.S_IMODE(os.stat(rig.path("copy4")).st_mode) == 0o700
        assert [name for name in os.listdir(rig.root) if "partial" in name] == []


def a_restored_scheduler_is_told_by_its_nodes_what_the_copy_lacks():
    with Rig(agents=1) as rig:
        key = rig.tenant()
        for _ in range(3):
            run_one(rig, key)
        settled(rig, key)
        backup(rig, "copy", "--with-secrets")
        for _ in range(5):
            run_one(rig, key)
        settled(rig, key)
        path = rig.path("state", "scheduler.db")
        wanted = ask(path, "SELECT node, seq, sandbox, from_ms, to_ms FROM usage_event ORDER BY node, seq")
        billed = ask(path, "SELECT sum(seconds), sum(amount_nano) FROM rated_line")
        epoch = ask(path, "SELECT value FROM meta WHERE name = 'epoch'")[0][0]
        rig.scheduler.kill()
        shutil.rmtree(rig.path("state"))
        done = flotilla("backup", "restore", rig.path("copy"), "--state-dir", rig.path("state"))
        assert done["epoch"] >= epoch + 65536 - 1, (done, epoch)
        rig.scheduler.start()
        wait_for("the node to say it all again", 20, lambda: facts(rig) >= len(wanted))
        assert ask(path, "SELECT node, seq, sandbox, from_ms, to_ms FROM usage_event ORDER BY node, seq") == wanted
        assert ask(path, "SELECT sum(seconds), sum(amount_nano) FROM rated_line") == billed
        run_one(rig, key)  # nodes take orders of the new epoch, and the key is known
        flotilla("ledger", "verify", "--state-dir", rig.path("state"))


def a_copy_that_is_not_what_it_was_is_refused():
    def cut(path, n):
        os.truncate(path, os.path.getsize(path) - n)

    def flip(path, at):
        with open(path, "r+b") as file:
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 1]))

    def write(path, text):
        with open(path, "w") as file:
            file.write(text)

    with Rig(agents=1) as rig:
        key = rig.tenant()
        run_one(rig, key)
        backup(rig, "copy", "--with-secrets")
        damages = [
            (lambda d: flip(d + "/scheduler.db", 5000), "its hash is another"),
            (lambda d: cut(d + "/scheduler.db", 4096), "bytes, must have"),
            (lambda d: os.remove(d + "/scheduler.db"), "No such file"),
            (lambda d: os.remove(d + "/bus.key"), "No such file"),
            (lambda d: flip(d + "/key.pepper", 3), "its hash is another"),
            (lambda d: os.remove(d + "/MANIFEST"), "MANIFEST"),
            (lambda d: cut(d + "/MANIFEST", 1), "its end is missing"),
            (lambda d: cut(d + "/MANIFEST", 100), "its end is missing"),
            (lambda d: flip(d + "/MANIFEST", 60), "MANIFEST: damaged"),
            (lambda d: write(d + "/MANIFEST", ""), "no copy of Flotilla's"),
            (lambda d: write(d + "/MANIFEST", "flotilla backup 2\n"), "newer version"),
        ]
        for number, (damage, text) in enumerate(damages):
            copy = rig.path(f"bad{number}")
            shutil.copytree(rig.path("copy"), copy)
            damage(copy)
            assert text in flotilla("backup", "verify", copy, status=1), (number, text)
            told = flotilla("backup", "restore", copy, "--state-dir", rig.path("new"), status=1)
            assert text in told and "nothing was restored" in told, (number, told)
            assert not os.path.exists(rig.path("new"))
        assert [name for name in os.listdir(rig.root) if "restoring" in name] == []


def a_ledger_changed_before_it_was_copied_is_found_in_the_copy():
    with Rig(agents=1) as rig:
        key = rig.tenant()
        for _ in range(3):
            run_one(rig, key)
        settled(rig, key)
        rig.scheduler.stop()
        change(rig.path("state", "scheduler.db"), "DROP TRIGGER usage_event_keeps",
               "UPDATE usage_event SET vcpus = 1 WHERE id = 2")
        backup(rig, "copy")
        assert "usage_event 2 was changed" in flotilla("backup", "verify", rig.path("copy"), status=1)
        assert "usage_event 2 was changed" in flotilla("ledger", "verify", "--state-dir", rig.path("state"), status=1)


def nothing_is_overwritten_and_nothing_running_is_replaced():
    with Rig(agents=0) as rig:
        state = rig.path("state")
        backup(rig, "copy", "--with-secrets")
        assert "is there already" in backup(rig, "copy", status=1)
        assert "name for the copy's folder" in backup(rig, "copy2/", status=1)
        assert "No such file" in backup(rig, "no/such/folder", status=1)
        told = flotilla("backup", "create", rig.path("x"), "--state-dir", rig.path("nowhere"), status=1)
        assert "scheduler.db: No such file" in told, told
        told = flotilla("backup", "restore", rig.path("copy"), "--state-dir", state, "--force", status=1)
        assert str(rig.scheduler.pid) in told, told
        assert "--state-dir" in flotilla("backup", "restore", rig.path("copy"), status=2)
        rig.scheduler.stop()
        assert "--force moves it aside" in flotilla("backup", "restore", rig.path("copy"), "--state-dir", state, status=1)
        done = flotilla("backup", "restore", rig.path("copy"), "--state-dir", state, "--force")
        assert os.path.exists(os.path.join(done["replaced"], "scheduler.db")), done
        assert sorted(name for name in os.listdir(state) if "lock" not in name) == sorted(["scheduler.db", *SECRETS])
        os.mkdir(rig.path("empty"))
        flotilla("backup", "restore", rig.path("copy"), "--state-dir", rig.path("empty"))
        rig.scheduler.start()


def a_copy_without_secrets_says_what_it_lacks():
    with Rig(agents=0) as rig:
        backup(rig, "copy")
        assert sorted(os.listdir(rig.path("copy"))) == ["MANIFEST", "scheduler.db"]
        done = subprocess.run([os.path.join(BIN, "flotilla"), "backup", "restore", rig.path("copy"), "--state-dir",
                               rig.path("new")], env={"HOME": "/nonexistent"}, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and all(name in done.stderr for name in SECRETS), done


def a_copy_of_an_older_version_is_verified_by_its_restore():
    with Rig(agents=0) as rig:
        os.mkdir(rig.path("old"))
        with open(os.path.join(HERE, "..", "..", "scheduler", "shell", "store", "0001.sql")) as schema:
            books = sqlite3.connect(rig.path("old", "scheduler.db"))
            books.executescript(schema.read() + "PRAGMA application_id = 0x464c5331; PRAGMA user_version = 1;"
                                "INSERT INTO meta VALUES ('epoch', 7);")
            books.close()
        flotilla("backup", "create", rig.path("copy"), "--state-dir", rig.path("old"))
        assert "facts" not in flotilla("backup", "verify", rig.path("copy"))
        done = flotilla("backup", "restore", rig.path("copy"), "--state-dir", rig.path("new"))
        assert done["facts"] == 0 and done["epoch"] == 7 + 65536, done
        told = flotilla("ledger", "verify", "--state-dir", rig.path("old"), status=1)
        assert "older version" in told, told


def an_agents_journal_is_copied_and_verified_and_never_restored():
    with Rig(agents=0) as rig:
        os.mkdir(rig.path("agent"))
        change(rig.path("agent", "journal.db"), "PRAGMA journal_mode=WAL", "PRAGMA application_id = 0x464c544a",
               "CREATE TABLE record (seq INTEGER PRIMARY KEY)", "INSERT INTO record VALUES (1)")
        flotilla("backup", "create", rig.path("copy"), "--agent", "--state-dir", rig.path("agent"))
        assert flotilla("backup", "verify", rig.path("copy"))["of"] == "agent"
        told = flotilla("backup", "restore", rig.path("copy"), "--state-dir", rig.path("new"), status=1)
        assert "never restored" in told, told
        told = flotilla("backup", "create", rig.path("copy2"), "--agent", "--state-dir", rig.path("state"), status=1)
        assert "journal.db: No such file" in told, told
        shutil.copy(rig.path("agent", "journal.db"), rig.path("agent", "scheduler.db"))
        told = flotilla("backup", "create", rig.path("copy2"), "--state-dir", rig.path("agent"), status=1)
        assert "is not a database of flotilla-scheduler" in told, told


def damage_in_the_past_is_loud_and_stops_nothing():
    with Rig(agents=1) as rig:
        key = rig.tenant()
        for _ in range(3):
            run_one(rig, key)
        settled(rig, key)
        wait_for("the audit", 20, lambda: "[+] ledger: verified" in rig.api("GET", "/readyz?verbose=1")[1])
        flotilla("ledger", "verify", "--state-dir", rig.path("state"))  # beside the daemon
        rig.scheduler.stop()
        change(rig.path("state", "scheduler.db"), "DROP TRIGGER usage_event_keeps",
               "UPDATE usage_event SET vcpus = 1 WHERE id = 2")
        rig.scheduler.start()
        wait_for("the audit", 20, lambda: "[-] ledger: DAMAGED" in rig.api("GET", "/readyz?verbose=1")[1])
        status, text = rig.api("GET", "/readyz?verbose=1")
        assert status == 200 and "usage_event 2 was changed" in text, (status, text)
        assert "\nflotilla_ledger_damaged 1\n" in rig.api("GET", "/metrics")[1]
        with open(rig.path("scheduler.log")) as log:
            assert "do not bill from it" in log.read()
        wait_for("the node", 20, lambda: rig.create(key)[0] == 201)


if __name__ == "__main__":
    run_tests([
        a_copy_made_while_everything_moves_is_of_one_instant,
        a_restored_scheduler_is_told_by_its_nodes_what_the_copy_lacks,
        a_copy_that_is_not_what_it_was_is_refused,
        a_ledger_changed_before_it_was_copied_is_found_in_the_copy,
        nothing_is_overwritten_and_nothing_running_is_replaced,
        a_copy_without_secrets_says_what_it_lacks,
        a_copy_of_an_older_version_is_verified_by_its_restore,
        an_agents_journal_is_copied_and_verified_and_never_restored,
        damage_in_the_past_is_loud_and_stops_nothing,
    ])
