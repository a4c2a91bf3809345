"""`python -m npserver`."""

from __future__ import annotations

import sys

from npserver.cli import main

if __name__ == "__main__":
    sys.exit(main())
