CREATE TABLE matches (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    user_id UUID REFERENCES users(id) ON DELETE CASCADE,
    matched_user_id UUID REFERENCES users(id) ON DELETE CASCADE,
    week_number INTEGER NOT NULL,
    year INTEGER NOT NULL,
    status VARCHAR(50) NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'accepted', 'rejected', 'completed', 'expired')),
    match_score FLOAT NOT NULL CHECK (match_score >= 0 AND match_score <= 1),
    user_action VARCHAR(50),
    matched_user_action VARCHAR(50),
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    deleted_at TIMESTAMP WITH TIME ZONE,
    UNIQUE(user_id, matched_user_id, week_number, year),
    CHECK (user_id != matched_user_id)
);

CREATE INDEX idx_matches_user_week ON matches(user_id, week_number, year) WHERE deleted_at IS NULL;
CREATE INDEX idx_matches_status ON matches(status) WHERE deleted_at IS NULL;
CREATE INDEX idx_matches_expires_at ON matches(expires_at) WHERE status = 'pending';
CREATE INDEX idx_matches_score ON matches(match_score DESC);

CREATE TRIGGER update_matches_updated_at
    BEFORE UPDATE ON matches
    FOR EACH ROW
    EXECUTE FUNCTION update_updated_at_column();
