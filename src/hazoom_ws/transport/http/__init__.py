"""Requests of HTTP/1.1 as every server here reads them."""
