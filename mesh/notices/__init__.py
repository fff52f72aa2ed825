"""Notices and inboxes, as notify and gateways share them."""
