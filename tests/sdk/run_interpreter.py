#!/usr/bin/env python3
"""Builds the code interpreter's template, and drives E2B's packages for it, of npm and of PyPI, against a real fleet."""
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LIB = os.path.join(HERE, "..", "lib")
sys.path.insert(0, LIB)
import sdk  # noqa: E402
from fleet import ROOT, Fleet  # noqa: E402

WORK = os.path.join(ROOT, "build", "sdk-pypi-interpreter")


def install_pypi():
    python = os.path.join(WORK, "bin", "python3")
    subprocess.run([sys.executable, "-m", "venv", WORK], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade",
                    "e2b-code-interpreter"], check=True)
    return python


sdk.install()
python = install_pypi()
print(sdk.ADDS, "is", sdk.version(sdk.ADDS), flush=True)
sdk.begin(sdk.ADDS)
began = time.monotonic()
with Fleet(template="code-interpreter-v1") as fleet:
    print(f"template and fleet: {time.monotonic() - began:.0f} s", flush=True)
    good = sdk.drive(os.path.join(HERE, "interpreter.mjs"), sdk.ADDS, env=fleet.env(fleet.tenant("js")))
    env = {**os.environ, **fleet.env(fleet.tenant("python")), "FLOTILLA_TESTS_LIB": LIB}
    good &= subprocess.run([python, os.path.join(HERE, "interpreter.py")], env=env, timeout=300).returncode == 0
good &= sdk.coverage.judge([sdk.ADDS], "npm-interpreter", must_fail=True)
sys.exit(0 if good else 1)
