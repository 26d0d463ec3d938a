#!/usr/bin/env python3
"""A minute of torment (see torment) with a new seed each time, which it prints first."""

import os
import pathlib
import sys

TORMENT = pathlib.Path(__file__).with_name("torment")

if __name__ == "__main__":
    os.execv(sys.executable, [sys.executable, str(TORMENT), "--minutes", "1", *sys.argv[1:]])
