#!/usr/bin/env python3
"""The flotilla command against a fake fleet: what it sends, prints, and how it exits."""
import csv
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib")]
from fake_fleet import KEY, OPERATOR, FakeFleet  # noqa: E402
from fleet import run_tests  # noqa: E402

PROGRAM = os.path.abspath(sys.argv.pop(1))


class World:
    """A fake fleet and a home of one's own."""

    def __enter__(self):
        self.fleet = FakeFleet()
        self.home = tempfile.mkdtemp(prefix="flotilla-cli-")
        self.env = {"PATH": os.environ["PATH"], "HOME": self.home, "FLOTILLA_API_URL": self.fleet.url,
                    "FLOTILLA_GATEWAY_URL": self.fleet.url, "FLOTILLA_API_KEY": KEY}
        return self

    def __exit__(self, *_):
        self.fleet.close()
        shutil.rmtree(self.home)

    def run(self, *words, env=None, input="", cwd=None):
        return subprocess.run([PROGRAM, *words], env={**self.env, **(env or {})}, input=input, capture_output=True,
                              text=True, timeout=60, cwd=cwd or self.home)

    def start(self, *words, **streams):
        return subprocess.Popen([PROGRAM, *words], env=self.env, cwd=self.home, **streams)

    def operator(self, *words):
        return self.run(*words, env={"FLOTILLA_OPERATOR_KEY": OPERATOR})


def status(done, code, err=""):
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert err in done.stderr, done.stderr
    return done


def a_run_streams_output_and_passes_the_exit_code():
    with World() as world:
        done = status(world.run("run", "base", "--env", "A=1=2", "--", "bash", "-c", "echo out $A; echo err >&2; exit 7"), 7)
        assert (done.stdout, done.stderr) == ("out 1=2\n", "err\n"), done
        create = world.fleet.seen[0]
        assert create[:3] == ("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 3600, "metadata": {}}), create
        start = world.fleet.seen[1]
        assert start[2]["process"] == {"cmd": "bash", "args": ["-c", "echo out $A; echo err >&2; exit 7"],
                                       "envs": {"A": "1=2"}}, start
        assert start[3]["Connect-Protocol-Version"] == "1" and start[3]["Content-Type"] == "application/connect+json"
        assert world.fleet.sandboxes == {}, "it must end what it began"


def the_flags_of_a_run_reach_the_fleet():
    with World() as world:
        status(world.run("run", "base", "--cwd", "/", "-u", "root", "--timeout", "90s", "-m", "k=v w", "--", "true"), 0)
        assert world.fleet.seen[0][2] == {"templateID": "base", "timeout": 90, "metadata": {"k": "v w"}}
        _, _, body, headers = world.fleet.seen[1]
        assert body["process"]["cwd"] == "/" and headers["Authorization"] == "Basic cm9vdDo=", (body, headers)


def input_is_sent_on_and_its_end_too():
    with World() as world:
        done = status(world.run("run", "base", "--", "cat", input="through stdin\n"), 0)
        assert done.stdout == "through stdin\n"


def much_goes_both_ways_at_once_without_a_standstill():
    with World() as world:
        text = "".join("line %d\n" % n for n in range(400000))
        done = status(world.run("run", "base", "--", "cat", input=text), 0)
        assert done.stdout == text


def a_process_that_does_not_read_still_ends():
    with World() as world:
        done = status(world.run("run", "base", "--", "sh", "-c", "exec 0<&-; echo done; exit 3", input="x" * 1000000), 3)
        assert done.stdout == "done\n"


def a_missing_command_is_127_as_in_a_shell():
    with World() as world:
        status(world.run("run", "base", "--", "no-such-command"), 127, "not found in $PATH")
        assert world.fleet.sandboxes == {}


def a_process_that_died_of_a_signal_is_128_and_its_number():
    with World() as world:
        status(world.run("run", "base", "--", "sh", "-c", "kill -9 $$"), 137)


def interrupted(first, expected, script="trap '' HUP; echo on; exec sleep 60"):
    with World() as world:
        run = world.start("run", "base", "--", "sh", "-c", script, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert run.stdout.readline() == b"on\n"
        run.send_signal(first)
        assert run.wait(30) == expected, run.returncode
        run.stdout.close()
        assert world.fleet.sandboxes == {}, "an interrupted run must end its sandbox"


def an_interrupt_ends_the_process_and_the_sandbox():
    interrupted(signal.SIGINT, 130)
    interrupted(signal.SIGTERM, 143)


def a_process_may_answer_a_signal_with_its_own_code():
    interrupted(signal.SIGINT, 9, "trap 'kill %1; exit 9' TERM; sleep 60 >/dev/null 2>&1 & echo on; wait")


def a_second_interrupt_kills():
    with World() as world:
        run = world.start("run", "base", "--", "sh", "-c", "trap 'echo no' TERM; echo on; while :; do read -r x || sleep 0.05; done",
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert run.stdout.readline() == b"on\n"
        run.send_signal(signal.SIGTERM)
        assert run.stdout.readline() == b"no\n"
        run.send_signal(signal.SIGTERM)
        assert run.wait(30) == 137, run.returncode
        run.stdout.close()


def a_reader_that_leaves_ends_the_run():
    with World() as world:
        run = world.start("run", "base", "--", "sh", "-c", "while echo y; do :; done", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        run.stdout.readline()
        run.stdout.close()
        assert run.wait(30) == 141, run.returncode
        assert world.fleet.sandboxes == {}


def kept_sandboxes_stay_and_can_be_used_again():
    with World() as world:
        done = status(world.run("run", "base", "--keep", "--", "true"), 0, "keeps running")
        name, = world.fleet.sandboxes
        assert name in done.stderr
        done = status(world.run("sandbox", "exec", name, "--timeout", "5m", "--", "echo", "again"), 0)
        start = [seen for seen in world.fleet.seen if seen[1].endswith("/Start")][-1]
        assert done.stdout == "again\n" and start[3]["Connect-Timeout-Ms"] == "300000", start
        assert name in world.fleet.sandboxes
        status(world.run("sandbox", "kill", name), 0, "has ended")
        assert world.fleet.sandboxes == {}


def a_bill_is_printed_after_the_end():
    with World() as world:
        done = status(world.run("run", "base", "--bill", "--", "echo", "hi"), 0, "6 vCPU-seconds, 1.5 GiB-seconds, 0.000090750 USD")
        assert done.stdout == "hi\n"
        done = status(world.run("run", "base", "--bill", "-o", "json", "--", "echo", "hi"), 0)
        assert done.stdout == "hi\n" and json.loads(done.stderr)["data"]["amount"] == "0.000090750"


def a_sandbox_that_is_lost_is_explained():
    with World() as world:
        world.fleet.cause = "timeout"
        done = status(world.run("run", "base", "--", "die"), 124, "time limit")
        assert done.stdout == "half"
        world.fleet.cause = "node_lost"
        status(world.run("run", "base", "--", "die"), 1, "node_lost")


def a_timeout_of_the_process_is_124():
    with World() as world:
        status(world.run("run", "base", "--", "overdue"), 124, "deadline")


def garbage_from_the_sandbox_is_an_error_and_no_crash():
    with World() as world:
        status(world.run("run", "base", "--", "garbage"), 1, "4294967295 bytes")


def refusals_become_exit_codes():
    with World() as world:
        for template, code, text in (("missing", 3, "template 'missing' not found"), ("full", 5, "maximum number of concurrent"),
                                     ("busy", 75, "no capacity"), ("clash", 6, "in flight"), ("broken", 1, "internal"),
                                     ("slow", 124, "too long")):
            done = status(world.run("run", template, "--", "true"), code, text)
            assert template in done.stderr and done.stdout == ""
        status(world.run("sandbox", "ls", env={"FLOTILLA_API_KEY": "e2b_bad"}), 4, "invalid API key")
        status(world.run("sandbox", "ls", env={"FLOTILLA_API_KEY": ""}), 4, "no API key")
        status(world.run("sandbox", "ls", env={"FLOTILLA_API_KEY": "e2b_\r\nX: y"}), 2)
        status(world.run("node", "ls"), 4, "no operator's key")
        status(world.run("sandbox", "ls", "--api-url", "http://127.0.0.1:1"), 75, "cannot reach")
        status(world.run("sandbox", "ls", "--api-url", "file:///etc/passwd"), 1)
        status(world.run("sandbox", "describe", "i" + "9" * 20), 3, "doesn't exist")
        status(world.run("sandbox", "exec", "../x", "--", "true"), 2, "no sandbox's id")


def wrong_usage_is_2_and_goes_to_stderr():
    with World() as world:
        for words in (("sandbox", "ls", "-o", "xml"), ("snadbox",), ("run", "base"), ("run", "base", "--env", "1A=2", "--", "x"),
                      ("run", "base", "--timeout", "5", "--", "x"), ("run", "base", "-m", "=v", "--", "x"),
                      ("key", "create"), ("usage", "--frm", "x"), ("completion", "tcsh"), ("node", "token", "--ttl", "soon"),
                      ("sandbox", "ls", "--api-key", KEY)):
            done = status(world.run(*words), 2, "flotilla: ")
            assert done.stdout == "" and KEY not in done.stderr
        assert world.fleet.seen == [], "nothing is sent before the command line is good"
        done = world.run("sandbox", "describe", "i" + "9" * 20, "-o", "json")
        assert json.loads(done.stderr)["error"]["status"] == 3 and done.stdout == "", done


def lists_have_every_format():
    with World() as world:
        assert status(world.run("sandbox", "ls", "-o", "json"), 0).stdout.split() == '{ "kind": "sandboxes", "data": [] }'.split()
        first, second = world.fleet.sandbox(), world.fleet.sandbox(metadata={"k": "v"})
        lines = status(world.run("sandbox", "ls"), 0).stdout.splitlines()
        assert lines[0].startswith("SANDBOX ") and [line.split()[0] for line in lines[1:]] == [first, second]
        assert "k=v" in status(world.run("sandbox", "ls", "-o", "wide"), 0).stdout
        assert status(world.run("sandbox", "ls", "-o", "name"), 0).stdout.split() == [first, second]
        rows = json.loads(status(world.run("sandbox", "ls", "-o", "json"), 0).stdout)["data"]
        assert [row["sandboxID"] for row in rows] == [first, second]
        assert [json.loads(line)["cpuCount"] for line in world.run("sandbox", "ls", "-o", "jsonl").stdout.splitlines()] == [2, 2]
        table = list(csv.DictReader(io.StringIO(world.run("sandbox", "ls", "-o", "csv").stdout)))
        assert [row["sandboxID"] for row in table] == [first, second]


def a_list_follows_every_page():
    with World() as world:
        world.fleet.page_n = 3
        names = [world.fleet.sandbox() for _ in range(10)]
        assert status(world.run("sandbox", "ls", "-o", "name"), 0).stdout.split() == names


def a_metadata_filter_is_encoded_as_e2b_reads_it():
    with World() as world:
        status(world.run("sandbox", "ls", "-m", "a b=c&d"), 0)
        assert world.fleet.seen[0][1].endswith("&metadata=a%252520b%3Dc%252526d"), world.fleet.seen[0][1]


def a_prefix_of_an_id_will_do_when_it_is_unique():
    with World() as world:
        names = [world.fleet.sandbox() for _ in range(10)]
        assert json.loads(world.run("sandbox", "describe", names[9][:-1], "-o", "json").stdout)["data"]["sandboxID"] == names[9]
        status(world.run("sandbox", "describe", names[0][:-1]), 2, "9 sandboxes have an id that begins with")
        status(world.run("sandbox", "kill", "ix"), 3, "no running sandbox")
        done = status(world.run("sandbox", "describe", names[9]), 0)
        assert "token-" not in done.stdout, "a token is not shown to who looks over the shoulder"


def killing_several_reports_the_first_failure_and_goes_on():
    with World() as world:
        name = world.fleet.sandbox()
        status(world.run("sandbox", "kill", "i" + "9" * 20, name), 3, "doesn't exist")
        assert world.fleet.sandboxes == {}


def usage_and_limits_are_shown():
    with World() as world:
        name = world.fleet.sandbox()
        done = status(world.run("usage", "--from", "2026-11-01T00:00:00+01:00", "--sandbox", name), 0)
        assert done.stdout.endswith("\ntotal 0.000090750 USD\n") and name in done.stdout, done.stdout
        assert world.fleet.seen[0][1] == "/v1/usage?from=2026-11-01T00%3A00%3A00%2B01%3A00&sandbox=" + name
        assert json.loads(world.run("usage", "-o", "json").stdout)["data"]["rule"] == "r1"
        status(world.run("usage", "--to", "2026-12-01"), 0)
        assert world.fleet.seen[-1][1] == "/v1/usage?to=2026-12-01T00%3A00%3A00Z"
        assert status(world.run("limits"), 0).stdout.startswith("plan: hobby\nconcurrentSandboxes:\n  limit: 20\n")


def operators_manage_nodes_tenants_and_keys():
    with World() as world:
        done = status(world.operator("node", "ls", "-o", "wide"), 0)
        assert done.stdout.splitlines()[1].split()[:4] == ["nod_1", "n1", "ready", "0.1.0"] and "base" in done.stdout
        assert status(world.operator("node", "token", "--ttl", "10m"), 0).stdout == "once-600\n"
        assert status(world.operator("tenant", "add", "acme", "--plan", "pro", "-o", "name"), 0).stdout == "ten_2\n"
        assert world.fleet.seen[-1][2] == {"name": "acme", "plan": "pro"}
        assert "acme" in status(world.operator("tenant", "ls"), 0).stdout
        assert status(world.operator("key", "create", "--tenant", "acme"), 0, "shown this once").stdout == "e2b_abc\n"
        assert world.fleet.seen[-1][1] == "/v1/tenants/ten_1/keys" and world.fleet.seen[-1][2] == {"name": "cli"}
        status(world.operator("key", "create", "--tenant", "twin"), 2, "2 tenants fit")
        status(world.operator("key", "create", "--tenant", "nobody"), 3)
        assert "base" in status(world.operator("template", "ls"), 0).stdout
        status(world.run("node", "ls", env={"FLOTILLA_OPERATOR_KEY": KEY}), 4)


def a_node_is_cordoned_by_its_name_or_its_id():
    with World() as world:
        done = status(world.operator("node", "cordon", "n1", "-o", "json"), 0)
        assert json.loads(done.stdout) == {"kind": "node", "data": {"nodeID": "nod_1", "name": "n1", "cordoned": True}}, done
        assert world.fleet.seen[-1][:2] == ("POST", "/v1/nodes/nod_1/cordon")
        assert "cordoned: no" in status(world.operator("node", "uncordon", "nod_4"), 0).stdout
        assert world.fleet.seen[-1][:2] == ("POST", "/v1/nodes/nod_4/uncordon")
        status(world.operator("node", "cordon", "twin"), 2, "2 nodes fit twin: give an id")
        status(world.operator("node", "cordon", "nobody"), 3, "there is no node nobody")


def acts(world):
    return [path for method, path, *_ in world.fleet.seen if method == "POST"]


def a_node_is_given_up_only_by_who_said_yes():
    with World() as world:
        status(world.operator("node", "lost", "dead"), 2, "say --yes")
        assert acts(world) == [], "nothing may happen unasked"
        done = status(world.operator("node", "lost", "dead", "--yes", "-o", "name"), 0)
        assert done.stdout == "nod_2\n" and acts(world) == ["/v1/nodes/nod_2/lost"], done
        status(world.operator("node", "lost", "nod_2", "-y"), 0)
        status(world.operator("node", "lost", "n1", "--yes"), 6, "node n1: The node is heard of")
        status(world.operator("node", "lost", "twin", "--yes"), 2, "2 nodes fit")


def on_a_terminal_the_name_of_a_node_to_give_up_is_typed():
    def typed(world, line):
        ours, theirs = pty.openpty()
        run = subprocess.Popen([PROGRAM, "node", "lost", "nod_2", "-o", "name"], stdin=theirs, stderr=theirs,
                               stdout=subprocess.PIPE, env={**world.env, "FLOTILLA_OPERATOR_KEY": OPERATOR})
        os.close(theirs)
        said = b""
        while b"type its name" not in said:
            said += os.read(ours, 4096)
        os.write(ours, line)
        out = run.communicate(timeout=30)[0]
        os.close(ours)
        assert b"node dead (nod_2)" in said and b"20 sandboxes" in said, said
        return run.returncode, out
    with World() as world:
        assert typed(world, b"nod_2\n") == (2, b"") and typed(world, b"\x04") == (2, b"") and acts(world) == []
        assert typed(world, b"dead\n") == (0, b"nod_2\n") and acts(world) == ["/v1/nodes/nod_2/lost"]


def a_context_holds_urls_and_keys_in_a_private_file():
    with World() as world:
        key_file = os.path.join(world.home, "key")
        with open(key_file, "w") as file:
            file.write(KEY + "\n")
        for name in ("FLOTILLA_API_URL", "FLOTILLA_GATEWAY_URL", "FLOTILLA_API_KEY"):
            del world.env[name]
        status(world.run("context", "set", "local", "--api-url", world.fleet.url, "--api-key-file", key_file, "--use"), 0)
        os.unlink(key_file)
        path = os.path.join(world.home, ".config/flotilla/contexts/local.ini")
        assert os.stat(path).st_mode & 0o777 == 0o600
        status(world.run("sandbox", "ls"), 0)
        status(world.run("context", "set", "other", "--api-url", "http://127.0.0.1:1"), 0)
        status(world.run("sandbox", "ls", "--context", "other"), 4, "no API key")
        status(world.run("sandbox", "ls", env={"FLOTILLA_CONTEXT": "other", "FLOTILLA_API_KEY": KEY}), 75)
        assert status(world.run("context", "ls"), 0).stdout.split() == ["CONTEXT", "CURRENT", "local", "yes", "other", "no"]
        with open(os.path.join(world.home, ".config/flotilla/contexts/other.ini")) as file:
            assert KEY not in file.read(), "a new context has nothing of the current one"
        status(world.run("context", "use", "other"), 0, "the context is now other")
        status(world.run("context", "use", "none"), 3, "no context none")
        assert status(world.run("context", "ls", "-o", "name", "--context", "local"), 0).stdout == "local\nother\n"
        os.chmod(path, 0o644)
        status(world.run("sandbox", "ls", "--context", "local"), 2, "chmod 600")
        status(world.run("context", "set", "../x"), 2, "no name for a context")


def a_key_file_on_the_command_line_wins_over_the_environments_key():
    with World() as world:
        key_file = os.path.join(world.home, "key")
        with open(key_file, "w") as file:
            file.write("e2b_wrong\n")
        status(world.run("sandbox", "ls", "--api-key-file", key_file), 4, "invalid API key")
        status(world.run("sandbox", "ls", "--api-key-file", key_file + ".none"), 2, "No such file")
        world.env["FLOTILLA_API_KEY_FILE"] = key_file
        status(world.run("sandbox", "ls"), 0)  # of two variables, the key itself counts


def later_settings_win_and_a_folder_cannot_take_your_key():
    with World() as world:
        os.makedirs(os.path.join(world.home, ".config/flotilla"))
        with open(os.path.join(world.home, ".config/flotilla/config.ini"), "w") as file:
            file.write("output = name\nquiet = yes\n")
        folder = os.path.join(world.home, "work")
        os.mkdir(folder)
        name = world.fleet.sandbox()
        assert world.run("sandbox", "ls", cwd=folder).stdout == name + "\n"
        with open(os.path.join(folder, ".flotilla.ini"), "w") as file:
            file.write("output = jsonl\n")
        assert world.run("sandbox", "ls", cwd=folder).stdout.startswith("{")
        assert world.run("sandbox", "ls", cwd=folder, env={"FLOTILLA_OUTPUT": "csv"}).stdout.startswith("sandboxID,")
        assert world.run("sandbox", "ls", "-o", "table", cwd=folder, env={"FLOTILLA_OUTPUT": "csv"}).stdout.startswith("SANDBOX")
        with open(os.path.join(folder, ".flotilla.ini"), "w") as file:
            file.write("api-url = http://elsewhere.example\n")
        status(world.run("sandbox", "ls", cwd=folder), 2, ".flotilla.ini:1: api-url is not taken")
        with open(os.path.join(folder, ".flotilla.ini"), "w") as file:
            file.write("outptu = csv\n")
        status(world.run("sandbox", "ls", cwd=folder), 2, "did you mean \"output\"?")


def env_is_read_back_by_a_shell():
    with World() as world:
        odd = "http://h/'$(exit 9)' \""
        script = 'eval "$("$0" env --gateway-url "$1")" && printf "%s\\n" "$E2B_API_URL" "$E2B_SANDBOX_URL" "$E2B_VOLUME_API_URL" "$E2B_API_KEY"'
        done = subprocess.run(["sh", "-c", script, PROGRAM, odd], env=world.env, capture_output=True, text=True, timeout=30)
        assert done.stdout.splitlines() == [world.fleet.url, odd, odd, KEY], done
        status(world.run("env", env={"FLOTILLA_API_KEY": ""}), 4)


def env_of_a_domain_names_it_and_whom_to_believe():
    with World() as world:
        ca = os.path.join(world.home, "ca.pem")
        open(ca, "w").close()
        script = ('E2B_API_URL=old E2B_SANDBOX_URL=old; eval "$("$0" env --domain sbx.test:8443 --ca-file "$1")" && '
                  'printf "%s\\n" "$E2B_DOMAIN" "$E2B_API_KEY" "$NODE_EXTRA_CA_CERTS" "$SSL_CERT_FILE" "${E2B_API_URL-none}" "${E2B_SANDBOX_URL-none}"')
        done = subprocess.run(["sh", "-c", script, PROGRAM, "ca.pem"], cwd=world.home, env=world.env, capture_output=True, text=True, timeout=30)
        assert done.stdout.splitlines() == ["sbx.test:8443", KEY, ca, ca, "none", "none"], done
        shown = json.loads(world.run("env", "--domain", "sbx.test", "-o", "json").stdout)["data"]
        assert shown == {"E2B_DOMAIN": "sbx.test", "E2B_API_KEY": KEY}, shown
        status(world.run("env", "--domain", "sbx.test", "--ca-file", "/nowhere"), 2, "/nowhere")


def secrets_come_from_files_and_input_and_are_never_shown():
    with World() as world:
        done = status(world.run("secret", "set", "api", input="from input\n"), 0)
        assert "api" in done.stdout and "from input" not in done.stdout, done
        assert [(row[1], row[2]) for row in world.fleet.seen] == [
            ("/secrets/api", {"value": "from input"}), ("/secrets", {"value": "from input", "name": "api"})], world.fleet.seen
        with open(os.path.join(world.home, "value"), "w") as file:
            file.write("two\nlines\n")
        status(world.run("secret", "set", "api", "--from-file", file.name, "-m", "for=tests"), 0)
        assert world.fleet.seen[2][1:3] == ("/secrets/api", {"value": "two\nlines\n", "metadata": {"for": "tests"}})
        shown = json.loads(world.run("secret", "describe", "api", "-o", "json").stdout)["data"]
        assert shown["currentVersion"] == 2 and shown["metadata"] == {"for": "tests"}, shown
        for text in ("", "x" * 16385, "nul\0here"):
            status(world.run("secret", "set", "api", input=text), 2, "1 to 16384 bytes")
        status(world.run("secret", "set", "api", "--from-file", "/nowhere"), 2, "/nowhere")
        status(world.run("secret", "describe", "nope"), 3, "Secret 'nope' not found")
        status(world.run("secret", "set", "b", input="x"), 0)
        world.fleet.page_n = 1
        assert world.run("secret", "ls", "-o", "name").stdout.split() == ["api", "b"]
        status(world.run("secret", "rm", "nope", "api"), 3, "secret api is forgotten")
        assert world.run("secret", "ls", "-o", "name").stdout.split() == ["b"]
        status(world.run("run", "base", "--secret", "KEY=b", "--secret", "OTHER=c", "--", "true"), 0)
        made = [row[2] for row in world.fleet.seen if row[1] == "/v2/sandboxes"]
        assert made[0]["secretEnvs"] == {"KEY": "b", "OTHER": "c"}, made
        status(world.run("run", "base", "--secret", "KEY", "--", "true"), 2, "K=V")


def on_a_terminal_a_secrets_value_is_typed_unseen():
    with World() as world:
        ours, theirs = pty.openpty()
        run = subprocess.Popen([PROGRAM, "secret", "set", "api"], env=world.env, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs)
        seen = b""
        while b"value: " not in seen:
            seen += os.read(ours, 4096)
        os.write(ours, b"typed\n")
        assert run.wait(30) == 0 and world.fleet.seen[-1][2]["value"] == "typed", world.fleet.seen
        os.close(theirs)
        try:
            seen += os.read(ours, 4096)
        except OSError:
            pass
        os.close(ours)
        assert b"typed" not in seen, seen


def template_build_runs_the_builder_beside_the_program():
    with World() as world:
        own = os.path.join(world.home, "bin")
        os.mkdir(own)
        shutil.copy(PROGRAM, own)
        with open(os.path.join(own, "flotilla-template"), "w") as file:
            file.write('#!/bin/sh\necho "$@"\nexit 4\n')
        os.chmod(file.name, 0o755)
        done = subprocess.run([os.path.join(own, "flotilla"), "template", "build", "base", "x", "--", "--dir", "/t"], env=world.env,
                              capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stdout) == (4, "build base --dir /t\n"), done


def completion_knows_commands_and_flags():
    with World() as world:
        script = world.run("completion", "bash").stdout

        def complete(*words):
            line = " ".join("'%s'" % word for word in words)
            done = subprocess.run(["bash", "-c", script + f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _flotilla; "
                                   'echo "${COMPREPLY[@]}"'], capture_output=True, text=True, timeout=30)
            assert done.returncode == 0 and done.stderr == "", done
            return done.stdout.split()
        assert complete("flotilla", "san") == ["sandbox"]
        assert complete("flotilla", "sandbox", "") == ["ls", "describe", "kill", "pause", "resume", "exec"]
        assert complete("flotilla", "run", "base", "--k") == ["--keep"]
        assert complete("flotilla", "node", "token", "--t") == ["--ttl"]
        assert complete("flotilla", "sandbox", "ls", "-o", "j") == ["json", "jsonl"]


def help_and_version_need_no_fleet():
    with World() as world:
        for words in ((), ("--help",), ("run", "--help"), ("help", "usage"), ("sandbox",), ("--version",), ("version",)):
            done = subprocess.run([PROGRAM, *words], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=30)
            assert done.returncode == 0 and done.stdout and not done.stderr, done
        assert json.loads(world.run("version", "-o", "json").stdout)["data"]["version"]


def progress_is_for_terminals_only():
    def shown(world, **env):
        ours, theirs = pty.openpty()
        run = subprocess.Popen([PROGRAM, "run", "base", "--", "true"], env={**world.env, "TERM": "xterm", **env}, stderr=theirs,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        assert run.wait(30) == 0
        os.close(theirs)
        try:
            return os.read(ours, 4096)
        except OSError:  # nothing was written, and nobody is left who could
            return b""
        finally:
            os.close(ours)
    with World() as world:
        assert b"creating a sandbox" in shown(world)
        assert shown(world, NO_COLOR="1") == b""
        assert shown(world, FLOTILLA_QUIET="yes") == b""
        assert shown(world, TERM="dumb") == b""


run_tests([value for name, value in list(globals().items())
           if callable(value) and getattr(value, "__module__", "") == "__main__" and name not in ("World", "status", "interrupted", "acts")])
