DROP TRIGGER update_matches_updated_at ON matches;
