"""An admin's kube-proxy command line works unchanged: every flag, its default, and kube-proxy's ways to write them."""

from __future__ import annotations

from typing import Any

import pytest

from kproxy.cli import main
from kproxy.cli.flags import OWN_FLAGS, SETTINGS, UNUSED
from kproxy.config import build_config
from tests.cli.flag_table import DEFAULTS, OTHERS
from tests.cli.reading import fails, read


@pytest.mark.parametrize("flag", list(DEFAULTS))
def test_default(flag: str) -> None:
    value = read()[flag]
    assert (value or False if DEFAULTS[flag] is False else value) == DEFAULTS[flag]


def test_defaults_that_are_filled_in() -> None:
    config = build_config({flag.replace("-", "_"): value for flag, value in read().items()})
    assert config.proxy_mode == "iptables"
    assert config.healthz_bind_address == "0.0.0.0:10256"
    assert config.metrics_bind_address == "127.0.0.1:10249"


def test_no_flag_is_forgotten_or_invented() -> None:
    own = {flag.name for flag in OWN_FLAGS} | {"version"}
    assert set(read()) - own == {*DEFAULTS, *OTHERS}


@pytest.mark.parametrize("flag", [*DEFAULTS, *OTHERS])
@pytest.mark.parametrize("underscores", [False, True])
def test_every_flag_is_taken_with_its_default_as_kube_proxy_prints_it(flag: str, underscores: bool) -> None:
    written, expected = OTHERS.get(flag) or (_written(flag), DEFAULTS[flag])
    name = flag.replace("-", "_") if underscores else flag
    assert read(f"--{name}={written}")[flag] == expected


def _written(flag: str) -> str:
    """A default as kube-proxy's help has it."""
    value = DEFAULTS[flag]
    if isinstance(value, bool):
        return "true" if value else "false"
    if value == ():
        return ""
    if flag.endswith(("period", "timeout", "frequency", "established", "close-wait", "stream")):
        return f"{value // 3600}h0m0s" if value >= 3600 else f"{value}s"
    return str(value)


WRITTEN: list[tuple[str, dict[str, Any]]] = [
    ("--masquerade-all", {"masquerade-all": True}),
    ("--masquerade-all --proxy-mode iptables", {"masquerade-all": True, "proxy-mode": "iptables"}),
    ("--masquerade-all=true", {"masquerade-all": True}),
    ("--masquerade-all=false", {}),
    ("--masquerade_all=T", {"masquerade-all": True}),
    ("--iptables-localhost-nodeports=false", {"iptables-localhost-nodeports": False}),
    ("--iptables-localhost-nodeports=0", {"iptables-localhost-nodeports": False}),
    ("--conntrack-tcp-be-liberal", {"conntrack-tcp-be-liberal": True}),
    ("--cluster_cidr=10.244.0.0/16", {"cluster-cidr": ("10.244.0.0/16",)}),
    ("--cluster-cidr 10.244.0.0/16,fd00::/56", {"cluster-cidr": ("10.244.0.0/16", "fd00::/56")}),
    ("--cluster-cidr=10.244.0.0/16 --cluster-cidr=fd00::/56", {"cluster-cidr": ("10.244.0.0/16", "fd00::/56")}),
    ("--cluster-cidr=", {}),
    ("--nodeport-addresses=primary,10.0.0.0/8", {"nodeport-addresses": ("primary", "10.0.0.0/8")}),
    ("--feature-gates A=true,B=false", {"feature-gates": ("A=true", "B=false")}),
    ("-v=2", {"v": 2}),
    ("-v2", {"v": 2}),
    ("-v 3", {"v": 3}),
    ("--v=4", {"v": 4}),
    ("--v 5", {"v": 5}),
    ("--oom-score-adj=-500", {"oom-score-adj": -500}),
    ("--oom-score-adj -500", {"oom-score-adj": -500}),
    ("--kube-api-qps=7.5 --kube-api-burst=15", {"kube-api-qps": 7.5, "kube-api-burst": 15}),
    ("--hostname-override=Node-A", {"hostname-override": "Node-A"}),
    ("--healthz-port 0", {"healthz-port": 0}),
    ("--cleanup", {"cleanup": True}),
    ("--cleanup=false", {"cleanup": False}),
    ("--init-only", {"init-only": True}),
    ("--proxy-mode=iptables --proxy-mode=ipvs", {"proxy-mode": "ipvs"}),
    ("--iptables-sync-period 1m", {"iptables-sync-period": 60}),
    ("--metrics-bind-address=", {"metrics-bind-address": ""}),
]


@pytest.mark.parametrize(("line", "expected"), WRITTEN)
def test_how_flags_are_written(line: str, expected: dict[str, Any]) -> None:
    usual, values = read(), read(*line.split())
    for flag, value in values.items():
        assert value == expected.get(flag, usual[flag]), flag


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("1m30s", 90),
        ("1h", 3600),
        ("24h0m0s", 86400),
        ("1.5h", 5400),
        ("500ms", 0.5),
        ("100us", 0.0001),
        ("100µs", 0.0001),
        ("1ns", 1e-9),
        (".5s", 0.5),
        ("2.s", 2),
        ("0", 0),
        ("0s", 0),
        ("-1s", -1),
        ("+5s", 5),
    ],
)
def test_durations_are_go_s(text: str, seconds: float) -> None:
    assert read(f"--config-sync-period={text}")["config-sync-period"] == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["5", "", "s", "1 s", "1s 2s", "1d", "1m-1s", "1,5s", "abc", "1sx", "--1s", "inf", "-"]
)
def test_what_go_would_not_read_as_a_duration(capsys: pytest.CaptureFixture[str], text: str) -> None:
    code, said = fails(capsys, "run", f"--iptables-sync-period={text}")
    assert code == 2
    assert "--iptables-sync-period" in said


@pytest.mark.parametrize("text", ["1", "t", "T", "true", "TRUE", "True"])
def test_true(text: str) -> None:
    assert read(f"--profiling={text}")["profiling"] is True


@pytest.mark.parametrize("text", ["0", "f", "F", "false", "FALSE", "False"])
def test_false(text: str) -> None:
    assert read(f"--iptables-localhost-nodeports={text}")["iptables-localhost-nodeports"] is False


def test_flags_without_effect_say_why(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["config", "--vmodule=x=1", "--masquerade-all", "--profiling"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("#")]
    assert [line.split()[1] for line in lines] == ["--profiling", "--vmodule"]
    assert all(" has no effect: " in line for line in lines)
    assert all(flag.note for flag in UNUSED)
    assert not any(flag.note for flag in (*OWN_FLAGS, *SETTINGS))


# What is refused: one line, exit code 2.

WRONG: list[tuple[str, str]] = [
    ("run --no-such-flag", "--no-such-flag"),
    ("run --no-such-flag=3", "--no-such-flag"),
    ("run -x", "-x"),
    ("run something", "something"),
    ("run --masquerade-all something", "something"),
    ("run --masquerade-all=perhaps", "--masquerade-all"),
    ("run --hostname-override", "--hostname-override"),
    ("run --iptables-masquerade-bit=x", "--iptables-masquerade-bit"),
    ("run --healthz-port=x", "--healthz-port"),
    ("run --kube-api-qps=x", "--kube-api-qps"),
    ("run -v=x", "-v"),
    ("run --v=-1", "--v"),
    ("run --iptables-variant=new", "--iptables-variant"),
    ("render --ip-family=ipx", "--ip-family"),
    ("render something", "something"),
    ("version something", "something"),
    ("cleanup --force", "--force"),
    ("no-such-verb", "no-such-verb"),
    ("--proxy-mode=iptables", "--proxy-mode"),
    # And what only the configuration can tell.
    ("run --proxy-mode=userland", "--proxy-mode"),
    ("run --proxy-mode=ipvs --ipvs-scheduler=nosuch", "--ipvs-scheduler"),
    ("run --proxy-mode=ipvs --ipvs-exclude-cidrs=nonsense", "--ipvs-exclude-cidrs"),
    ("run --proxy-mode=ipvs --ipvs-min-sync-period=1h", "--ipvs-min-sync-period"),
    ("cleanup --ipvs-exclude-cidrs=nonsense", "--ipvs-exclude-cidrs"),
    ("run --cluster-cidr=nonsense", "--cluster-cidr"),
    ("run --iptables-sync-period=0", "--iptables-sync-period"),
    ("run --iptables-min-sync-period=1h", "--iptables-min-sync-period"),
    ("run --oom-score-adj=2000", "--oom-score-adj"),
    ("run --config=/no/such/file.yaml", "--config"),
    ("run --write-config-to=/no/such/directory/x", "--write-config-to"),
    ("render", "--manifests"),
    ("render --manifests=. --nodeport-addresses=nonsense", "--nodeport-addresses"),
]


@pytest.mark.parametrize(("line", "named"), WRONG)
def test_a_wrong_command_line(capsys: pytest.CaptureFixture[str], line: str, named: str) -> None:
    code, said = fails(capsys, *line.split())
    assert code == 2
    assert named in said


def test_a_hostname_of_blanks(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = fails(capsys, "run", "--hostname-override=  ")
    assert code == 2
    assert "--hostname-override" in said


#: Flags that take any text.
UNCHECKED = {flag.name for flag in UNUSED if flag.type is str or flag.multiple} | {
    "hostname-override",
    "kubeconfig",
    "master",
    "write-config-to",
}


@pytest.mark.parametrize("flag", [flag for flag in DEFAULTS if flag not in UNCHECKED])
def test_control_characters_of_a_value_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str], flag: str) -> None:
    """`fails` looks that what is said is one printable line."""
    mode = ["--proxy-mode=ipvs"] if flag.startswith("ipvs-") else []  # other modes do not look at what is IPVS's
    code, _ = fails(capsys, "run", *mode, f"--{flag}=\x1b[2J\nkproxy: all is well")
    assert code == 2
