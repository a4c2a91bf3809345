"""`npserver schema [-markdown]`: print the config's JSON Schema, or its reference as Markdown."""

from __future__ import annotations

import json
import sys

USAGE = """\
usage: npserver schema [-markdown]

Print the JSON Schema of the config file, which gives editors completion and checks.

  -markdown   print the configuration reference in Markdown instead
"""


def main(words: list[str]) -> int:
    """Print the schema. Return the exit status."""
    if words in (["-help"], ["--help"], ["-h"]):
        print(USAGE, end="")
        return 0
    if words in ([], ["-markdown"], ["--markdown"]):
        from npserver.config.extensions import faults

        for fault in faults():
            print(f"npserver: {fault}", file=sys.stderr)
    if not words:
        from npserver.config.jsonschema import json_schema

        print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
        return 0
    if words in (["-markdown"], ["--markdown"]):
        from npserver.config.reference import reference

        print(reference(with_extensions=True), end="")
        return 0
    print(USAGE, end="", file=sys.stderr)
    return 2
