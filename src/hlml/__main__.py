"""`python -m hlml`, as torchrun starts it."""

import sys

from hlml.cli import main

if __name__ == "__main__":
    sys.exit(main())
