"""Netlink: codecs (pure: bytes in, values out) and one thin socket. No other file knows a kernel byte layout."""
