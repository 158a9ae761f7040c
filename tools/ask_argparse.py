"""What SGLang's own argparse says to flags.

    python tools/ask_argparse.py CATALOG [PACKAGES] < JSON      in an interpreter with SGLang

CATALOG is launcher/catalog, PACKAGES a folder to import SGLang from. Reads a list of command lines, prints a list of
answers: "" for one that it takes. It stops at the first flag that is wrong.
"""

import argparse
import contextlib
import io
import json
import os
import sys

out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what SGLang prints while it is imported is no answer
sys.path[:1] = reversed(sys.argv[1:])
import extract  # type: ignore[import-not-found]  # noqa: E402

module, _ = extract.import_server_args()
parser = argparse.ArgumentParser()
module.ServerArgs.add_cli_args(parser)
answers = []
for argv in json.load(sys.stdin):
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            _, rest = parser.parse_known_args(["--model-path", "x", *argv])
        answers.append("unrecognized" if rest else "")
    except SystemExit:
        answers.append(said.getvalue().strip().splitlines()[-1])
    except Exception as error:
        answers.append(repr(error))
json.dump(answers, out)
out.flush()
os._exit(0)  # not what else SGLang has started
