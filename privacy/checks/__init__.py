"""System checks: every column of every installed app, and every field of a store, has an owner of personal data."""
