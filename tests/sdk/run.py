#!/usr/bin/env python3
"""Drives E2B's SDK from npm in several versions against a real fleet, and says of every method and option of it what
became of it.  usage: run.py [PROGRAM.mjs]...   (all of them; the table is judged only then)"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import sdk  # noqa: E402
from fleet import Fleet  # noqa: E402

PROGRAMS = ("spine.mjs", "life.mjs", "connection.mjs", "template.mjs", "git.mjs")

sdk.install()
chosen = sys.argv[1:] or PROGRAMS
good = True
for package in (*sdk.PACKAGES, sdk.ADDS):
    sdk.begin(package)
with Fleet(agents=1) as fleet:
    for package in sdk.PACKAGES:
        print(package, "is", sdk.version(package), flush=True)
        env = fleet.env(fleet.tenant(package))
        for script in chosen:
            good &= sdk.drive(os.path.join(HERE, script), package, env=env)
if not sys.argv[1:]:
    good &= sdk.coverage.judge([*sdk.PACKAGES, sdk.ADDS], "npm")
sys.exit(0 if good else 1)
