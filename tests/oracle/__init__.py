"""The flow table, played by the real kube-proxy: does the reference do what the table says of it?

Every row goes as real API objects into a real API server, kube-proxy reads them from there, and the same probes as for
kproxy are sent. `known.py` lists what differs, with the reason; anything else that differs is an error in the table.
`python -m tests.oracle [nft|legacy]` prints row by row what came of it.
"""
