"""Health: is the proxier healthy, and do the per-Service health check node ports say so.

`proxier`, `service`, `answer` and `bind` are pure (no clock, no threads, no I/O); `shared` is the one lock; `listen`,
`request`, `accept`, `http`, `server` and `service_listeners` are the shell around them.
"""
