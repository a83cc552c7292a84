"""Stories in plain YAML, one directory each, and the demo that plays them with real packets."""
