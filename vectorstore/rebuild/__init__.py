"""A collection built beside the live one, proven, and put in its place at once; and the way back."""
