DROP TRIGGER update_videos_updated_at ON videos;
