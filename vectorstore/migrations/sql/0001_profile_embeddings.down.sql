ALTER TABLE profile_embeddings ALTER COLUMN video_features SET STORAGE EXTENDED;
ALTER TABLE profile_embeddings ALTER COLUMN vector SET STORAGE EXTENDED;
DROP TRIGGER update_profile_embeddings_updated_at ON profile_embeddings;
