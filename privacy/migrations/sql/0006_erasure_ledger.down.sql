DROP TRIGGER erasure_ledger_chained ON erasure_ledger;
DROP TRIGGER erasure_ledger_append_only ON erasure_ledger;
DROP FUNCTION chain_ledger_entry();
DROP FUNCTION refuse_change_of_ledger();
