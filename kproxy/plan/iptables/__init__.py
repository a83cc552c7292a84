"""Intents become chains of rules: the iptables mode, as text, without touching anything."""
