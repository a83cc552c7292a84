from __future__ import annotations

import pytest

from kproxy.dns.resolv_conf import name_servers, parse_upstream
from kproxy.errors import ConfigError


def test_the_nameserver_lines_count_each_once() -> None:
    text = """
# nameserver 192.0.2.9
; nameserver 192.0.2.9
search example.com
nameserver 192.0.2.1
  nameserver\t192.0.2.2   # trailing words
nameserver fe80::1%eth0
nameserver 192.0.2.1
nameserver nonsense
nameserver
options ndots:5
"""
    assert name_servers(text) == ["192.0.2.1", "192.0.2.2", "fe80::1%eth0"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", ("192.0.2.1", 53)),
        ("192.0.2.1:5353", ("192.0.2.1", 5353)),
        ("2001:db8::1", ("2001:db8::1", 53)),
        ("[fe80::1%eth0]:5353", ("fe80::1%eth0", 5353)),
        ("[2001:db8::1]", ("2001:db8::1", 53)),
        ("[2001:db8::1]:5353", ("2001:db8::1", 5353)),
    ],
)
def test_upstreams(text: str, expected: tuple[str, int]) -> None:
    assert parse_upstream(text, field="--dns-upstream") == expected


@pytest.mark.parametrize("text", ["", "dns.example", "192.0.2.1:0", "192.0.2.1:x", "192.0.2.1:70000", "[::1", "1.2.3"])
def test_what_is_no_upstream(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--dns-upstream: .* is not an address"):
        parse_upstream(text, field="--dns-upstream")
