DROP TRIGGER audit_log_dated ON audit_log;
DROP TRIGGER audit_log_kept ON audit_log;
DROP TRIGGER audit_log_append_only ON audit_log;
DROP FUNCTION date_audit_entry();
DROP FUNCTION keep_audit_entry();
DROP FUNCTION refuse_change_of_audit_log();
