"""E2B's command-line tool from npm, unmodified, against a real fleet."""
import json
import os
import subprocess

import sdk
from fleet import wait_for

CLI = os.path.join(sdk.WORK, "node_modules", "@e2b", "cli", "dist", "index.js")


class Tool:
    def __init__(self, fleet, key, home):
        self.fleet, self.key = fleet, key
        # Nothing of whoever runs the tests: the tool reads its user's settings.
        self.env = {"PATH": os.environ["PATH"], "HOME": home, **fleet.env(key)}

    def __call__(self, *words):
        done = subprocess.run([sdk.NODE, CLI, "sandbox", *words], env=self.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout


def lists_shows_and_kills(fleet, key, home):
    tool = Tool(fleet, key, home)
    status, made = fleet.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 300, "metadata": {"by": "cli"}}, key=key)
    assert status == 201, made
    rows = json.loads(tool("list", "--format", "json"))
    assert [row["sandboxId"] for row in rows] == [made["sandboxID"]] and rows[0]["metadata"] == {"by": "cli"}, rows
    assert json.loads(tool("list", "--format", "json", "--metadata", "by=nobody")) == []
    assert made["sandboxID"] in tool("info", made["sandboxID"])
    # Exits as the command did.
    assert "from-the-tool" in tool("exec", made["sandboxID"], "echo from-the-tool")
    wait_for("a sample", 30, lambda: "cpu" in tool("metrics", made["sandboxID"]).lower(), 1)
    wait_for("the log", 70, lambda: "from-the-tool" in tool("logs", made["sandboxID"], "--format", "json"), 1)
    assert made["sandboxID"] in tool("kill", made["sandboxID"])
    assert json.loads(tool("list", "--format", "json")) == []
    assert "from-the-tool" in tool("logs", made["sandboxID"]), "also of one that has ended"


def run(fleet, key, home):
    try:
        lists_shows_and_kills(fleet, key, home)
    except Exception:
        import traceback
        traceback.print_exc()
        print("not ok cli.lists_shows_and_kills", flush=True)
        return 1
    print("ok cli.lists_shows_and_kills", flush=True)
    return 0
