"""How well a model does, as one site tells it and as several are pooled: what both sides must agree on."""
