"""Files of users outside the database: which store has the file of an address, and how it is read and deleted."""
