"""The flow table: every packet flow of the reference, sent for real through the program under test.

A flow is one line in `rows_*.py`: its number in the reference, the reference's words in short, the letters of the modes
it is given for (i iptables, n nftables, v IPVS), the Service in short, who connects where, and what becomes of it.
`python -m tests.flows` prints the table. To add a flow, add a line; it gets its own Service, addresses and ports.
To add a mode, add it to `modes.py`.
"""
