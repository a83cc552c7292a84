"""What the agent tells about a Node or Service: an Event at the API server, and a line in the log.

`event`, `series` and `outbox` do no I/O; `log` and `sender` are the shell around them.
"""
