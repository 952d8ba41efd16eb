"""Runs test programs and tells what they print, with what expected.def says of their tests in their place."""
import concurrent.futures
import os
import re
import subprocess
import threading
import time

import expected

telling = threading.Lock()


def verdict(line, package, lines):
    """(the line to print, whether it is a failure)."""
    found = re.match(r"(ok|not ok) (\S+)$", line)
    if not found:
        return line, False
    word, name = found.groups()
    excuse = expected.find(lines, ("failing",), package, name.split(".", 1)[-1])
    if not excuse:
        return line, word == "not ok"
    if word == "ok":
        return f"not ok {name}\n   works now, line {excuse.number} of expected.def says: {excuse.reason}", True
    return f"skip {name}: {excuse.reason}", False


def run(runner, script, words, package, cwd, env, seconds=800):
    """Whether all tests of a script did as expected; one that ends early or badly did not.  runner: what runs it, with its
    options.  It is told whole when it has ended, since others may run beside it."""
    name, began = os.path.basename(script), time.monotonic()
    lines, told, text, good = expected.read(), {"ok": 0, "not ok": 0}, [], True
    program = subprocess.Popen(["timeout", "--kill-after=5", str(seconds), *runner, script, *words], cwd=cwd, env=env, text=True,
                               errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for line in program.stdout:
        line = line.rstrip("\n")
        for word in told:
            told[word] += line.startswith(word + " ")
        line, failed = verdict(line, package, lines)
        good &= not failed
        text.append(line)
    status = program.wait()
    if status != (1 if told["not ok"] else 0) or not any(told.values()):
        text += [f"not ok {package}.{name}_ends_in_good_order", f"   status {status}"]
        good = False
    text.append(f"   {package} {name} ended after {time.monotonic() - began:.0f} s")
    with telling:
        print("\n".join(text), flush=True)
    return good


def side_by_side(runs, at_a_time):
    """Whether all of these calls of run() were good; begun in their order, so many at a time."""
    with concurrent.futures.ThreadPoolExecutor(at_a_time) as pool:
        return all(list(pool.map(lambda one: one(), runs)))
