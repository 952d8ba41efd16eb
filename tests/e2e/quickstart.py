#!/usr/bin/env python3
"""The README's first command, in a folder of its own: from nothing to a job's output and its bill."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import own_store  # noqa: E402
from fleet import ROOT, TEMPLATES, ensure_template, free_port, run_tests  # noqa: E402

home = tempfile.mkdtemp(prefix="flotilla-quickstart-")
ensure_template()
store = own_store.make(TEMPLATES, ["base"])


def five_free_ports():
    """The first of five neighbours that nobody listens on."""
    import socket
    while True:
        first = free_port()
        try:
            for port in range(first, first + 5):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
        except (OSError, OverflowError):
            continue


environment = {**os.environ, "HOME": home, "FLOTILLA_STATE": os.path.join(home, "state"),
               "FLOTILLA_CACHE": os.path.join(home, "cache"), "FLOTILLA_PORT": str(five_free_ports())}


def quickstart(*words):
    return subprocess.run([os.path.join(ROOT, "deploy", "quickstart"), *words], env=environment, capture_output=True,
                          text=True, stdin=subprocess.DEVNULL, timeout=600)


def processes():
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                line = file.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if home in line and "flotilla" in line:
            found.append(line)
    return found


def it_ends_with_a_jobs_output_and_its_bill():
    os.makedirs(environment["FLOTILLA_CACHE"])
    os.symlink(store, os.path.join(environment["FLOTILLA_CACHE"], "templates"))
    done = quickstart()
    assert done.returncode == 0, done
    assert "6 * 7 = 42" in done.stdout, done
    assert re.search(r"bill of \w+: \d+ s, \d+ vCPU-seconds, [\d.]+ GiB-seconds, 0\.0\d+ USD", done.stderr), done.stderr


def run_again_it_starts_only_what_is_missing():
    before = quickstart("status").stdout
    assert before.count(" running") == 4, before
    done = quickstart()
    assert done.returncode == 0 and "starting" not in done.stderr and "6 * 7 = 42" in done.stdout, done
    assert quickstart("status").stdout == before


def stop_leaves_nothing_running():
    done = quickstart("stop")
    assert done.returncode == 0, done
    assert quickstart("status").stdout.count("not running") == 4
    assert not processes(), processes()


try:
    run_tests([it_ends_with_a_jobs_output_and_its_bill, run_again_it_starts_only_what_is_missing,
               stop_leaves_nothing_running])
finally:
    quickstart("stop")
    shutil.rmtree(home, ignore_errors=True)
    shutil.rmtree(store, ignore_errors=True)
