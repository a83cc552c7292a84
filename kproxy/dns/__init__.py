"""DNS for the cluster's names, headless Services first, and a way out for all others.

* The zone, pure: `zone` finds the answer for a name; `holdings` has what the cluster's objects say (`services`,
  `slices`, `pods`, `address_index`), `service_answers`, `reverse`, `zonal` and `special` make `records` of it.
* Messages, bytes in and bytes out: `query`, `reply`; `upstream`, `forward` for what others answer.
* `responder` is what a server is built around: a query in; a reply, silence or a `Forward` out. `kept` keeps replies.
* Names outside: `resolver`, `cache`. Between the two processes: `feed`, `stream`, `tally`. `server` has the sockets.
"""
