"""Runs one test program and passes its lines on, with what expected.def says of its tests in their place."""
import re
import subprocess

import expected


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


def run(words, package, cwd, env, seconds=300):
    """Whether all tests did as expected; a program that ends early or badly did not."""
    lines = expected.read()
    program = subprocess.Popen(["timeout", "--kill-after=5", str(seconds), *words], cwd=cwd, env=env, text=True,
                               errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    told = {"ok": 0, "not ok": 0}
    good = True
    for line in program.stdout:
        line = line.rstrip("\n")
        for word in told:
            told[word] += line.startswith(word + " ")
        text, failed = verdict(line, package, lines)
        good &= not failed
        print(text, flush=True)
    status = program.wait()
    if status != (1 if told["not ok"] else 0) or not any(told.values()):
        print(f"not ok {package}.{words[-1].rsplit('/', 1)[-1]}_ends_in_good_order\n   status {status}", flush=True)
        good = False
    return good
