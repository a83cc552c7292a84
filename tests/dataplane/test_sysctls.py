from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kproxy.dataplane import sysctls
from kproxy.errors import FeatureMissing, KernelError, PermissionMissing
from kproxy.plan.sysctls import ConntrackSettings, Sysctl, wanted_sysctls
from tests.netlink.netns import PrivateNetns

if TYPE_CHECKING:
    from collections.abc import Iterator

UDP = Sysctl("net/netfilter/nf_conntrack_udp_timeout", 77, "--conntrack-udp-timeout", "set --conntrack-udp-timeout 0")
BUCKETS = Sysctl("net/netfilter/nf_conntrack_buckets", 65536, "--flag", "do this", minimum=True)


@pytest.fixture
def netns() -> Iterator[PrivateNetns]:
    with PrivateNetns() as made:
        yield made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "net/netfilter").mkdir(parents=True)
    return tmp_path


def put(root: Path, sysctl: Sysctl, text: str) -> Path:
    path = root / sysctl.name
    path.write_text(text)
    # A write, even of the same text, would now show.
    path.touch()
    return path


@pytest.mark.parametrize(
    ("sysctl", "present", "after"),
    [
        (UDP, "30\n", "77\n"),
        (UDP, "300\n", "77\n"),
        (UDP, "77\n", None),
        (BUCKETS, "65535\n", "65536\n"),
        (BUCKETS, "65536\n", None),
        (BUCKETS, "262144\n", None),
    ],
)
def test_written_only_if_different(root: Path, sysctl: Sysctl, present: str, after: str | None) -> None:
    path = put(root, sysctl, present)
    before = path.stat().st_mtime_ns
    assert sysctls.apply([sysctl], root) == ((sysctl,) if after else ())
    assert path.read_text() == (after or present)
    if after is None:
        assert path.stat().st_mtime_ns == before


def test_in_order_and_what_was_written_before_a_failure_stays(root: Path) -> None:
    first, missing = put(root, UDP, "30\n"), BUCKETS
    with pytest.raises(FeatureMissing):
        sysctls.apply([UDP, missing], root, load_conntrack=lambda: None)
    assert first.read_text() == "77\n"
    assert not (root / missing.name).exists()


def test_a_setting_the_kernel_does_not_have(root: Path) -> None:
    with pytest.raises(FeatureMissing) as caught:
        sysctls.apply([UDP], root, load_conntrack=lambda: None)
    assert str(caught.value) == (
        "set net.netfilter.nf_conntrack_udp_timeout to 77, as --conntrack-udp-timeout asks for: "
        "this kernel does not have it - load the module nf_conntrack, or set --conntrack-udp-timeout 0"
    )


def test_connection_tracking_is_loaded_where_nobody_had_a_reason_to(root: Path) -> None:
    """Of a machine that was booted just now."""

    def load() -> None:
        put(root, UDP, "30\n")

    assert sysctls.apply([UDP], root, load_conntrack=load) == (UDP,)
    assert (root / UDP.name).read_text() == "77\n"


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.EROFS])
def test_may_not_be_written(root: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    put(root, UDP, "30\n")

    def refuse(_path: Path, _text: str) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(
        PermissionMissing, match=r"--conntrack-udp-timeout .*read-only .* - set --conntrack-udp-timeout 0"
    ):
        sysctls.apply([UDP], root)


def test_a_value_that_is_no_number(root: Path) -> None:
    put(root, UDP, "1 2 3\n")
    with pytest.raises(KernelError, match=r"^set net.netfilter.nf_conntrack_udp_timeout to 77, as "):
        sysctls.apply([UDP], root)


def test_read(root: Path) -> None:
    put(root, UDP, "30\n")
    assert sysctls.read(UDP.name, root) == 30
    assert sysctls.read(BUCKETS.name, root) is None


def test_count_cpus() -> None:
    online = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("processor")]
    assert sysctls.count_cpus() == len(online)


@pytest.mark.root
class TestKernel:
    """The settings that a network namespace has of its own; the sizes belong to the host and are not touched."""

    settings = ConntrackSettings(
        max_per_core=0,
        tcp_timeout_established_s=4001,
        tcp_timeout_close_wait_s=4002,
        tcp_be_liberal=True,
        udp_timeout_s=4003,
        udp_timeout_stream_s=4004,
    )

    def test_all_are_set_and_then_left_alone(self, netns: PrivateNetns) -> None:
        wanted = wanted_sysctls(self.settings, cpus=2, mode="iptables")
        assert netns.run(lambda: sysctls.apply(wanted)) == wanted
        names = (
            "tcp_timeout_established",
            "tcp_timeout_close_wait",
            "tcp_be_liberal",
            "udp_timeout",
            "udp_timeout_stream",
        )
        listed = netns.tool("sysctl", "-n", *(f"net.netfilter.nf_conntrack_{name}" for name in names))
        assert listed.split() == ["4001", "4002", "1", "4003", "4004"]
        assert netns.tool("sysctl", "-n", "net.ipv4.conf.all.route_localnet").strip() == "1"
        assert netns.run(lambda: sysctls.apply(wanted)) == ()
        assert netns.run(lambda: sysctls.read("net/netfilter/nf_conntrack_tcp_be_liberal")) == 1

    def test_read_only_in_this_namespace(self, netns: PrivateNetns) -> None:
        read_only = Sysctl("net/netfilter/nf_conntrack_count", 5, "--conntrack-max-per-core", "set it to 0")
        with pytest.raises(PermissionMissing, match=r"nf_conntrack_count .* --conntrack-max-per-core .* - set it to 0"):
            netns.run(lambda: sysctls.apply([read_only]))

    def test_a_value_the_kernel_does_not_take(self, netns: PrivateNetns) -> None:
        wrong = Sysctl("net/netfilter/nf_conntrack_tcp_be_liberal", 7, "--conntrack-tcp-be-liberal", "leave it out")
        with pytest.raises(KernelError, match="to 7, as --conntrack-tcp-be-liberal asks for: Invalid argument"):
            netns.run(lambda: sysctls.apply([wrong]))
