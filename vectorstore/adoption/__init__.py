"""Adopt a collection that another program or another database wrote."""
