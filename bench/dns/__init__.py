"""DNS beside the real CoreDNS: the same API server, the same zone, the same core, in turns."""
