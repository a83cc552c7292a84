"""Tests of the netlink codecs and socket."""
