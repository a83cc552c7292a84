"""Chain names are kube-proxy's: the vectors of reference section 2.3, the first two known from live clusters."""

from __future__ import annotations

import pytest

from kproxy.plan.iptables import names
from kproxy.state.service import ServicePortName


def name_of(text: str, protocol: str) -> ServicePortName:
    namespace, _, rest = text.partition("/")
    service, _, port = rest.partition(":")
    return ServicePortName(namespace, service, port, protocol)


@pytest.mark.parametrize(
    ("name", "protocol", "digest"),
    [
        ("default/kubernetes:https", "TCP", "NPX46M4PTMTKRN6Y"),
        ("kube-system/kube-dns:dns", "UDP", "TCOU7JCQXEZGVUNU"),
        ("ns1/svc1:p80", "TCP", "XPGD46QRK7WJZT7O"),
        ("ns1/svc2", "TCP", "W42CZYI5PP74GXW6"),
    ],
)
def test_hash_of_a_port(name: str, protocol: str, digest: str) -> None:
    assert names.port_hash(name_of(name, protocol)) == digest


@pytest.mark.parametrize(
    ("address", "chain"),
    [("10.180.0.1:80", "KUBE-SEP-SXIVWICOYRO3J4NJ"), ("[fd00::1]:80", "KUBE-SEP-T5UNFIPVCZXM3U7X")],
)
def test_name_of_an_endpoint(address: str, chain: str) -> None:
    assert names.endpoint_name(name_of("ns1/svc1:p80", "TCP"), address) == chain


@pytest.mark.parametrize("prefix", names.PER_SERVICE_PREFIXES)
def test_names_fit_into_the_kernel_s_limit(prefix: str) -> None:
    assert len(prefix) + 16 <= names.MAX_CHAIN_NAME == 28


@pytest.mark.parametrize("what", ["10.96.1.0/24", "fd00:10:96::/112", "H-255.255.255.240/28", "sctp-61440:65535"])
def test_a_branch_has_a_readable_name_where_it_fits(what: str) -> None:
    name = names.dispatch_chain(what)
    assert len(name) <= 28
    assert name == f"KUBE-SVC-{what}" or len(f"KUBE-SVC-{what}") > 28


def test_a_long_branch_has_a_hash() -> None:
    one = names.dispatch_chain("fd00:1111:2222:3333:4444:5555:6666::/124")
    other = names.dispatch_chain("fd00:1111:2222:3333:4444:5555:6667::/124")
    assert one != other
    assert all(len(name) == 25 and name.startswith("KUBE-SVC-") for name in (one, other))


def test_branches_are_stale_per_service_chains_to_kube_proxy() -> None:
    """So that it removes them when the node is given back."""
    assert names.dispatch_chain("10.96.1.0/24").startswith(names.CLUSTER_PREFIX)
