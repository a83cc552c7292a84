"""How far a reflector's copy goes, and so what it asks for next: a streamed list, a page of a list, or a watch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kproxy.kube.requests import Purpose

if TYPE_CHECKING:
    from kproxy.kube.requests import Timing
    from kproxy.kube.resources import Query


class Position:
    """`version` is the resourceVersion up to which everything is known, "" before there was a list."""

    def __init__(self, timing: Timing) -> None:
        self.version = ""
        self._timing = timing
        self._continue = ""
        self._whole = False
        self._stream_lists_from = float("-inf")

    @property
    def lost(self) -> bool:
        """Whether the next list begins from scratch."""
        return not self.version and not self._continue

    @property
    def paging(self) -> bool:
        """Whether a list is to be gone on with."""
        return bool(self._continue)

    def forget(self) -> None:
        """Begin again with a list: nobody can say what was missed."""
        self.version = self._continue = ""

    def whole_list(self) -> None:
        """Ask for the next list in one piece: its pages expire faster than they come."""
        self._whole = True

    def no_streamed_lists(self, now: float) -> None:
        """Ask for pages from now on; whether the server has learnt to stream is tried again in a while."""
        self._stream_lists_from = now + self._timing.streamed_list_again_s

    def page(self, continue_token: str) -> None:
        """Note what the next page is asked for with, "" after the last."""
        self._continue = continue_token

    def listed(self) -> None:
        """Note that the list is complete."""
        self._continue, self._whole = "", False

    def purpose(self, now: float) -> Purpose:
        """Return what to ask for."""
        if self.version:
            return Purpose.WATCH
        if self._continue or self._whole or now < self._stream_lists_from:
            return Purpose.LIST
        return Purpose.STREAMED_LIST

    def query(self, purpose: Purpose, chance: float) -> Query:
        """Return the parameters that say so; `chance` (0 to 1) spreads the ends of watches."""
        if purpose is Purpose.LIST:
            if self._whole:
                return ()
            limit = ("limit", str(self._timing.page_limit))
            return (limit, ("continue", self._continue)) if self._continue else (limit,)
        watch = (
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(int(self._timing.watch_s * (1.0 + chance)))),
        )
        if purpose is Purpose.STREAMED_LIST:
            return (*watch, ("sendInitialEvents", "true"), ("resourceVersionMatch", "NotOlderThan"))
        return (*watch, ("resourceVersion", self.version))
