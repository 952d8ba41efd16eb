#!/usr/bin/env python3
"""Installs E2B's SDK from PyPI, the newest and an older one, and drives both against a real fleet, by URLs and in domain mode; says of
every method and option of the newest what became of it.  usage: run_pypi.py [TEST]...   (the table is judged only without)"""
import functools
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
LIB = os.path.join(HERE, "..", "lib")
sys.path[:0] = [LIB, os.path.join(HERE, "lib")]
import coverage  # noqa: E402
import mcp_template  # noqa: E402
import own_domain  # noqa: E402
import program  # noqa: E402
from fleet import ROOT, Fleet  # noqa: E402

NEWEST = "pypi-e2b"  # as expected.def calls it
OLDER, OLD_VERSION = "pypi-e2b-old", "2.45.0"
IN_DOMAIN = "--in-domain"
WORDS = [word for word in sys.argv[1:] if word != IN_DOMAIN]
PROGRAMS = ("spine.py", "process.py", "files.py", "domain.py", "api.py")
OF_BOTH_FACES = ("options.py", "errors.py", "mcp.py")  # by the same words
AT_A_TIME = 3


def python(package):
    return os.path.join(ROOT, "build", "sdk-" + package.removesuffix("-e2b").replace("pypi-e2b", "pypi"), "bin", "python3")


def install(package, wanted):
    """An interpreter of its own with the package; nothing of it leaves the build folder."""
    own = python(package)
    subprocess.run([sys.executable, "-m", "venv", os.path.dirname(os.path.dirname(own))], check=True)
    subprocess.run([own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade", wanted], check=True)
    version = subprocess.run([own, "-c", "from importlib.metadata import version; print(version('e2b'))"],
                             check=True, capture_output=True, text=True).stdout
    print(package, "is", version, flush=True)


def begin():
    """Reads the newest package's signatures, and forgets what earlier runs saw of it."""
    offered = subprocess.run([python(NEWEST), os.path.join(HERE, "lib", "rows.py"), "e2b"], check=True, capture_output=True)
    coverage.begin(NEWEST, json.loads(offered.stdout))


def drive(fleet, *runs):
    """Some (package, script, face) side by side: each has a tenant of its own, and often waits."""
    capped = fleet.capped_tenant()
    os.mkdir(fleet.path("in-guest"))
    ca, certificate, key = own_domain.certificates(fleet.path("in-guest"), "in.guest")

    def run(package, script, face):
        env = {**os.environ, **fleet.env(fleet.tenant("-".join((package, script.split(".")[0], face)))), "FLOTILLA_TESTS_LIB": LIB,
               "FLOTILLA_FACE": face, "CAPPED_KEY": capped, "FLOTILLA_TEST_CA": ca, "FLOTILLA_TEST_CERT": certificate,
               "FLOTILLA_TEST_KEY": key, "FLOTILLA_TEST_SERVER": os.path.join(HERE, "in_guest.py"),
               "FLOTILLA_TEST_GIT_SERVER": os.path.join(HERE, "git_server.py")}
        runner = [python(package)]
        if package == NEWEST:
            env["RECORD_ROWS"], env["RECORD_INTO"] = (coverage.path_of(NEWEST, suffix) for suffix in (".rows.json", ".calls.jsonl"))
            runner.append(os.path.join(HERE, "lib", "record.py"))
        return program.run(runner, os.path.join(HERE, script), WORDS, package, HERE, env)
    return program.side_by_side([functools.partial(run, *one) for one in runs], AT_A_TIME)


if IN_DOMAIN in sys.argv:
    # With a port in the domain, as fleets have it that are not alone on their machine.
    with own_domain.Names("sbx.test"), Fleet(agents=1, domain="sbx.test", tls_port=8443) as fleet:
        sys.exit(0 if drive(fleet, (NEWEST, "domain.py", "")) else 1)

install(NEWEST, "e2b")
install(OLDER, "e2b==" + OLD_VERSION)
begin()
mcp_template.ensure()
with Fleet(agents=1, also=[mcp_template.NAME], scheduler_options=["--identity-issuer", "https://fleet.test"]) as fleet:
    good = drive(fleet, *((NEWEST, script, face) for script in OF_BOTH_FACES for face in ("sync", "async")),
                 *((NEWEST, script, "") for script in PROGRAMS), (OLDER, "spine.py", ""))
good &= own_domain.inside([sys.executable, os.path.abspath(__file__), IN_DOMAIN, *WORDS]) == 0
if not WORDS:
    good &= coverage.judge([NEWEST], "pypi", must_fail=True)
sys.exit(0 if good else 1)
