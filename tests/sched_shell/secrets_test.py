#!/usr/bin/env python3
"""Secrets of tenants, against the real daemon and fake nodes that write down what guests are told."""
import base64
import glob
import json
import os
import sqlite3
import threading

from replicas import Replicas
from rig import Rig, run_tests, wait_for

VALUE = "the-value-that-nobody-else-sees"


def make(rig, key, name="api", value=VALUE, **more):
    return rig.api("POST", "/secrets", {"name": name, "value": value, **more}, key=key)


def told(rig, sandbox, agent="fake0"):
    """The environment that the sandbox's guest was told."""
    with open(rig.path(f"{agent}.inits")) as lines:
        for line in lines:
            name, init = line.split(" ", 1)
            if name == sandbox:
                return json.loads(init)["envVars"]
    raise AssertionError(f"{sandbox} was not claimed")


class Secretive(Rig):
    def add_agent(self, name, options=None, token=None):
        return super().add_agent(name, ["--inits", self.path(f"{name}.inits")], token)


def a_secret_is_made_told_of_set_again_and_forgotten():
    with Secretive() as rig:
        key = rig.tenant()
        status, made = make(rig, key, "OpenAI-Key", metadata={"for": "tests"})
        assert status == 201 and made["secretID"].startswith("sec_") and len(made["secretID"]) == 24, made
        assert (made["name"], made["currentVersion"], made["metadata"]) == ("openai-key", 1, {"for": "tests"}), made
        assert made["createdAt"] == made["updatedAt"] and "value" not in made, made
        for name in ("openai-key", "OPENAI-KEY", made["secretID"]):
            assert rig.api("GET", "/secrets/" + name, key=key) == (200, made), name
        status, again = make(rig, key, "openai-key")
        assert (status, again) == (409, {"code": 409, "message": "Secret 'openai-key' already exists"}), again
        status, set_again = rig.api("POST", "/secrets/" + made["secretID"], {"value": "other"}, key=key)
        assert status == 200 and set_again["currentVersion"] == 2 and set_again["metadata"] == {"for": "tests"}, set_again
        assert set_again["createdAt"] == made["createdAt"] and set_again["updatedAt"] >= made["updatedAt"]
        status, third = rig.api("POST", "/secrets/openai-key", {"value": "x", "metadata": {}}, key=key)
        assert (status, third["currentVersion"], third["metadata"]) == (200, 3, {}), third
        assert rig.api("GET", "/secrets", key=key) == (200, [third])
        assert rig.api("DELETE", "/secrets/openai-key", key=key) == (204, "")
        for method, body in (("GET", None), ("POST", {"value": "x"}), ("DELETE", None)):
            status, gone = rig.api(method, "/secrets/openai-key", body, key=key)
            assert (status, gone) == (404, {"code": 404, "message": "Secret 'openai-key' not found"}), gone
        status, anew = make(rig, key, "openai-key")
        assert status == 201 and anew["secretID"] != made["secretID"] and anew["currentVersion"] == 1, anew


def they_are_listed_by_name_in_pages():
    with Secretive() as rig:
        key = rig.tenant()
        names = [f"s.{n:02}_x" for n in range(7)]
        for name in reversed(names):
            assert make(rig, key, name)[0] == 201
        seen, token = [], ""
        while True:
            status, rows = rig.api("GET", f"/secrets?limit=3&nextToken={token}", key=key)
            assert status == 200 and len(rows) <= 3, rows
            seen += [row["name"] for row in rows]
            token = rig.last["X-Next-Token"]
            if not token:
                break
        assert seen == names, seen
        assert VALUE not in json.dumps(rows)


def what_cannot_be_a_secret_is_refused_by_name():
    with Secretive() as rig:
        key = rig.tenant()
        for body, word in (({}, "name: is required"), ({"name": "a"}, "value: is required"),
                           ({"name": "", "value": "x"}, "name: should have at least 1"),
                           ({"name": "a b", "value": "x"}, "name: should be of letters"),
                           ({"name": "a/b", "value": "x"}, "name: should be of letters"),
                           ({"name": "\u00e4", "value": "x"}, "name: should be of letters"),
                           ({"name": "sec_abc", "value": "x"}, "not begin with 'sec_'"),
                           ({"name": "SEC_abc", "value": "x"}, "not begin with 'sec_'"),
                           ({"name": "n" * 128, "value": "x"}, "at most 127"),
                           ({"name": "a", "value": ""}, "value: should have at least 1"),
                           ({"name": "a", "value": "x" * 16385}, "value: should have at most 16384"),
                           ({"name": "a", "value": 7}, "value: should be a string"),
                           ({"name": "a", "value": "x\0y"}, "not valid JSON"),
                           ({"name": "a", "value": "x", "metadata": {"k": 1}}, "should be a string"),
                           ({"name": "a", "value": "x", "metadata": {str(n): "" for n in range(33)}}, "at most 32 entries"),
                           ({"name": "a", "value": "x", "metadata": {"k" * 129: "v"}}, "128 bytes"),
                           ({"name": "a", "value": "x", "metadata": {"k": "v" * 1025}}, "a text 1024"),
                           ({"name": "a", "value": "x", "metadata": {str(n): "v" * 1000 for n in range(9)}}, "8192 bytes in all")):
            status, refused = rig.api("POST", "/secrets", body, key=key)
            assert status == 400 and word in refused["message"], (body, refused)
        assert rig.api("GET", "/secrets", key=key)[1] == []
        # At the bounds, and with what JSON writes at length, in both directions.
        longest = {"name": "n" * 127, "value": "\u00e4\n\"" * 4096, "metadata": {f"{n}": "\"\\" * 500 for n in range(8)}}
        status, made = rig.api("POST", "/secrets", longest, key=key)
        assert status == 201 and made["metadata"] == longest["metadata"], made
        status, sandbox = rig.create(key, secretEnvs={"LONG": made["name"]})
        assert status == 201 and told(rig, sandbox["sandboxID"])["LONG"] == longest["value"]


def another_tenants_secret_is_as_unknown_as_none():
    with Secretive() as rig:
        owner, stranger = rig.tenant("one"), rig.tenant("two")
        made = make(rig, owner)[1]
        for name in ("api", made["secretID"]):
            for method, body in (("GET", None), ("POST", {"value": "mine"}), ("DELETE", None)):
                status, refused = rig.api(method, "/secrets/" + name, body, key=stranger)
                assert (status, refused["message"]) == (404, f"Secret '{name}' not found"), refused
            status, refused = rig.create(stranger, secretEnvs={"K": name})
            assert (status, refused["message"]) == (404, f"Secret '{name}' not found"), refused
        assert rig.api("GET", "/secrets", key=stranger) == (200, [])
        assert make(rig, stranger, value="theirs")[0] == 201, "names are a tenant's own"
        assert rig.api("GET", "/secrets/api", key=owner) == (200, made)
        for method, path, body in (("GET", "/secrets", None), ("POST", "/secrets", {"name": "a", "value": "b"}),
                                   ("GET", "/secrets/api", None), ("POST", "/secrets/api", {"value": "b"}),
                                   ("DELETE", "/secrets/api", None)):
            assert rig.api(method, path, body, key=rig.operator_key)[0] == 403
            assert rig.api(method, path, body)[0] == 401


def a_sandbox_has_the_values_it_named_and_no_row_or_log_does():
    with Secretive(options=["--log-level", "debug"]) as rig:
        key = rig.tenant()
        make(rig, key)
        make(rig, key, "second", "zwei\nlines")
        status, made = rig.create(key, envVars={"PLAIN": "1"}, secretEnvs={"API": "api", "TWO": "Second"})
        assert status == 201, made
        assert told(rig, made["sandboxID"]) == {"PLAIN": "1", "API": VALUE, "TWO": "zwei\nlines"}
        rig.api("POST", "/secrets/api", {"value": "the-next-value"}, key=key)
        made = rig.create(key, secretEnvs={"API": "api"})[1]
        assert told(rig, made["sandboxID"]) == {"API": "the-next-value"}
        for names, word in (({"A=B": "api"}, "secretEnvs: a name"), ({"": "api"}, "secretEnvs: a name"),
                            ({"A": 1}, "should be a string"), ({"PLAIN": "api"}, "is in envVars, too"),
                            ({str(n): "api" for n in range(65)}, "at most 64 entries")):
            status, refused = rig.create(key, envVars={"PLAIN": "1"}, secretEnvs=names)
            assert status == 400 and word in refused["message"], (names, refused)
        make(rig, key, "long", "x" * 16000)
        status, refused = rig.create(key, secretEnvs={"A": "long", "B": "long", "C": "long", "D": "long"})
        assert status == 400 and "at most 49152 bytes" in refused["message"], refused
        rig.scheduler.stop()
        kept = [path for path in glob.glob(rig.path("state", "**"), recursive=True) if os.path.isfile(path)]
        assert any(path.endswith("scheduler.db") for path in kept), kept
        for path in kept + [rig.path("scheduler.log")]:
            with open(path, "rb") as file:
                text = file.read()
            for value in (VALUE.encode(), b"the-next-value", base64.b64encode(VALUE.encode())[:30]):
                assert value not in text, (path, value)
        rig.scheduler.start()


def a_sealed_value_opens_in_its_own_row_alone():
    """Who can write the database can lose a secret, and not have another's."""
    with Secretive() as rig:
        key, stranger = rig.tenant("one"), rig.tenant("two")
        make(rig, key)
        make(rig, key, "other", "other value")
        make(rig, stranger, "bait", "bait")
        rig.scheduler.stop()
        with sqlite3.connect(rig.path("state", "scheduler.db")) as db:
            db.execute("UPDATE secret SET sealed = (SELECT sealed FROM secret WHERE name = 'api') WHERE name = 'bait'")
            db.execute("UPDATE secret SET version = version + 1 WHERE name = 'other'")
        db.close()
        rig.scheduler.start()
        wait_for("the node", 20, lambda: rig.create(key)[0] == 201)
        for who, name in ((stranger, "bait"), (key, "other")):
            status, refused = rig.create(who, secretEnvs={"K": name})
            assert status == 400 and "does not open with this vault.key" in refused["message"], refused
        assert rig.create(key, secretEnvs={"K": "api"})[0] == 201
        assert rig.api("POST", "/secrets/bait", {"value": "mine again"}, key=stranger)[0] == 200
        made = rig.create(stranger, secretEnvs={"K": "bait"})[1]
        assert told(rig, made["sandboxID"]) == {"K": "mine again"}


def changes_at_once_are_one_after_the_other():
    with Secretive() as rig:
        key = rig.tenant()
        answers = []

        def several(work):
            threads = [threading.Thread(target=lambda n=n: answers.append(work(n))) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            taken, answers[:] = list(answers), []
            return taken
        made = several(lambda n: make(rig, key, "one", str(n)))
        assert sorted(status for status, _ in made) == [201] + [409] * 7, made
        said = several(lambda n: rig.api("POST", "/secrets/one", {"value": str(n)}, key=key))
        done = [answer["currentVersion"] for status, answer in said if status == 200]
        assert sorted(done) == list(range(2, 2 + len(done))) and {status for status, _ in said} <= {200, 409}, said
        assert rig.api("GET", "/secrets/one", key=key)[1]["currentVersion"] == 1 + len(done)
        ended = several(lambda n: rig.api("DELETE", "/secrets/one", key=key))
        assert [status for status, _ in ended].count(204) == 1 and {status for status, _ in ended} <= {204, 404, 409}, ended


def secrets_are_everywhere_and_of_the_next_leader_too():
    with Replicas(2, agents=0) as rig:
        rig.add_agent("fake0", ["--inits", rig.path("fake0.inits")])
        rig.scheduler = rig.standby()
        key = rig.tenant()
        assert make(rig, key)[0] == 201 and make(rig, key, "gone")[0] == 201
        status, made = rig.api("POST", "/secrets/api", {"value": "of both"}, key=key)
        assert status == 200 and made["currentVersion"] == 2
        assert rig.api("DELETE", "/secrets/gone", key=key) == (204, "")
        rig.everywhere("the secret", "SELECT name, version FROM secret", [("api", 2)])
        assert VALUE not in rig.etcd.everything() and "of both" not in rig.etcd.everything()
        rig.kill_leader()
        rig.scheduler = rig.leader()
        assert rig.api("GET", "/secrets/api", key=key) == (200, made)
        wait_for("the node", 20, lambda: rig.create(key)[0] == 201)
        sandbox = rig.create(key, secretEnvs={"K": "api"})[1]
        assert told(rig, sandbox["sandboxID"]) == {"K": "of both"}


if __name__ == "__main__":
    run_tests([
        a_secret_is_made_told_of_set_again_and_forgotten,
        they_are_listed_by_name_in_pages,
        what_cannot_be_a_secret_is_refused_by_name,
        another_tenants_secret_is_as_unknown_as_none,
        a_sandbox_has_the_values_it_named_and_no_row_or_log_does,
        a_sealed_value_opens_in_its_own_row_alone,
        changes_at_once_are_one_after_the_other,
        secrets_are_everywhere_and_of_the_next_leader_too,
    ])
