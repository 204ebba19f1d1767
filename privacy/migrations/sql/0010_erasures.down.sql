DROP TRIGGER erasure_steps_not_truncated ON erasure_steps;
DROP TRIGGER erasure_steps_result_check ON erasure_steps;
DROP TRIGGER erasures_not_truncated ON erasures;
DROP TRIGGER erasures_kept ON erasures;
DROP TRIGGER erasures_step_check ON erasures;
DROP FUNCTION refuse_truncation_of_erasures();
DROP FUNCTION check_erasure_step();
DROP FUNCTION keep_erasure();
DROP FUNCTION check_erasure();
