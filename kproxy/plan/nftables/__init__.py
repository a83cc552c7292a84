"""The nftables mode's planning: a ruleset in which Services are data. Pure."""
