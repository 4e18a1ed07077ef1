"""The running site's page, on loopback alone.

Loopback is not authentication: every user and every web page on this computer can reach the port. So the page
itself holds nothing; what it shows and does needs a key, which only a link holds that `mammofed-site page`
has made for whoever may act on the home. The key stands behind the `#` of the link, where no server and no
log sees it, then in the browser's storage for this very origin, and goes as a header of each request. There
is no cookie: browsers send those to every port of a host, also to one that another user listens on, and with
requests that a foreign page makes. A key ends with the service that it was made for, so that whoever takes
the port afterwards gets nothing that is of use.
"""
