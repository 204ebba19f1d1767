"""Rules of retention that the operator has switched on: their version, its approval, and what they do."""
