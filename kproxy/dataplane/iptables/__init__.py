"""The iptables mode's shells: the tools, the lock, the probe, and the proxier that applies a ruleset."""
