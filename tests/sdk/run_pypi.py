#!/usr/bin/env python3
"""Installs E2B's newest SDK from PyPI and drives it against a real fleet: by URLs, and in domain mode."""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
LIB = os.path.join(HERE, "..", "lib")
sys.path.insert(0, LIB)
import own_domain  # noqa: E402
from fleet import ROOT, Fleet  # noqa: E402

WORK = os.path.join(ROOT, "build", "sdk-pypi")
PYTHON = os.path.join(WORK, "bin", "python3")
IN_DOMAIN = "--in-domain"


def install():
    """An interpreter of its own with the newest package; nothing of it leaves the build folder."""
    subprocess.run([sys.executable, "-m", "venv", WORK], check=True)
    subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade", "e2b"],
                   check=True)
    version = subprocess.run([PYTHON, "-c", "from importlib.metadata import version; print(version('e2b'))"],
                             check=True, capture_output=True, text=True).stdout
    print("e2b of PyPI is", version, flush=True)


def drive(fleet, *scripts):
    os.mkdir(fleet.path("in-guest"))
    capped = fleet.capped_tenant()
    _, certificate, key = own_domain.certificates(fleet.path("in-guest"), "in.guest")
    words = [word for word in sys.argv[1:] if word != IN_DOMAIN]
    worst = 0
    for script in scripts:
        env = {**os.environ, **fleet.env(fleet.tenant("pypi-" + script.split(".")[0])), "FLOTILLA_TESTS_LIB": LIB,
               "CAPPED_KEY": capped, "FLOTILLA_TEST_CERT": certificate, "FLOTILLA_TEST_KEY": key,
               "FLOTILLA_TEST_SERVER": os.path.join(HERE, "in_guest.py")}
        worst |= subprocess.run([PYTHON, os.path.join(HERE, script), *words], env=env, timeout=300).returncode
    return worst


if IN_DOMAIN in sys.argv:
    # With a port in the domain, as fleets have it that are not alone on their machine.
    with own_domain.Names("sbx.test"), Fleet(agents=1, domain="sbx.test", tls_port=8443) as fleet:
        sys.exit(1 if drive(fleet, "domain.py") else 0)

install()
with Fleet(agents=1) as fleet:
    worst = drive(fleet, "spine.py", "process.py", "files.py", "domain.py", "api.py")
worst |= own_domain.inside([sys.executable, os.path.abspath(__file__), IN_DOMAIN, *sys.argv[1:]])
sys.exit(1 if worst else 0)
