"""python -m examples.demo. From the first moment on a Ctrl-C is noted, not raised."""

import sys

from examples.demo.signals import Interrupt

interrupt = Interrupt()
interrupt.install()

try:
    from examples.demo.main import command
except ModuleNotFoundError as error:
    sys.exit(f"demo: the Python package {error.name} is not installed - run `make demo`, which installs what is needed")

command(prog_name="python -m examples.demo", obj=interrupt)
