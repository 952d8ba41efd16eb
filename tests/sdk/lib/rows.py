"""What a PyPI package of E2B's offers, from its own signatures and annotations: a row for each public method and function, and
one for each option of its parameters, nested ones with their path, choices of words with their value, as rows.mjs has them:

    Sandbox.create   Sandbox.create(network.allow_out)   asyncSandbox.files.read(format='bytes')

usage: rows.py MODULE   (prints {package, version, classes, functions, rows} as JSON; in the interpreter that has the package)
"""
import dataclasses
import enum
import importlib
import inspect
import json
import sys
import types
import typing
from importlib.metadata import version

DEEPEST = 5
# Too wide to be rows: its two hundred catalogue entries are data of one option.
OPAQUE = ("McpServer", "GitHubMcpServer", "GitHubMcpServerConfig")
# Plumbing that others are made of, and sandboxes' own parts, which are found through them.
NO_ROWS = ("ConnectionConfig", "VolumeConnectionConfig", "ApiClient", "TemplateBase", "TemplateClass", "Git", "EntryInfo", "WriteInfo")


def lower(name):
    return name[0].lower() + name[1:]


def hints_of(thing):
    try:
        return typing.get_type_hints(thing)
    except Exception:
        return getattr(thing, "__annotations__", {})


def is_ours(cls, package):
    return isinstance(cls, type) and cls.__module__.split(".")[0] in package


def fields_of(kind):
    """{name: annotation} of what is a set of options, else None."""
    if typing.is_typeddict(kind):
        return hints_of(kind)
    if dataclasses.is_dataclass(kind) and not any(inspect.isfunction(member) for name, member in vars(kind).items()
                                                  if not name.startswith("_")):
        return {field.name: hints_of(kind).get(field.name) for field in dataclasses.fields(kind)}
    return None


def options_of(kind, prefix, depth, add):
    origin, words = typing.get_origin(kind), typing.get_args(kind)
    if kind is None or depth > DEEPEST or getattr(kind, "__name__", "") in OPAQUE:
        return
    if origin is typing.Literal:
        for word in words:
            if isinstance(word, str):
                add(f"{prefix}='{word}'")
    elif origin in (typing.Union, types.UnionType):
        for word in words:
            options_of(word, prefix, depth, add)
    elif origin in (list, tuple, set, typing.Iterable) or getattr(origin, "__name__", "") in ("Iterable", "Sequence"):
        options_of(words[0] if words else None, prefix, depth, add)
    elif origin in (dict,) or getattr(origin, "__name__", "") == "Mapping":
        options_of(words[1] if len(words) > 1 else None, f"{prefix}.*", depth + 1, add)
    elif str(origin) in ("typing.NotRequired", "typing.Required", "typing_extensions.NotRequired", "typing_extensions.Required"):
        options_of(words[0], prefix, depth, add)
    elif isinstance(kind, type) and issubclass(kind, enum.Enum) and issubclass(kind, str):
        for word in kind:
            add(f"{prefix}='{word.value}'")
    else:
        for name, field in (fields_of(kind) or {}).items():
            at = f"{prefix}.{name}" if prefix else name
            add(at)
            options_of(field, at, depth + 1, add)


def both_ways(raw, cls):
    """(function of the class, of an object) of what the package's own descriptors make callable both ways; else (None, None)."""
    kind = type(raw).__name__
    if kind == "class_method_variant":
        return getattr(cls, raw.class_method_name), raw.method
    if kind == "DualMethod":
        return raw.__get__(None, cls), raw._instance_fn
    return None, None


class Offered:
    def __init__(self, name):
        self.module = importlib.import_module(name)
        self.package = {name, "e2b"}
        self.rows, self.classes, self.functions = {}, {}, []

    def add_call(self, name, call):
        self.rows[name] = None

        def add(option):
            self.rows[f"{name}({option})"] = None
        hints = hints_of(inspect.unwrap(call))
        for parameter in inspect.signature(call).parameters.values():
            kind = hints.get(parameter.name, parameter.annotation)
            if parameter.name in ("self", "cls") or parameter.kind is parameter.VAR_POSITIONAL:
                continue
            if parameter.kind is parameter.VAR_KEYWORD:
                inner = typing.get_args(kind)  # Unpack[...]
                options_of(inner[0] if inner else None, "", 0, add)
                continue
            if parameter.default is not parameter.empty:
                add(parameter.name)
            options_of(kind, parameter.name, 1, add)

    def add_class(self, cls, name, prefix):
        where = f"{cls.__module__}:{cls.__qualname__}"
        if where in self.classes:
            return
        own = self.classes[where] = {"name": name, "prefix": prefix, "methods": [], "constructor": False}
        for member in dir(cls):
            raw = inspect.getattr_static(cls, member)
            if member.startswith("_") or isinstance(raw, type):
                continue
            of_class, of_object = both_ways(raw, cls)
            if isinstance(raw, property):
                part = hints_of(raw.fget).get("return")
                if name.endswith("Sandbox") and is_ours(part, self.package) and part.__name__ not in NO_ROWS[:3]:
                    self.add_class(part, part.__name__, f"{prefix}.{member}")
            elif of_class or callable(getattr(cls, member)):
                own["methods"].append(member)
                if of_class:
                    self.add_call(f"{prefix}.{member}", of_object)
                    self.add_call(f"{name}.{member}", of_class)
                elif isinstance(raw, (classmethod, staticmethod)):
                    self.add_call(f"{name}.{member}", getattr(cls, member))
                else:
                    self.add_call(f"{prefix}.{member}", raw)
        made = [hints_of(getattr(cls, member)).get("return") for member in own["methods"] if inspect.isfunction(getattr(cls, member))]
        for kind in made:  # what is only ever given out, such as the builder of a template
            if is_ours(kind, self.package) and kind.__name__.endswith(("Builder", "Final")):
                self.add_class(kind, kind.__name__, lower(kind.__name__))
        if name in ("E2B", "Template", "AsyncTemplate", "ReadyCmd"):
            own["constructor"] = True
            self.add_call(f"new {name}", cls.__init__)

    def find(self):
        exported = getattr(self.module, "__all__", None) or [name for name in dir(self.module) if not name.startswith("_")]
        first = [name for name in ("Sandbox", "AsyncSandbox") if name in exported]
        for name in dict.fromkeys([*first, *exported]):
            thing = getattr(self.module, name)
            if name in NO_ROWS or typing.is_typeddict(thing):
                continue
            if inspect.isfunction(thing):
                self.functions.append(name)
                self.add_call(name, thing)
            elif is_ours(thing, self.package) and not issubclass(thing, (BaseException, enum.Enum)):
                self.add_class(thing, name, lower(name))


if __name__ == "__main__":
    offered = Offered(sys.argv[1])
    offered.find()
    print(json.dumps({"package": sys.argv[1], "version": version(sys.argv[1].replace("_", "-")), "classes": offered.classes,
                      "functions": offered.functions, "rows": list(offered.rows)}, indent=1))
