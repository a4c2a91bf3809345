"""`npserver schema [-markdown]`: the config's JSON Schema for editors, or its reference for people."""

from __future__ import annotations

import json
import sys

USAGE = "usage: npserver schema [-markdown]"


def main(words: list[str]) -> int:
    """Print the schema. Gives the exit status."""
    if words in (["-help"], ["--help"], ["-h"]):
        print(USAGE)
        return 0
    if not words:
        from npserver.config.jsonschema import json_schema

        print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
        return 0
    if words in (["-markdown"], ["--markdown"]):
        from npserver.config.reference import reference

        print(reference(), end="")
        return 0
    print(USAGE, file=sys.stderr)
    return 2
