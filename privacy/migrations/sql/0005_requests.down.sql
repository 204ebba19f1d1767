DROP TRIGGER request_recipients_not_truncated ON request_recipients;
DROP TRIGGER request_recipients_step_check ON request_recipients;
DROP TRIGGER data_subject_requests_not_truncated ON data_subject_requests;
DROP TRIGGER data_subject_requests_kept ON data_subject_requests;
DROP TRIGGER data_subject_requests_step_check ON data_subject_requests;
DROP FUNCTION check_request_recipient();
DROP FUNCTION refuse_truncation_of_requests();
DROP FUNCTION keep_request();
DROP FUNCTION check_request_step();
