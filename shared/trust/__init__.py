"""Keys, certificates, TLS and signed envelopes: what both sides must agree on to believe each other."""
