from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kproxy.errors import PermissionMissing
from kproxy.netlink.errors import MalformedMessage, NetlinkRefused
from kproxy.netlink.exchange import Acks, Reply, Request
from kproxy.netlink.message import DONE, ERROR, F_ACK, F_DUMP, F_DUMP_INTR, NOOP, OVERRUN, pack_message, split_messages


def ack(sequence: int, code: int = 0) -> bytes:
    """NLMSG_ERROR as the kernel sends it: the negative errno, and the header of the request."""
    return pack_message(ERROR, 0x100, sequence, struct.pack("=iIHHII", -code, 16, 0, 0, sequence, 0))


def done(sequence: int, flags: int = 0) -> bytes:
    return pack_message(DONE, 2 | flags, sequence, struct.pack("=i", 0))


REQUESTS = [Request("add a", 16, b"a"), Request("begin", 17, b"b", ack=False), Request("add c", 18, b"c")]


def test_a_request_asks_for_an_acknowledgement_unless_told_otherwise() -> None:
    flags = [next(split_messages(request.pack(1))).flags & F_ACK for request in REQUESTS]
    assert flags == [F_ACK, 0, F_ACK]
    assert next(split_messages(Request("list", 16, b"", F_DUMP).pack(1))).flags & F_ACK == 0


class TestAcks:
    def test_all_done(self) -> None:
        acks = Acks(REQUESTS, 5)
        acks.feed(ack(5))
        assert not acks.done
        acks.feed(ack(7))
        assert acks.done
        assert not acks.refused
        assert acks.outcomes() == [None, None, None]

    def test_a_refusal_names_its_operation_and_errno(self) -> None:
        acks = Acks(REQUESTS, 5)
        acks.feed(ack(7, errno.EEXIST) + ack(5))
        outcome = acks.outcomes()[2]
        assert acks.done
        assert acks.refused
        assert outcome is not None
        assert (outcome.operation, outcome.code) == ("add c", errno.EEXIST)
        assert str(outcome) == "add c: exists already (EEXIST)"

    def test_an_errno_without_words_of_ours_is_named(self) -> None:
        acks = Acks(REQUESTS, 5)
        acks.feed(ack(5, errno.EXDEV) + ack(7, 4095))
        assert [str(outcome) for outcome in acks.outcomes() if outcome] == ["add a: EXDEV", "add c: errno 4095"]

    def test_want_of_a_capability_is_its_own_error(self) -> None:
        acks = Acks(REQUESTS, 5)
        acks.feed(ack(5, errno.EPERM))
        outcome = acks.outcomes()[0]
        assert isinstance(outcome, PermissionMissing)
        assert isinstance(outcome, NetlinkRefused)
        assert "CAP_NET_ADMIN" in str(outcome)

    def test_the_begin_of_a_transaction_can_be_refused_without_having_asked(self) -> None:
        acks = Acks(REQUESTS, 5)
        acks.feed(ack(6, errno.ENOMEM))
        assert [bool(outcome) for outcome in acks.outcomes()] == [False, True, False]

    def test_the_first_of_two_errors_for_one_request_counts(self) -> None:
        acks = Acks(REQUESTS, 5)
        acks.feed(ack(5, errno.ENOENT) + ack(5, errno.EBUSY))
        outcome = acks.outcomes()[0]
        assert outcome is not None
        assert outcome.code == errno.ENOENT

    def test_answers_to_others_are_passed_over(self) -> None:
        acks = Acks(REQUESTS, 5)
        acks.feed(ack(4, errno.EPERM) + ack(8, errno.EPERM) + pack_message(0x100, 0, 5, b"event"))
        assert not acks.done
        assert not acks.refused

    def test_given_up(self) -> None:
        acks = Acks(REQUESTS, 5)
        acks.feed(ack(5))
        acks.give_up(errno.ENOBUFS)
        assert acks.done
        assert [outcome.code if outcome else 0 for outcome in acks.outcomes()] == [0, 0, errno.ENOBUFS]

    @given(st.binary(max_size=120))
    def test_arbitrary_bytes(self, data: bytes) -> None:
        acks = Acks(REQUESTS, 5)
        try:
            acks.feed(data)
        except MalformedMessage:
            assert True
        assert len(acks.outcomes()) == 3


class TestDump:
    request = Request("list things", 16, b"", F_DUMP)

    def test_entries_over_several_datagrams(self) -> None:
        reply = Reply(self.request, 9)
        first = pack_message(0x100, 2, 9, b"one1") + pack_message(0x100, 2, 9, b"two2")
        assert [message.body for message in reply.feed(first)] == [b"one1", b"two2"]
        assert not reply.done
        assert [message.body for message in reply.feed(pack_message(0x100, 2, 9, b"3333") + done(9))] == [b"3333"]
        assert reply.done
        assert not reply.interrupted

    @pytest.mark.parametrize("where", ["entry", "done", "overrun"])
    def test_interrupted(self, where: str) -> None:
        reply = Reply(self.request, 9)
        data = pack_message(0x100, 2 | (F_DUMP_INTR if where == "entry" else 0), 9, b"one1")
        if where == "overrun":
            data += pack_message(OVERRUN, 2, 9, b"")
        data += done(9, F_DUMP_INTR if where == "done" else 0)
        assert len(list(reply.feed(data))) == 1
        assert reply.done
        assert reply.interrupted

    def test_what_belongs_to_an_earlier_exchange_is_passed_over(self) -> None:
        reply = Reply(self.request, 9)
        late = pack_message(0x100, 2, 8, b"late") + done(8) + ack(8, errno.EINVAL) + pack_message(NOOP, 2, 9, b"")
        assert list(reply.feed(late)) == []
        assert not reply.done

    def test_refused(self) -> None:
        reply = Reply(self.request, 9)
        with pytest.raises(NetlinkRefused, match=r"list things: .* \(EINVAL\)"):
            list(reply.feed(ack(9, errno.EINVAL)))
        assert reply.done

    def test_an_error_half_way(self) -> None:
        reply = Reply(self.request, 9)
        data = pack_message(0x100, 2, 9, b"one1") + pack_message(DONE, 2, 9, struct.pack("=i", -errno.EBUSY))
        messages = reply.feed(data)
        assert next(messages).body == b"one1"
        with pytest.raises(NetlinkRefused, match="EBUSY"):
            next(messages)
        assert reply.done

    @given(st.binary(max_size=120))
    def test_arbitrary_bytes(self, data: bytes) -> None:
        reply = Reply(self.request, 9)
        try:
            seen = list(reply.feed(data))
        except (MalformedMessage, NetlinkRefused):
            return
        assert all(message.sequence == 9 for message in seen)


def test_an_answered_request_ends_with_its_acknowledgement() -> None:
    reply = Reply(Request("get thing", 16, b""), 3)
    assert [message.body for message in reply.feed(pack_message(0x100, 0, 3, b"body"))] == [b"body"]
    assert not reply.done
    assert list(reply.feed(ack(3))) == []
    assert reply.done
