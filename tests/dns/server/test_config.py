"""What the flags mean together; the single wrong values are in test_bad_input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kproxy.dns.server.config import build_dns_config
from kproxy.dns.server.upstreams import node_upstreams
from kproxy.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def upstreams(tmp_path: Path, text: str, **values: Any) -> list[str]:
    file = tmp_path / "resolv.conf"
    file.write_text(text, encoding="utf-8")
    config = build_dns_config({"dns_bind_address": ("127.0.0.53:53",), **values})
    found, where = node_upstreams(config, [tmp_path / "missing", file])
    assert where == str(file)
    return [str(one) for one in found]


def test_the_nodes_servers_without_ourselves(tmp_path: Path) -> None:
    text = "nameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver 169.254.20.10\nnameserver 10.96.0.10\n"
    own: dict[str, Any] = {"dns_node_local": ("169.254.20.10",), "dns_intercept": ("10.96.0.10",)}
    assert upstreams(tmp_path, text, **own) == ["192.0.2.1:53"]


def test_who_listens_everywhere_does_not_ask_the_loopback(tmp_path: Path) -> None:
    text = "nameserver 127.0.0.1\nnameserver ::1\nnameserver 192.0.2.1\n"
    assert upstreams(tmp_path, text, dns_bind_address=("0.0.0.0:53", "[::]:53")) == ["192.0.2.1:53"]


def test_no_file_is_no_server(tmp_path: Path) -> None:
    config = build_dns_config({"dns_bind_address": ("127.0.0.1:53",)})
    assert node_upstreams(config, [tmp_path / "missing"]) == ((), "no resolv.conf")


@pytest.mark.parametrize("upstream", ["169.254.20.10", "10.96.0.10:53"])
def test_an_address_of_our_own_is_no_upstream(upstream: str) -> None:
    values = {"dns_node_local": ("169.254.20.10",), "dns_intercept": ("10.96.0.10",), "dns_upstream": (upstream,)}
    with pytest.raises(ConfigError, match="is this server itself"):
        build_dns_config(values)


def test_the_command_line_of_the_child_says_the_same() -> None:
    values: dict[str, Any] = {
        "dns_bind_address": ("127.0.0.1:5353", "[::1]:53"),
        "dns_node_local": ("169.254.20.10",),
        "dns_intercept": ("10.96.0.10",),
        "dns_upstream": ("192.0.2.1", "[2001:db8::1]:5353"),
        "dns_reverse": ("10.244.0.0/16",),
        "dns_ttl": 0,
        "dns_transfer_to": ("192.0.2.0/24", "2001:db8::1"),
        "dns_workers": 2,
        "dns_ready_file": "/run/kproxy/ready",
        "logging_format": "json",
        "dns_metrics_bind_address": "",
        "cluster_domain": "example.cluster",
        "kubeconfig": "/k",
        "verbosity": 4,
    }
    config = build_dns_config(values)
    said = dict(word.removeprefix("--").split("=", 1) for word in config.arguments())
    assert said["dns-bind-address"] == "127.0.0.1:5353,[::1]:53"
    lists = ("dns-bind-address", "dns-node-local", "dns-intercept", "dns-upstream", "dns-reverse", "dns-transfer-to")
    again: dict[str, Any] = {
        {"v": "verbosity"}.get(flag, flag.replace("-", "_")): tuple(value.split(",")) if flag in lists else value
        for flag, value in said.items()
    }
    assert build_dns_config(again) == config
