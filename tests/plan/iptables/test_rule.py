"""Pieces of rules: nothing from an object can break out of a comment, and matches are kube-proxy's text."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kproxy.plan.iptables.rule import comment, from_local, frontend_match, not_from_local, reject
from kproxy.plan.local_traffic import LocalTraffic


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ns1/svc1:p80 cluster IP", "ns1/svc1:p80 cluster IP"),
        ('x" -j ACCEPT -m comment --comment "', "x? -j ACCEPT -m comment --comment ?"),
        ("x\n-A INPUT -j ACCEPT", "x?-A INPUT -j ACCEPT"),
        ("x\\", "x?"),
        ("`reboot`", "?reboot?"),
        ("tab\there, nul\x00, del\x7f", "tab?here, nul?, del?"),
        ("wéb 网", "w?b ?"),
        ("it's $HOME; # not", "it's $HOME; # not"),
    ],
)
def test_comment(text: str, shown: str) -> None:
    assert comment(text) == f'-m comment --comment "{shown}"'


def test_a_comment_is_cut_at_the_kernel_s_limit() -> None:
    assert shlex.split(comment("x" * 300))[-1] == "x" * 255


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_one_word_of_one_line(text: str) -> None:
    made = comment(text)
    assert made.isascii()
    assert made.isprintable()
    words = shlex.split(made)
    assert words[:3] == ["-m", "comment", "--comment"]
    assert len(words) == 4
    assert len(words[3]) <= 255


@pytest.mark.parametrize(
    ("protocol", "ip", "port", "match"),
    [
        ("TCP", "172.30.0.41", 80, "-m tcp -p tcp -d 172.30.0.41 --dport 80"),
        ("UDP", "fd00::41", 53, "-m udp -p udp -d fd00::41 --dport 53"),
        ("SCTP", "", 30080, "-m sctp -p sctp --dport 30080"),
    ],
)
def test_frontend_match(protocol: str, ip: str, port: int, match: str) -> None:
    assert frontend_match(protocol, ip, port) == match


def test_refusal_is_a_reset_for_tcp_alone() -> None:
    assert reject("TCP") == "-j REJECT --reject-with tcp-reset"
    assert reject("UDP") == reject("SCTP") == "-j REJECT"


@pytest.mark.parametrize(
    ("local", "source", "other"),
    [
        (LocalTraffic(cidr="10.244.0.0/16"), "-s 10.244.0.0/16", "! -s 10.244.0.0/16"),
        (LocalTraffic(interface="cbr0"), "-i cbr0", "! -i cbr0"),
        (LocalTraffic(interface_prefix="veth"), "-i veth+", "! -i veth+"),
    ],
)
def test_where_local_traffic_comes_from(local: LocalTraffic, source: str, other: str) -> None:
    assert (from_local(local), not_from_local(local)) == (source, other)
