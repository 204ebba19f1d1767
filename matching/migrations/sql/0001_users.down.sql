DROP TRIGGER matches_users_check ON matches;
DROP FUNCTION refuse_other_users_of_match();
