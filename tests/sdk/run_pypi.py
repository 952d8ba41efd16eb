#!/usr/bin/env python3
"""Installs E2B's newest SDK from PyPI and drives it against a real fleet."""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
LIB = os.path.join(HERE, "..", "lib")
sys.path.insert(0, LIB)
from fleet import ROOT, Fleet  # noqa: E402

WORK = os.path.join(ROOT, "build", "sdk-pypi")


def install():
    """An interpreter of its own with the newest package; nothing of it leaves the build folder."""
    python = os.path.join(WORK, "bin", "python3")
    subprocess.run([sys.executable, "-m", "venv", WORK], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade", "e2b"],
                   check=True)
    version = subprocess.run([python, "-c", "from importlib.metadata import version; print(version('e2b'))"],
                             check=True, capture_output=True, text=True).stdout
    print("e2b of PyPI is", version, flush=True)
    return python


python = install()
with Fleet(agents=1) as fleet:
    env = {**os.environ, **fleet.env(fleet.tenant("pypi")), "FLOTILLA_TESTS_LIB": LIB}
    worst = 0
    for script in "spine.py", "process.py":
        worst |= subprocess.run([python, os.path.join(HERE, script), *sys.argv[1:]], env=env, timeout=300).returncode
sys.exit(1 if worst else 0)
