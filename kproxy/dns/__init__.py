"""DNS for the cluster's names: the zone, the wire codec, the responder.

* `names`: names and addresses as they stand in messages. Pure.
* `zone`, `zone_config`, `services`, `slices`, `records`: which records the cluster's objects make. Pure.
* `query`, `reply`, `upstream`, `forward`: messages in and out. Bytes only.
* `responder`: a query's bytes in; the reply's bytes, silence or a `Forward` out. What a server is built around.
"""
