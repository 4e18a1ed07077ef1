"""The coordinator's web console: a process of its own that shows the store and calls what the commands call.

A request passes `gate` first: nothing but the sign-in, the health and the files of `static` answers to
somebody who is not signed in, and nothing is changed at the wish of a foreign page. Pages are made here and
hold no script or style of their own; what they fetch comes from this very port.
"""
