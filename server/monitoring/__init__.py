"""The monitor: a process that looks at the store, raises alerts, and tells them by mail and webhook.

`gathering` reads facts, `rules` judges them without disk, socket or clock, `server.store.alerts` keeps what
was judged and what is still to be told, `delivery` tells it. What fails or hangs here touches no run.
"""
