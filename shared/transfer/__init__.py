"""Blobs named by their SHA-256: kept in a folder, moved over mutual TLS, resumed where a break left them."""
