"""Apply the rules of retention that the operator has switched on and approved."""
