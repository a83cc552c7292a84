from __future__ import annotations

import pytest

from kproxy.errors import ConfigError
from kproxy.health.bind import BindAddress, parse_bind


@pytest.mark.parametrize(
    ("text", "host", "port", "everywhere"),
    [
        ("0.0.0.0:10256", "0.0.0.0", 10256, True),
        ("127.0.0.1:0", "127.0.0.1", 0, False),
        ("[::]:10256", "::", 10256, True),
        ("[::1]:80", "::1", 80, False),
        (":10256", "", 10256, True),
        ("192.0.2.1", "192.0.2.1", 7, False),
        ("0.0.0.0", "0.0.0.0", 7, True),
        ("::", "::", 7, True),
        ("[2001:db8::1]", "2001:db8::1", 7, False),
    ],
)
def test_parse(text: str, host: str, port: int, everywhere: bool) -> None:
    bind = parse_bind(text, field="healthzBindAddress", default_port=7)
    assert (bind, bind.all_addresses) == (BindAddress(host, port), everywhere)


@pytest.mark.parametrize(
    "text",
    ["", "localhost:80", "10256", "0.0.0.0:", "0.0.0.0:65536", "0.0.0.0:-1", "0.0.0.0:http", "1.2.3:80", "[::]:x",
     "[1.2.3.4", "1.2.3.4]", "[1.2.3.4]x", "::1:", "0.0.0.0:８０", "[]:80"],
)  # fmt: skip
def test_refused_with_the_field(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^healthzBindAddress: ") as raised:
        parse_bind(text, field="healthzBindAddress", default_port=7)
    assert "IP:PORT" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("host", "text"), [("", ":80"), ("::1", "[::1]:80"), ("192.0.2.1", "192.0.2.1:80")])
def test_text(host: str, text: str) -> None:
    assert str(BindAddress(host, 80)) == text
