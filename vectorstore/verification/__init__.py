"""Both stores compared, person by person; and what to do about the differences."""
