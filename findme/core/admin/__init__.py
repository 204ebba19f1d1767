"""Base classes of the admin: fast lists, forms that show database errors, links.

Imports no app.
"""
