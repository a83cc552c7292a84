"""From start to end: before all is known, when a worker dies, and from one process to the next."""

from __future__ import annotations

import json
import os
import signal
from contextlib import ExitStack
from pathlib import Path

import dns.message
import dns.query
import pytest

from tests.dns.server.load import Load
from tests.dns.server.running import ADDRESS, ADDRESS6, WORLD, DnsProcess, dns_node, headless
from tests.dns.server.world import World
from tests.lab.agent import eventually

pytestmark = pytest.mark.root

DB = "db.shop.svc.cluster.local"


def test_before_all_is_known_no_name_is_denied() -> None:
    """The API server can't be reached: nothing is known of any name of the cluster, so none does not exist."""
    with dns_node() as node, World(node.namespace, WORLD) as world:
        server = node.server("--master", "http://127.0.0.1:9", upstream=world)
        server.start()
        eventually(lambda: server.page("/ready") is not None, "the server is there")
        eventually(lambda: "answering on" in server.said(), "it listens")
        reply = node.ask(DB)
        assert reply.rcode() == 2
        assert [int(option.code) for option in reply.options] == [14]
        assert node.ips("www.example") == ["192.0.2.80"]
        page = server.page("/ready")
        assert page is not None
        assert (page.status, page.body) == (503, "the cluster's objects were not read yet\n")
        assert server.get("/health") == 200
        eventually(lambda: (server.metric("kproxy_dns_data_age_seconds") or 0) > 0.5, "the data's age is told")
        assert server.stop() == 0


def wait_for_another(server: DnsProcess, worker: int, timeout_s: float = 10) -> None:
    eventually(lambda: server.workers() not in ([], [worker]), "another worker is there", timeout_s)


def wait_until_gone(pids: list[int]) -> None:
    eventually(lambda: not any(Path("/proc", str(pid)).exists() for pid in pids), "the workers have ended")


def test_a_worker_that_dies_loses_no_query_but_those_it_held() -> None:
    with dns_node() as node:
        node.manifests.write("db", headless("db", "10.244.1.1"))
        with node.server() as server, Load(node.namespace, ADDRESS, DB) as load:
            for _ in range(3):
                (worker,) = server.workers()
                load.goes_on()
                os.kill(worker, signal.SIGKILL)
                wait_for_another(server, worker)
            load.goes_on()
        # What a worker has read it takes with it; what waits in the socket is the next one's.
        assert len(load.lost) <= 3 * 64
        assert set(load.answered) <= {0, 2}


def test_a_server_outside_that_is_silent_is_named() -> None:
    with dns_node() as node, node.server(upstream=WORLD) as server:
        line = f"WARNING {WORLD}:53 does not answer for names outside the cluster"
        eventually(lambda: bool(node.rcode("www.example")) and line in server.said(), "it is named")
        with World(node.namespace, WORLD):
            eventually(lambda: node.ips("other.example") == ["192.0.2.80"], "it is asked again", 30)
            eventually(lambda: f"INFO    {WORLD}:53 answers again" in server.said(), "it is said that it answers")


def test_logs_are_objects_where_that_is_wished() -> None:
    with dns_node() as node, node.server("--logging-format", "json", "-v", "4", upstream=WORLD) as server:
        eventually(lambda: bool(node.rcode("www.example")) and "does not answer" in server.said(), "it is named")
        callers = {json.loads(line)["caller"].partition(":")[0] for line in server.said().splitlines()}
        assert {"kproxy.dns.server.service", "kproxy.dns.server.worker"} <= callers


def test_a_worker_that_hangs_is_replaced() -> None:
    with dns_node() as node:
        node.manifests.write("db", headless("db", "10.244.1.1"))
        with node.server() as server:
            (worker,) = server.workers()
            os.kill(worker, signal.SIGSTOP)
            wait_for_another(server, worker, 30)
            assert "DNS worker 0 says nothing for 10 s: ending it" in server.said()
            eventually(lambda: server.get("/ready") == 200, "the next one knows all names")
            assert node.ips(DB) == ["10.244.1.1"]
            os.kill(server.workers()[0], signal.SIGSTOP)
        assert "stopped" in server.said()  # also with one that hangs


def test_no_query_is_lost_from_one_process_to_the_next() -> None:
    with dns_node() as node:
        node.manifests.write("db", headless("db", "10.244.1.1"))
        old = node.server()
        old.start()
        old.wait_ready()
        with Load(node.namespace, ADDRESS, DB) as load:
            for turn in range(4):
                load.goes_on()
                new = node.server(metrics_port=9154 + turn)
                new.start()
                new.wait_ready()
                assert old.stop() == 0
                old = new
            load.goes_on()
        assert load.lost == []
        assert set(load.answered) == {0}  # none was told that nothing is known yet
        old.stop()


@pytest.mark.parametrize("workers", ["1", "3"])
def test_no_handshake_is_cut_off_from_one_process_to_the_next(workers: str) -> None:
    """The last packet of each is held back until the old process has ended; it had its share of the first ones."""
    hold = "table inet hold { chain output { type filter hook output priority 0; tcp dport 53 tcp flags ack drop; }; }"
    with dns_node() as node:
        node.manifests.write("db", headless("db", "10.244.1.1"))
        query = dns.message.make_query(DB, "A")
        old = node.server("--dns-workers", workers)
        old.start()
        old.wait_ready()
        for turn in range(3):
            new = node.server("--dns-workers", workers, metrics_port=9154 + turn)
            new.start()
            new.wait_ready()
            node.namespace.run("nft", hold)
            with ExitStack() as closing:
                clients = [closing.enter_context(node.connect(to)) for to in (ADDRESS, ADDRESS6) * 30]
                assert old.stop() == 0
                node.namespace.run("nft", "delete", "table", "inet", "hold")
                for client in clients:
                    dns.query.send_tcp(client, query)
                assert all(dns.query.receive_tcp(client)[0].answer for client in clients)
            old = new
        old.stop()


def test_the_next_process_takes_over_the_metrics_port_too() -> None:
    with dns_node() as node:
        node.manifests.write("db", headless("db", "10.244.1.1"))
        with node.server():
            new = node.server()
            new.start()
            eventually(lambda: "answering on" in new.said(), "the next one answers, too")
            assert "9153: Address already in use" in new.said()
        eventually(lambda: new.get("/ready") == 200, "it is the next one's")
        assert new.metric("kproxy_dns_data_age_seconds") == 0
        new.stop()


def test_who_has_only_just_connected_is_answered_at_the_end() -> None:
    with dns_node() as node:
        node.manifests.write("db", headless("db", "10.244.1.1"))
        query = dns.message.make_query(DB, "A")
        with node.server() as server:
            with node.connect() as before, node.connect() as at_the_end, node.connect() as never:
                dns.query.send_tcp(before, query)
                assert dns.query.receive_tcp(before)[0].answer
                os.kill(server.pid, signal.SIGTERM)
                assert before.recv(100) == b"", "it is closed: nothing is under way"
                dns.query.send_tcp(at_the_end, query)
                assert dns.query.receive_tcp(at_the_end)[0].answer
                assert at_the_end.recv(100) == b""
                assert never.recv(100) == b""
            assert server.wait() == 0


def test_several_workers_share_the_queries() -> None:
    with dns_node() as node:
        node.manifests.write("db", headless("db", "10.244.1.1"))
        with node.server("--dns-workers", "3") as server:
            assert len(server.workers()) == 3
            with Load(node.namespace, ADDRESS, DB) as load:
                eventually(lambda: load.total > 3000, "queries are answered")
            assert load.lost == []


def test_it_ends_on_sigterm_and_leaves_no_process() -> None:
    with dns_node() as node:
        server = node.server()
        with server:
            workers = server.workers()
            assert workers
        wait_until_gone(workers)
        assert "stopped" in server.said()


@pytest.mark.parametrize("hanging", [False, True])
def test_workers_end_when_the_service_is_killed(hanging: bool) -> None:
    with dns_node() as node:
        server = node.server()
        server.start()
        server.wait_ready()
        workers = server.workers()
        if hanging:
            os.kill(workers[0], signal.SIGSTOP)
        server.kill()
        wait_until_gone(workers)
