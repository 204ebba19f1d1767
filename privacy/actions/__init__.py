"""Export, anonymize and erase the data of one user, in PostgreSQL and in every other store."""
