"""E2B's SDK from npm, in the versions of tests/sdk/package.json, and a node that is new enough for it."""
import os
import shutil
import subprocess

from fleet import ROOT

WORK = os.path.join(ROOT, "build", "sdk")
NODE = os.path.join(WORK, "node_modules", "node", "bin", "node")
PACKAGES = ("e2b-old", "e2b-new")


def install():
    """Debian 12's own node is too old for the SDK; its npm can fetch a newer one."""
    if not shutil.which("npm"):
        subprocess.run([os.path.join(ROOT, "deploy", "install-packages"), "sdk"], check=True)
    os.makedirs(WORK, exist_ok=True)
    shutil.copy(os.path.join(ROOT, "tests", "sdk", "package.json"), WORK)
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"], cwd=WORK, check=True)


def version(package):
    import json
    with open(os.path.join(WORK, "node_modules", package, "package.json")) as file:
        return json.load(file)["version"]


def run(script, *words, env):
    """Runs a script against the packages, which are looked for beside the script: so a copy is run."""
    shutil.copy(script, WORK)
    return subprocess.run([NODE, os.path.basename(script), *words], cwd=WORK, env={**os.environ, **env}, timeout=600)
