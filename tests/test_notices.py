"""What the log says about objects: each thing once, and again only when it changed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from kproxy.errors import ObjectError
from kproxy.logs import SHOWN
from kproxy.metrics.registry import Metrics
from kproxy.notices import Notices
from kproxy.state.addresses import Family
from kproxy.state.cluster import ClusterState
from tests.state.objects import NODE, endpoint, endpoint_slice, gone, here, service

if TYPE_CHECKING:
    from kproxy.kube import wire

HEADLESS = service("ns1/db", clusterIP="None")


class Listener:
    """Tells notices, and returns what they say as "LEVEL text"."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.caplog = caplog
        self.metrics = Metrics()
        self.notices = Notices(self.metrics)
        self.state = ClusterState(NODE)

    def apply(self, *objects: wire.KubeObject) -> None:
        self.state.apply(map(here, objects))

    def tell(self, *problems: str) -> list[str]:
        self.caplog.clear()
        for key in self.state.services:
            self.state.ports(key, Family.IPV4)
        with self.caplog.at_level(logging.INFO, "kproxy"):
            self.notices.tell(self.state, [ObjectError("Service", "", text) for text in problems])
        return [f"{record.levelname} {record.getMessage()}" for record in self.caplog.records]


@pytest.fixture
def listener(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Listener:
    monkeypatch.setattr(logging.getLogger("kproxy"), "propagate", True)
    return Listener(caplog)


def test_a_problem_is_told_once_and_its_end_too(listener: Listener) -> None:
    assert not listener.notices.told
    assert listener.tell("a", "b") == ["ERROR refused: Service: a", "ERROR refused: Service: b"]
    assert listener.notices.told
    assert listener.tell("a", "b") == []
    assert listener.tell("b", "c") == ["ERROR refused: Service: c", "INFO mended: Service: a"]
    assert listener.tell() == ["INFO mended: Service: b", "INFO mended: Service: c"]
    assert listener.tell("a") == ["ERROR refused: Service: a"]


def test_the_number_of_problems_is_a_metric(listener: Listener) -> None:
    for problems in (("a", "b", "b"), ("a",), ()):
        listener.tell(*problems)
        assert listener.metrics.registry.get_sample_value("kproxy_source_errors") == len(set(problems))


def test_what_is_ignored_is_told_once(listener: Listener) -> None:
    listener.apply(service(externalIPs=["nonsense"]), endpoint_slice("s", [endpoint("nonsense")]))
    first = listener.tell()
    assert first == [
        "WARNING Service ns1/svc1: spec.externalIPs: 'nonsense' is not an IP address; ignored",
        "WARNING EndpointSlice s: endpoints[0].addresses[0]: not an IPv4 address; ignored",
    ]
    assert listener.tell() == []
    listener.apply(service())
    assert listener.tell() == []
    listener.apply(service(externalIPs=["nonsense"]))
    assert listener.tell() == first[:1]


def test_services_without_rules(listener: Listener) -> None:
    listener.apply(HEADLESS)
    assert listener.tell() == ["INFO no rules, handed to DNS: ns1/db (headless)"]
    assert listener.tell() == []
    listener.apply(service("ns1/db", type="ExternalName", clusterIP=None))
    assert listener.tell() == ["INFO no rules, handed to DNS: ns1/db (ExternalName)"]
    listener.state.apply([gone(HEADLESS)])
    assert listener.tell() == []
    listener.apply(HEADLESS)
    assert listener.tell() == ["INFO no rules, handed to DNS: ns1/db (headless)"]


def test_thousands_are_counted_and_not_listed(listener: Listener) -> None:
    listener.apply(*(service(f"ns1/db{n:04}", clusterIP="None") for n in range(1000)))
    said = listener.tell(*(f"bad {n}" for n in range(SHOWN + 1)))
    refused = [line for line in said if line.startswith("ERROR")]
    assert refused[0] == "ERROR refused: Service: bad 0"
    assert refused[-1].endswith("... and 1 more")
    assert len(refused) == SHOWN + 1
    assert [line for line in said if line.startswith("INFO")][-1].endswith(f"... and {1000 - SHOWN} more")


def test_exactly_as_many_as_are_shown(listener: Listener) -> None:
    assert len(listener.tell(*(f"bad {n}" for n in range(SHOWN)))) == SHOWN
