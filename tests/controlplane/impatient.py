"""`python -m tests.controlplane.impatient run ...` is `kproxy run ...` that waits for a silent stream a shorter time.

A real server says something about once a minute, so kproxy's own patience is two and a half of them: too long for a
test. Everything else is as it is.
"""

from __future__ import annotations

import functools
from unittest import mock

from kproxy.cli import main
from kproxy.kube import reflector
from kproxy.kube.requests import Timing

SILENCE_S = 3.0

if __name__ == "__main__":
    with mock.patch.object(reflector, "Timing", functools.partial(Timing, watch_silence_s=SILENCE_S)):
        main()
