"""The flow table, played by the real kube-proxy and by kproxy in turn: does the reference do what the table says of it,
and do we do the same?

Every row goes as real API objects into a real API server, both programs read them from there, and the same probes are
sent. `known.py` lists what differs, with the reason and its row in docs/differences.md; anything else that differs is
an error in the table, or in kproxy. `python -m tests.oracle` prints row by row what came of it.
"""
