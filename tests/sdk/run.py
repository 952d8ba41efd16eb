#!/usr/bin/env python3
"""Drives E2B's SDK from npm in several versions against a real fleet, by URLs and in domain mode, and says of every method and
option of it what became of it.  usage: run.py [PROGRAM.mjs]...   (all of them; the table is judged only then)"""
import functools
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import cli  # noqa: E402
import ecr  # noqa: E402
import mcp_template  # noqa: E402
import images  # noqa: E402
import own_domain  # noqa: E402
import registry  # noqa: E402
import sdk  # noqa: E402
from fleet import BIN, Fleet  # noqa: E402
from sdk import program  # noqa: E402

PROGRAMS = ("spine.mjs", "life.mjs", "errors.mjs", "snapshot.mjs", "connection.mjs", "process.mjs", "given_up.mjs", "files.mjs", "domain.mjs", "api.mjs", "template.mjs", "build.mjs", "git.mjs", "mcp.mjs", "secrets.mjs", "volume.mjs")
AT_A_TIME = 3
COMPUTE = "compute.mjs"
IN_DOMAIN = "--in-domain"


def push_image(there, folder):
    """The name of an image that a template can be built upon."""
    kept = images.Layout(os.path.join(folder, "layout"))
    root = images.tar_of(images.root(os.path.join(folder, "root")))
    return there.push(kept.index(kept.image([root, images.layer(("opt", None), ("opt/said", b"of the image"))], ["WORD=of its registry"])), "team/small:v1")


def spread_out(scripts, packages):
    """All pairs, in an order in which neighbours are of different scripts, so that not all need the same at a time."""
    apart = max(1, len(scripts) // len(packages))
    return [(scripts[(at + which * apart) % len(scripts)], package) for at in range(len(scripts)) for which, package in enumerate(packages)]


def drive(fleet, scripts, env_of_all=None, also=()):
    """All of them with each version of the package, and what is to be run also, some side by side: each has a tenant of its own,
    and often waits."""
    os.mkdir(fleet.path("in-guest"))
    capped = fleet.capped_tenant()
    ca, certificate, key = own_domain.certificates(fleet.path("in-guest"), "in.guest")

    def run(script, package):
        tenant = fleet.tenant(f"{package}-{script.split('.')[0]}")
        env = {**fleet.env(tenant), **(env_of_all or {}), "CAPPED_KEY": capped, "FLOTILLA_TEST_CA": ca, "FLOTILLA_TEST_CERT": certificate,
               "FLOTILLA_TEST_KEY": key, "FLOTILLA_TEST_SERVER": os.path.join(HERE, "in_guest.py"),
               "FLOTILLA_TEST_GIT_SERVER": os.path.join(HERE, "git_server.py")}
        good = sdk.drive(os.path.join(HERE, script), package, env=env)
        if not good:
            print_faults(fleet)
        return good
    for package in sdk.PACKAGES:
        print(package, "is", sdk.version(package), flush=True)
    runs = [functools.partial(run, script, package) for script, package in spread_out(scripts, sdk.PACKAGES)]
    return program.side_by_side([*runs, *also], AT_A_TIME)


def print_faults(fleet):
    """What the hosts said of microVMs that failed: a program sees only that one did."""
    for agent in fleet.agents:
        with open(agent.log, errors="replace") as log:
            said = [line for line in log if '"level":"warn"' in line or '"level":"error"' in line or '_fault"' in line]
        print(f"--- {agent.name}", *said[-40:], sep="\n", flush=True)


def the_command_works_by_names_too(fleet):
    """By way of the gateway's TLS, with whom to believe from a file."""
    words = ("--domain", fleet.domain, "--api-url", f"https://api.{fleet.domain}", "--ca-file", fleet.ca,
             "--gateway-url", f"https://sandbox.{fleet.domain}")
    done = subprocess.run([os.path.join(BIN, "flotilla"), "run", *words, "base", "--", "echo", "by name"],
                          env={**os.environ, "FLOTILLA_API_KEY": fleet.tenant("command")}, capture_output=True, text=True, timeout=60)
    is_right = (done.returncode, done.stdout) == (0, "by name\n")
    print("ok" if is_right else f"{done}\nnot ok", "the_command_works_by_names_too", flush=True)
    return is_right


if IN_DOMAIN in sys.argv:
    with own_domain.Names("sbx.test"), Fleet(agents=1, domain="sbx.test") as fleet:
        sys.exit(0 if drive(fleet, ["domain.mjs"]) & the_command_works_by_names_too(fleet) else 1)

sdk.install()
chosen = sys.argv[1:] or (*PROGRAMS, COMPUTE)
for package in sdk.PACKAGES:
    sdk.begin(package)
mcp_template.ensure()
with tempfile.TemporaryDirectory(prefix="flotilla-registry-") as folder, registry.Registry(folder) as there, \
        ecr.Ecr(registry.USER, registry.PASSWORD) as amazon, \
        Fleet(agents=1, also=[mcp_template.NAME], agent_options=["--registry-allow", there.address + "/team", "--ecr-endpoint", amazon.endpoint],
              scheduler_options=["--identity-issuer", "https://fleet.test"]) as fleet:
    also = []
    if COMPUTE in chosen:
        print(sdk.COMPUTE, "is", sdk.version(sdk.COMPUTE), flush=True)
        also.append(lambda: sdk.try_out(os.path.join(HERE, COMPUTE), sdk.COMPUTE, fleet.env(fleet.tenant("compute"))))
    if not sys.argv[1:]:
        also.append(lambda: not cli.run(fleet, fleet.tenant("cli"), fleet.path()))
    good = drive(fleet, [script for script in chosen if script != COMPUTE],
                 {"FLOTILLA_TEST_IMAGE": push_image(there, folder), "FLOTILLA_TEST_IMAGE_USER": registry.USER,
                  "FLOTILLA_TEST_IMAGE_PASSWORD": registry.PASSWORD,
                  "FLOTILLA_TEST_ECR": json.dumps({"accessKeyId": ecr.KEY_ID, "secretAccessKey": ecr.SECRET, "region": ecr.REGION})}, also)
if not sys.argv[1:]:
    good &= own_domain.inside([sys.executable, os.path.abspath(__file__), IN_DOMAIN]) == 0
    good &= sdk.coverage.judge(sdk.PACKAGES, "npm", must_fail=True)
sys.exit(0 if good else 1)
