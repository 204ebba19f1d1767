"""The zip of an export: its members, their schemas, and what is left out because it is about another person."""
