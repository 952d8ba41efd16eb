#!/usr/bin/env python3
"""Drives E2B's SDK from npm, old and new, against a real fleet."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import sdk  # noqa: E402
from fleet import Fleet  # noqa: E402

sdk.install()
worst = 0
with Fleet(agents=1) as fleet:
    for package in sdk.PACKAGES:
        print(package, "is", sdk.version(package), flush=True)
        env = fleet.env(fleet.tenant(package))
        for script in "spine.mjs", "process.mjs":
            worst |= sdk.run(os.path.join(HERE, script), package, env=env).returncode
sys.exit(1 if worst else 0)
