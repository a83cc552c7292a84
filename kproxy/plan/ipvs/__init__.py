"""Planning for IPVS: intents in; virtual servers, destinations and addresses out."""
