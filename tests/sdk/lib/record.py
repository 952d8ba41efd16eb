"""Runs a test program and notes which rows of rows.py it really calls, and what became of the calls, as record.mjs does:

    RECORD_ROWS=rows.json RECORD_INTO=calls.jsonl python3 record.py PROGRAM [WORD]...

The program is not changed and knows nothing of it.  Methods are wrapped in place by ones that pass everything on; what a method
calls of its own package is not noted.  A program prints "ok NAME" or "not ok NAME" after each test: the calls since the line
before are that test's.
"""
import contextvars
import dataclasses
import functools
import importlib
import inspect
import json
import os
import re
import runpy
import sys

with open(os.environ["RECORD_ROWS"]) as file:
    offered = json.load(file)
rows = set(offered["rows"])
inside = contextvars.ContextVar("inside", default=False)
calls = []


def paths_of(value, prefix, add, depth=0):
    """The paths of an argument's options, as rows name them; any key may also be a "*"."""
    if isinstance(value, str):
        add(f"{prefix}='{getattr(value, 'value', value)}'")
    elif isinstance(value, (list, tuple)):
        for one in value:
            paths_of(one, prefix, add, depth)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        paths_of({field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, prefix, add, depth)
    elif isinstance(value, dict) and depth < 6:
        for key, field in value.items():
            if field is None:
                continue
            for name in (key, "*"):
                add(f"{prefix}.{name}")
                paths_of(field, f"{prefix}.{name}", add, depth + 1)


def note(name, signature, args, kwargs, outcome):
    used = {name}
    try:
        bound = signature.bind(*args, **kwargs).arguments
    except TypeError:
        bound = kwargs
    given = {}
    for option, value in bound.items():
        parameter = signature.parameters.get(option)
        if parameter is not None and parameter.kind is parameter.VAR_KEYWORD:
            given.update(value)
        else:
            given[option] = value
    for option, value in given.items():
        if value is not None:
            used.add(f"{name}({option})")
            paths_of(value, option, lambda path: used.add(f"{name}({path})"))
    calls.extend([row, outcome] for row in used if row in rows)


def recorded(name, call):
    signature = inspect.signature(call)

    async def whole(answer, args, kwargs):
        token = inside.set(True)
        try:
            value = await answer
        except BaseException:
            note(name, signature, args, kwargs, "threw")
            raise
        finally:
            inside.reset(token)
        note(name, signature, args, kwargs, "returned")
        return value

    @functools.wraps(call)
    def run(*args, **kwargs):
        if inside.get():
            return call(*args, **kwargs)
        token = inside.set(True)
        try:
            answer = call(*args, **kwargs)
        except BaseException:
            note(name, signature, args, kwargs, "threw")
            raise
        finally:
            inside.reset(token)
        if inspect.iscoroutine(answer):
            return whole(answer, args, kwargs)
        note(name, signature, args, kwargs, "returned")
        return answer
    return run


class Member:
    """In a method's place: the same, and noted, whichever way it is reached."""

    def __init__(self, raw, method, class_name, object_name):
        self.raw, self.method, self.class_name, self.object_name = raw, method, class_name, object_name
        self.is_of_class = isinstance(raw, (classmethod, staticmethod))

    def __get__(self, obj, owner=None):
        bound = self.raw.__get__(obj, owner)
        if obj is None and inspect.isfunction(self.raw):
            return bound  # to be called with an object: a subclass that goes on to it
        if obj is None and not self.is_of_class and hasattr(self.raw, "class_method_name"):
            own = getattr(owner, self.raw.class_method_name)
            return recorded(f"{self.class_name}.{self.method}", own)
        name = self.class_name if obj is None or self.is_of_class else self.object_name
        return recorded(f"{name}.{self.method}", bound)


def wrap(where, own):
    module, name, *_ = where.split(":")
    cls = getattr(importlib.import_module(module), name)
    for method in own["methods"]:
        raw = inspect.getattr_static(cls, method)
        if not isinstance(raw, Member) or raw.class_name != own["name"]:
            type.__setattr__(cls, method, Member(getattr(raw, "raw", raw), method, own["name"], own["prefix"]))
    if own["constructor"]:
        cls.__init__ = recorded_init(f"new {own['name']}", cls.__init__)


def recorded_init(name, init):
    signature = inspect.signature(init)

    @functools.wraps(init)
    def run(self, *args, **kwargs):
        if inside.get():
            return init(self, *args, **kwargs)
        init(self, *args, **kwargs)
        note(name, signature, (self, *args), kwargs, "returned")
    return run


def install():
    module = importlib.import_module(offered["package"])
    for where, own in offered["classes"].items():
        wrap(where, own)
    for name in offered["functions"]:
        setattr(module, name, recorded(name, getattr(module, name)))


class Told:
    """Standard output, in which tests tell how they went."""

    def __init__(self, out):
        self.out, self.line = out, ""

    def write(self, text):
        self.line += text
        *whole, self.line = self.line.split("\n")
        for line in whole:
            found = re.match(r"(ok|not ok) (\S+)$", line)
            if found:
                with open(os.environ["RECORD_INTO"], "ab", buffering=0) as file:  # in one piece: others write there too
                    file.write(json.dumps({"test": found[2], "ok": found[1] == "ok", "calls": calls}).encode() + b"\n")
                calls.clear()
        return self.out.write(text)

    def __getattr__(self, name):
        return getattr(self.out, name)


sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
install()
sys.stdout = Told(sys.stdout)
runpy.run_path(sys.argv[0], run_name="__main__")
