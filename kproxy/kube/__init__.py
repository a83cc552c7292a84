"""What comes from Kubernetes: the shape of its objects, and (later) its API."""
