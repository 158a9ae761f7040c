"""Read every command-line flag of an SGLang server out of SGLang itself.

A standalone script: standard library only, Python 3.10+ as SGLang, nothing from the rest of
the package, because it is run by *other* interpreters (the one that SGLang is
installed in): ``python extract.py [--root DIR]`` prints one JSON object.

What it does is what ``sglang.launch_server`` does first: build an
``argparse.ArgumentParser``, let ``ServerArgs.add_cli_args`` fill it, and look at
the actions. No model, GPU or kernel is touched. Importing
``sglang.srt.server_args`` takes 4 to 10 s and about 500 MB.

SGLang imports much that has nothing to do with its flags, so on a machine
without its exact dependencies that import fails. What fails is then stood in
for, one name at a time, and listed under ``stood_in`` in the result:

- a module that is missing, or breaks while it loads, becomes an empty one;
- a name that a module of another version lacks becomes an inert placeholder;
- ``transformers``' auto classes accept a second registration of one name.

None of SGLang's own modules is ever stood in for, so a list of choices that
SGLang computes is computed by its own code.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.machinery
import json
import os
import re
import sys
import types
from typing import Any

# More attempts than any version needed (at most 6); each takes a few seconds.
MAX_ATTEMPTS = 25


class Placeholder:
    """Inert: can be called, subclassed, indexed and asked for attributes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # Used as a decorator it must hand back what it decorates.
        if len(args) == 1 and not kwargs and callable(args[0]):
            return args[0]
        return Placeholder()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Placeholder()

    def __getitem__(self, key: Any) -> Any:
        return Placeholder()

    def __mro_entries__(self, bases: Any) -> Any:
        return ()


class StandInModule(types.ModuleType):
    """An empty module in which every name is a placeholder."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        full = self.__name__ + "." + name
        if full in sys.modules:
            return sys.modules[full]
        return Placeholder()


def _stand_in_module(name: str) -> None:
    module = StandInModule(name)
    module.__path__ = []  # so that it counts as a package
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    sys.modules[name] = module


def _forget_sglang() -> None:
    """Drop half-imported SGLang modules, so that the next attempt starts afresh."""
    for name in [n for n in sys.modules if n == "sglang" or n.startswith("sglang.")]:
        del sys.modules[name]


def _hide_broken(name: str) -> bool:
    """Make an optional module that breaks while it loads look absent.

    PyPI's torchvision is a CUDA build that raises beside a CPU build of torch;
    transformers does without a torchvision that is absent, not without a broken one.
    """
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        return False
    except Exception:
        for loaded in [n for n in sys.modules if n == name or n.startswith(name + ".")]:
            del sys.modules[loaded]
        sys.modules[name] = None  # type: ignore[assignment]
        return True
    return False


def _accept_second_registration() -> None:
    """Let transformers register a configuration it already knows by itself."""
    try:
        from transformers.models.auto import auto_factory, configuration_auto
    except Exception:  # transformers is broken or absent: the import loop says so
        return
    for owner in (configuration_auto._LazyConfigMapping, auto_factory._LazyAutoMapping):
        original = owner.register

        def register(self: Any, key: Any, value: Any, exist_ok: bool = False, _original: Any = original) -> Any:
            return _original(self, key, value, exist_ok=True)

        setattr(owner, "register", register)  # noqa: B010


def _broken_module(error: BaseException) -> str | None:
    """The top-level module outside SGLang in whose code `error` was raised."""
    trace = error.__traceback__
    ours = ("", "sglang", "__main__", "importlib")
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__", "")
        top = name.split(".")[0]
        # Only a module that is being loaded counts: a function that raises
        # when SGLang calls it is SGLang's own business.
        if trace.tb_frame.f_code.co_name == "<module>" and top not in ours:
            return top
        trace = trace.tb_next
    return None


def import_server_args() -> tuple[Any, list[str]]:
    """Import ``sglang.srt.server_args``; return it and what was stood in for.

    Raises the last error when standing in does not help.
    """
    hidden = [name for name in ("torchvision",) if _hide_broken(name)]
    stood_in: list[str] = []
    if "transformers" not in sys.modules:
        _accept_second_registration()
    for _ in range(MAX_ATTEMPTS):
        try:
            return importlib.import_module("sglang.srt.server_args"), sorted({*stood_in, *hidden})
        except Exception as error:
            what = _stand_in_for(error)
            if what is None or what in stood_in:
                raise
            stood_in.append(what)
            _forget_sglang()
    raise RuntimeError(f"sglang.srt.server_args still fails to import after {MAX_ATTEMPTS} tries")


def _stand_in_for(error: BaseException) -> str | None:
    """Stand in for whatever made `error`; say what, or None if nothing can."""
    if isinstance(error, ImportError):
        missing = re.match(r"cannot import name '([^']+)' from '([^']+)'", str(error))
        if missing and not missing.group(2).startswith("sglang"):
            name, owner = missing.groups()
            if owner in sys.modules:
                setattr(sys.modules[owner], name, Placeholder())
                return owner + ":" + name
        absent = error.name if isinstance(error, ModuleNotFoundError) else None
        if absent and not absent.startswith("sglang"):
            _stand_in_module(absent)
            return absent
    broken = _broken_module(error)
    if broken is None or broken in sys.stdlib_module_names:
        return None
    for name in [n for n in sys.modules if n == broken or n.startswith(broken + ".")]:
        del sys.modules[name]
    _stand_in_module(broken)
    return broken


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it; what has no JSON form becomes its text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(_plain(v) for v in value)
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    inner = getattr(value, "value", None)  # an Enum member
    return inner if isinstance(inner, (str, int)) else str(value)


def _successor(action: argparse.Action) -> str | None:
    """What a deprecated flag's own action or help text says to use instead."""
    new_flag = getattr(action, "new_flag", None)
    if new_flag:
        return str(new_flag)
    text = getattr(action, "error_message", None) or action.help
    found = re.search(
        r"(?:\buse|\bset|\balias for)\s+([`'\"]*)(--[\w-]+)"
        # A value counts only where it is marked as one: --x=v, `--x` to 'v', '--x v'.
        r"(?:(?:=|\1 to [`'\"])(\w+)|(?: (\w+)\1(?<=[`'\"])))?",
        text if isinstance(text, str) else "",
        re.I,
    )
    if not found or found.group(2) in action.option_strings:
        return None
    value = found.group(3) or found.group(4)
    return found.group(2) + ("=" + value if value else "")


def _is_deprecated(action: argparse.Action) -> bool:
    if "Deprecated" in type(action).__name__:
        return True
    text = action.help if isinstance(action.help, str) else ""
    return bool(re.match(r"\W*(note:?\s*)?(--[\w-]+ is )?deprecated", text or "", re.I))


def describe(action: argparse.Action, fields: Any) -> dict[str, Any]:
    """One argparse action as a JSON object; what equals the usual is left out."""
    names = [o[2:] for o in action.option_strings if o.startswith("--")]
    # The field's own name is the one that stays the same over the versions,
    # which put now the long and now the short spelling first.
    preferred = [n for n in names if n.replace("-", "_") in fields] or [
        n for n in names if n.replace("-", "_") == action.dest
    ]
    canonical = (preferred or names)[0]
    names.sort(key=lambda n: n != canonical)  # stable: the others keep their order
    flag: dict[str, Any] = {"names": names}
    short = [o for o in action.option_strings if not o.startswith("--")]
    if short:
        flag["short"] = short
    kind = type(action).__name__
    if action.nargs == 0:
        flag["type"] = "onoff" if "BooleanOptional" in kind else "switch"
    else:
        flag["type"] = getattr(action.type, "__name__", "str") if action.type else "str"
    if action.nargs not in (None, 0):
        flag["nargs"] = action.nargs
    if action.choices is not None:
        flag["choices"] = [_plain(c) for c in action.choices]
        if isinstance(action.choices, (set, frozenset)):
            flag["choices"].sort()
    default = None if action.default is argparse.SUPPRESS else _plain(action.default)
    if default is not None and not (flag["type"] == "switch" and default is False):
        flag["default"] = default
    if action.required:
        flag["required"] = True
    if action.dest != canonical.replace("-", "_"):
        flag["dest"] = action.dest
    if _is_deprecated(action):
        flag["deprecated"] = _successor(action) or ""
        if kind == "DeprecatedAction":
            # Parsed and then refused, or reported and then without any effect.
            flag["refused" if getattr(action, "error_message", None) else "inert"] = True
    return flag


def extract() -> dict[str, Any]:
    """The catalogue of the SGLang that this interpreter imports."""
    module, stood_in = import_server_args()
    parser = argparse.ArgumentParser(prog="sglang")
    module.ServerArgs.add_cli_args(parser)
    fields = set(getattr(module.ServerArgs, "__annotations__", {}))
    fields.update(getattr(module.ServerArgs, "__struct_fields__", ()))
    actions = [a for a in parser._actions if a.dest != "help" and a.option_strings]
    flags = sorted((describe(a, fields) for a in actions), key=lambda f: f["names"][0])
    return {"flags": flags, "stood_in": stood_in, "version": _version()}


def _version() -> str:
    try:
        return str(importlib.import_module("sglang.version").__version__)
    except Exception:
        return str(getattr(sys.modules.get("sglang"), "__version__", "unknown"))


def main() -> int:
    parser = argparse.ArgumentParser(description="Print the flags of this interpreter's SGLang.")
    parser.add_argument("--root", help="a folder with an unpacked wheel, used first")
    options = parser.parse_args()
    if options.root:
        sys.path.insert(0, os.path.abspath(options.root))
    # Running by path puts this file's folder first; nothing there may shadow a real module.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [p for p in sys.path if os.path.abspath(p or ".") != here]
    # SGLang and its dependencies print to stdout while they load.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    json.dump(extract(), out)
    out.flush()
    # Importing torch and friends leaves threads behind that may stall a normal exit.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
