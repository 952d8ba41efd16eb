#!/usr/bin/env python3
"""Drives E2B's SDK from npm, old and new, against a real fleet: by URLs, and in domain mode."""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import cli  # noqa: E402
import own_domain  # noqa: E402
import sdk  # noqa: E402
from fleet import BIN, Fleet  # noqa: E402

IN_DOMAIN = "--in-domain"


def drive(fleet, *scripts):
    worst = 0
    os.mkdir(fleet.path("in-guest"))
    capped = fleet.capped_tenant()
    _, certificate, key = own_domain.certificates(fleet.path("in-guest"), "in.guest")
    for package in sdk.PACKAGES:
        print(package, "is", sdk.version(package), flush=True)
        for script in scripts:
            tenant = fleet.tenant(f"{package}-{script.split('.')[0]}")
            env = {**fleet.env(tenant), "CAPPED_KEY": capped, "FLOTILLA_TEST_CERT": certificate, "FLOTILLA_TEST_KEY": key,
                   "FLOTILLA_TEST_SERVER": os.path.join(HERE, "in_guest.py")}
            worst |= sdk.run(os.path.join(HERE, script), package, env=env).returncode
    return worst


def the_command_works_by_names_too(fleet):
    """By way of the gateway's TLS, with whom to believe from a file."""
    words = ("--domain", fleet.domain, "--api-url", f"https://api.{fleet.domain}", "--ca-file", fleet.ca,
             "--gateway-url", f"https://sandbox.{fleet.domain}")
    done = subprocess.run([os.path.join(BIN, "flotilla"), "run", *words, "base", "--", "echo", "by name"],
                          env={**os.environ, "FLOTILLA_API_KEY": fleet.tenant("command")}, capture_output=True, text=True, timeout=60)
    is_right = (done.returncode, done.stdout) == (0, "by name\n")
    print("ok" if is_right else f"{done}\nnot ok", "the_command_works_by_names_too", flush=True)
    return not is_right


if IN_DOMAIN in sys.argv:
    with own_domain.Names("sbx.test"), Fleet(agents=1, domain="sbx.test") as fleet:
        sys.exit(1 if drive(fleet, "domain.mjs") | the_command_works_by_names_too(fleet) else 0)

sdk.install()
with Fleet(agents=1) as fleet:
    worst = drive(fleet, "spine.mjs", "process.mjs", "files.mjs", "domain.mjs", "api.mjs")
    worst |= cli.run(fleet, fleet.tenant("cli"), fleet.path())
worst |= own_domain.inside([sys.executable, os.path.abspath(__file__), IN_DOMAIN])
sys.exit(1 if worst else 0)
