"""The data-protection pack: what a data-protection officer asks for, out of the configuration as it is."""
