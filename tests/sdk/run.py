#!/usr/bin/env python3
"""Installs E2B's SDK from npm and drives it, old and new, against a real fleet."""
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from fleet import ROOT, Fleet  # noqa: E402

WORK = os.path.join(ROOT, "build", "sdk")


def install():
    """node and the packages, from the npm registry; Debian 12's own node is too old for the SDK."""
    if not shutil.which("npm"):
        subprocess.run([os.path.join(ROOT, "deploy", "install-packages"), "sdk"], check=True)
    os.makedirs(WORK, exist_ok=True)
    for name in ("package.json", "spine.mjs"):
        shutil.copy(os.path.join(HERE, name), WORK)
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"], cwd=WORK, check=True)
    return os.path.join(WORK, "node_modules", "node", "bin", "node")


node = install()
worst = 0
with Fleet(agents=1) as fleet:
    for package in ("e2b-old", "e2b-new"):
        with open(os.path.join(WORK, "node_modules", package, "package.json")) as file:
            print(package, "is", [line.strip() for line in file if '"version"' in line], flush=True)
        key = fleet.tenant(package)
        worst |= subprocess.run([node, "spine.mjs", package], cwd=WORK, env={**os.environ, **fleet.env(key)},
                                timeout=300).returncode
sys.exit(1 if worst else 0)
