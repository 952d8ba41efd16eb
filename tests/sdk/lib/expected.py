"""What of E2B's packages is known not to work yet, or cannot be tried here: tests/sdk/expected.def, strict both ways."""
import os
import re

PATH = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "expected.def")
KINDS = ("failing", "missing", "outside", "untried", "unfailing")


def matches(pattern, text):
    """Only a star means something else than itself: rows have brackets and quotes of their own."""
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), text) is not None


class Line:
    def __init__(self, number, kind, packages, name, reason):
        self.number, self.kind, self.packages, self.name, self.reason = number, kind, packages, name, reason

    def concerns(self, package):
        return any(matches(one, package) for one in self.packages.split(","))


def read(path=PATH):
    lines = []
    with open(path) as file:
        for number, text in enumerate(file, 1):
            words = text.split("\t")
            if not text.strip() or text.startswith("#"):
                continue
            words = [word.strip() for word in words if word.strip()]
            if len(words) != 4 or words[0] not in KINDS:
                raise ValueError(f"{path}:{number}: wants KIND, PACKAGES, NAME and REASON between tabs")
            lines.append(Line(number, *words))
    return lines


def find(lines, kinds, package, name):
    """The first line of these kinds about this name, or None."""
    for line in lines:
        if line.kind in kinds and line.concerns(package) and matches(line.name, name):
            return line
    return None
