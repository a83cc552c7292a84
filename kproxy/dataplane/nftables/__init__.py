"""The nftables mode's shells: reading and writing a table, seeing what others do to it."""
