"""Secure aggregation: updates under masks that cancel in their sum, after Bonawitz et al. (CCS 2017).

Each two sites agree on a key; one adds the stream of it to its update and the other takes it off. Each site
adds a stream of its own as well. The keys behind both are shared among the sites, so that the sum can be
read when some of them are gone: of a site that answered its own stream is taken off, of one that did not
those that it had agreed on, and never both of one site. Start reading at `agreed`, then `client.masking`
and `server.unmasking`.
"""
