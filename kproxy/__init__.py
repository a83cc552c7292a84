"""kproxy: follows Services and EndpointSlices and makes the kernel carry their traffic."""

__version__ = "0.1.0"
