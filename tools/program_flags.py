"""Print the flags of one of Dynamo's programs, or of a router, as launcher/catalog/extract.py describes flags.

    python tools/program_flags.py ROOT PROGRAM      PROGRAM: worker frontend mocker router sglang-router smg

ROOT is a folder with the unpacked wheels of one release. Nothing is started: the program's own parser is built, and
its actions are read. The interpreter needs msgspec, packaging and PyYAML, as the project's own has.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

# Names of a program's own types -> those of launcher/catalog/values.py. What is not named here is a text.
TYPES = {
    "int": "int", "positive_int": "int", "non_negative_int": "int", "float": "float", "non_negative_float": "float",
    "nullable_int": "nullable_int", "_nullable_int": "nullable_int",
    "nullable_float": "nullable_float", "_nullable_float": "nullable_float",
    "switch": "switch", "onoff": "onoff",
}  # fmt: skip


class Built(Exception):
    """A program's parser, at the moment when it would read the command line."""


def parser_of(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    if program == "worker":
        runtime = importlib.import_module("dynamo.common.configuration.groups.runtime_args")
        sglang = importlib.import_module("dynamo.sglang.backend_args")
        runtime.DynamoRuntimeArgGroup().add_arguments(parser)
        sglang.DynamoSGLangArgGroup().add_arguments(parser)
    elif program == "frontend":
        importlib.import_module("dynamo.frontend.frontend_args").FrontendArgGroup().add_arguments(parser)
    elif program in ("mocker", "router"):

        def stop(self: argparse.ArgumentParser, *_args: Any, **_more: Any) -> None:
            raise Built(self)

        argparse.ArgumentParser.parse_args = argparse.ArgumentParser.parse_known_args = stop  # type: ignore
        module = importlib.import_module(f"dynamo.{program}.args")
        try:
            module.parse_args(*([[]] if program == "router" else []))
        except Built as built:
            parser = built.args[0]
    else:
        package = {"sglang-router": "sglang_router", "smg": "smg"}[program]
        importlib.import_module(f"{package}.router_args").RouterArgs.add_cli_args(parser)
    return parser


def main() -> None:
    root, program = sys.argv[1:]
    sys.argv = [program]
    sys.path.insert(0, root)
    sys.path.append(str(Path(__file__).resolve().parent.parent / "launcher" / "catalog"))
    from extract import describe

    flags = []
    for action in parser_of(program)._actions:
        if action.dest not in ("help", "version") and any(o.startswith("--") for o in action.option_strings):
            flag = describe(action, {action.dest})
            flag["type"] = TYPES.get(flag["type"], "str")
            if all(isinstance(c, str) for c in flag.get("choices", [])):  # parsers' names come in any order
                flag.update({"choices": sorted(flag["choices"])} if "choices" in flag else {})
            flags.append(flag)
    json.dump(sorted(flags, key=lambda f: f["names"][0]), sys.stdout)


if __name__ == "__main__":
    main()
