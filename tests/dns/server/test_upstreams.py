"""The servers that a resolv.conf names, while it changes."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from kproxy.dns.exchange import Upstream
from kproxy.dns.server import upstreams
from kproxy.dns.server.config import build_dns_config
from kproxy.dns.server.outside import place
from kproxy.dns.server.upstreams import Upstreams

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_that_is_away_or_empty_or_names_ourselves_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Some programs write it in place: for a moment it is empty, and names outside must not be refused meanwhile."""
    file = tmp_path / "resolv.conf"
    monkeypatch.setattr(upstreams.node_upstreams, "__defaults__", ([file],))
    config = build_dns_config({"dns_bind_address": ("169.254.20.10:53",)})
    asked = Upstreams(config)
    assert asked.pairs() == []
    file.write_text("nameserver 192.0.2.1\n")
    assert asked.look()
    for text in ("", "nameserver 169.254.20.10\n", "search example.com\n", None):
        if text is None:
            file.unlink()
        else:
            file.write_text(text)
        assert not asked.look()
        assert asked.pairs() == [("192.0.2.1", 53)]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"{file} names no other server any more: 192.0.2.1:53 are asked as before"]
    file.write_text("nameserver 192.0.2.2\n")
    assert asked.look()
    assert asked.pairs() == [("192.0.2.2", 53)]
    file.unlink()
    assert not asked.look()
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 2


def test_a_link_local_server_is_asked_on_its_interface() -> None:
    assert place(Upstream("2001:db8::1", 5353)) == ("2001:db8::1", 5353)
    assert place(Upstream("fe80::1%lo")) == ("fe80::1", 53, 0, socket.if_nametoindex("lo"))
    assert place(Upstream("fe80::1%7")) == ("fe80::1", 53, 0, 7)
    with pytest.raises(OSError, match="interface"):
        place(Upstream("fe80::1%no-such"))
