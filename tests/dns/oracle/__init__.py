"""The real CoreDNS with its kubernetes plugin, on the real API server, is asked what kproxy is asked: do they agree?

`known.py` lists what differs, each with its row in docs/differences.md; anything else is an error in kproxy.
"""
