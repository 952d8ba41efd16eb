"""Says of every row that a package offers (rows.mjs, rows.py) what became of it in the tests that ran.

A row holds when a test that passed made a call with it that returned.  What does not hold must be in expected.def, with
its reason; what is there and holds, or is about nothing, is an error too.  Where that is asked for, a method must have been
seen to fail as well, in a test that passed, unless expected.def says why it cannot ("unfailing").
"""
import json
import os

import expected
from fleet import ROOT

OUT = os.path.join(ROOT, "build", "sdk-coverage")
OK, FAILED, UNCOVERED = "ok", "failed", "never called"
WORDS = {"missing": "missing", "outside": "not possible here", "untried": "not tried"}


def path_of(package, suffix):
    os.makedirs(OUT, exist_ok=True)
    return os.path.join(OUT, package.replace("@", "").replace("/", "-") + suffix)


def begin(package, offered):
    """A run begins with what the package offers, and no calls."""
    with open(path_of(package, ".rows.json"), "w") as file:
        json.dump(offered, file, indent=1)
    open(path_of(package, ".calls.jsonl"), "w").close()


def outcomes(package, lines):
    """{row: (result, reason or "")} of one package."""
    with open(path_of(package, ".rows.json")) as file:
        rows = json.load(file)["rows"]
    held, failing, excused = set(), set(), {}
    with open(path_of(package, ".calls.jsonl")) as file:
        for test in map(json.loads, file):
            excuse = expected.find(lines, ("failing",), package, test["test"].split(".", 1)[-1])
            for row, outcome in test["calls"]:
                if test["ok"] and outcome == "returned":
                    held.add(row)
                elif excuse:
                    excused[row] = excuse.reason
                else:
                    failing.add(row)
    result = {}
    for row in rows:
        line = expected.find(lines, ("missing", "outside", "untried"), package, row)
        if row in held:
            result[row] = (OK, "")
        elif line:
            result[row] = (WORDS[line.kind], line.reason)
        elif row in excused:
            result[row] = ("missing", excused[row])
        else:
            result[row] = (FAILED if row in failing else UNCOVERED, "")
    return result


def is_method(row):
    """Not one of its options."""
    return "(" not in row


def failures(package):
    """The methods that were seen to fail as they should."""
    with open(path_of(package, ".calls.jsonl")) as file:
        return {row for test in map(json.loads, file) if test["ok"] for row, outcome in test["calls"]
                if outcome == "threw" and is_method(row)}


def judge_failures(package, result, lines):
    """Marks what was seen to fail, or cannot, in the result; returns what is wrong."""
    seen, wrong = failures(package), []
    for row in filter(is_method, result):
        line = expected.find(lines, ("unfailing",), package, row)
        if row in seen and line and "*" not in line.name:
            wrong.append(f"{row} was seen to fail, line {line.number} of expected.def says: {line.reason}")
        elif row in seen:
            result[row] = (result[row][0], result[row][1] or "errors too")
        elif result[row][0] == OK and not line:
            wrong.append(f"{row} was never seen to fail")
        elif result[row][0] == OK:
            result[row] = (OK, f"cannot fail: {line.reason}")
    return wrong


def stale_lines(package, result, lines):
    """Lines of expected.def that name a row which holds by now."""
    found = []
    for line in lines:
        if line.kind in ("failing", "unfailing") or not line.concerns(package):
            continue
        for row in result:
            if expected.matches(line.name, row) and result[row][0] == OK:
                found.append(f"{row} works now, line {line.number} of expected.def says: {line.reason}")
    return found


def idle_lines(results, lines, tests):
    """Lines that no package of this run has anything for; 'tests' are (package, test) pairs that ran."""
    found = []
    for line in lines:
        names = tests if line.kind == "failing" else [(package, row) for package in results for row in results[package]]
        about = [package for package in results if line.concerns(package)]
        if about and not any(line.concerns(package) and expected.matches(line.name, name) for package, name in names):
            found.append(f"line {line.number} of expected.def is about nothing: {line.kind} {line.name}")
    return found


def tests_of(package):
    with open(path_of(package, ".calls.jsonl")) as file:
        return [(package, test["test"].split(".", 1)[-1]) for test in map(json.loads, file)]


def write_table(results, path):
    """All rows by all packages, as Markdown."""
    packages = list(results)
    rows = dict.fromkeys(row for package in packages for row in results[package])
    with open(path, "w") as file:
        file.write("# What E2B's packages offer, and what became of it in the last run\n\n")
        file.write("| row | " + " | ".join(packages) + " |\n| --- |" + " --- |" * len(packages) + "\n")
        for row in rows:
            cells = [" ".join(filter(None, (word, why and f"({why})")))
                     for word, why in (results[package].get(row, ("-", "")) for package in packages)]
            file.write(f"| `{row}` | " + " | ".join(cells) + " |\n")


def judge(packages, table, must_fail=False):
    """Prints a verdict for each package and one line of totals each; true when nothing is unexpected.
    must_fail: each method must have been seen to fail as well."""
    lines = expected.read()
    results = {package: outcomes(package, lines) for package in packages}
    good = True
    for package, result in results.items():
        words = [word for word, _ in result.values()]
        wrong = [f"{row} {word}" for row, (word, _) in result.items() if word in (FAILED, UNCOVERED)]
        wrong += stale_lines(package, result, lines)
        wrong += judge_failures(package, result, lines) if must_fail else []
        for one in wrong:
            print("  ", package, one)
        print(f"{'not ok' if wrong else 'ok'} coverage.{package}")
        print(f"{package}: {len(words)} rows, {words.count(OK)} ok, {words.count('missing')} expected missing, "
              f"{words.count('not possible here')} not possible here, {words.count('not tried')} not tried, {len(wrong)} unexpected", flush=True)
        good &= not wrong
    write_table(results, path_of(table, ".md"))
    idle = idle_lines(results, lines, [test for package in packages for test in tests_of(package)])
    for one in idle:
        print("  ", one)
    print(f"{'not ok' if idle else 'ok'} coverage.{table}_expects_nothing_that_is_not_there", flush=True)
    print("the table is", os.path.relpath(path_of(table, ".md"), ROOT), flush=True)
    return good and not idle
