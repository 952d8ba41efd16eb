"""E2B's SDK from npm, in the versions of tests/sdk/package.json, and a node that is new enough for it."""
import glob
import json
import os
import shutil
import subprocess
import sys

from fleet import ROOT

SOURCES = os.path.join(ROOT, "tests", "sdk")
sys.path.insert(0, os.path.join(SOURCES, "lib"))
import coverage  # noqa: E402
import program  # noqa: E402

WORK = os.path.join(ROOT, "build", "sdk")
NODE = os.path.join(WORK, "node_modules", "node", "bin", "node")
PACKAGES = ("e2b-old", "e2b-mid", "e2b-new")
COMPUTE = "computesdk"  # and its adapter for E2B
ADDS = "@e2b/code-interpreter"  # exports all of e2b, and this much more


def install():
    """Debian 12's own node is too old for the SDK; its npm can fetch a newer one."""
    if not shutil.which("npm"):
        subprocess.run([os.path.join(ROOT, "deploy", "install-packages"), "sdk"], check=True)
    os.makedirs(WORK, exist_ok=True)
    shutil.copy(os.path.join(SOURCES, "package.json"), WORK)
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"], cwd=WORK, check=True)
    # Modules look for packages beside themselves: so copies are run.
    shutil.copytree(os.path.join(SOURCES, "lib"), os.path.join(WORK, "lib"), dirs_exist_ok=True)
    for script in glob.glob(os.path.join(SOURCES, "*.mjs")):
        shutil.copy(script, WORK)


def version(package):
    with open(os.path.join(WORK, "node_modules", package, "package.json")) as file:
        return json.load(file)["version"]


def begin(package):
    """Reads the package's types, and forgets what earlier runs saw of it."""
    offered = subprocess.run([NODE, os.path.join("lib", "rows.mjs"), package], cwd=WORK, check=True, capture_output=True)
    coverage.begin(package, json.loads(offered.stdout))


def try_out(script, package, env):
    """Whether all tests of a program did as expected; nothing is recorded."""
    return program.run([NODE], os.path.basename(script), [package], package, WORK, {**os.environ, **env})


def drive(script, package, *words, env):
    """Whether all tests of a program did as expected; what it calls is recorded for coverage.judge()."""
    record = {"RECORD_ROWS": coverage.path_of(package, ".rows.json"),
              "RECORD_INTO": coverage.path_of(package, ".calls.jsonl")}
    recorder = "file://" + os.path.join(WORK, "lib", "record.mjs")
    return program.run([NODE, "--import", recorder], os.path.basename(script), [package, *words], package, WORK,
                       {**os.environ, **env, **record})
