"""How well a model does on a site's own examples: image by image, and what is told of all of them."""
