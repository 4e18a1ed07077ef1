"""The door to Flower on both sides: messages, bundles, tasks and the environment of its processes."""
