"""What holds for every test."""

import os

from hypothesis import settings

from command import hlml as hlml  # the fixture: the command line without torch

# Before torch is imported, and handed on to the commands that tests start: two threads on
# tensors this small, with the other tests' processes beside them, are slower than one.
os.environ["OMP_NUM_THREADS"] = "1"
# `make test` leaves its own command line here, and a make started by a test would obey it.
for name in ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL"):
    os.environ.pop(name, None)

# A slow machine is not a failing test.
settings.register_profile("hlml", deadline=None)
settings.load_profile("hlml")
