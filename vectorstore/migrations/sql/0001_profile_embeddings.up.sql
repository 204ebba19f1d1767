CREATE TRIGGER update_profile_embeddings_updated_at
    BEFORE UPDATE ON profile_embeddings
    FOR EACH ROW
    EXECUTE FUNCTION update_updated_at_column();

-- Numbers do not compress well: store vectors out of line, without an attempt to compress them.
ALTER TABLE profile_embeddings ALTER COLUMN vector SET STORAGE EXTERNAL;
ALTER TABLE profile_embeddings ALTER COLUMN video_features SET STORAGE EXTERNAL;
