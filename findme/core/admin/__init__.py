"""What the apps' admins share: lists that stay quick with many rows, forms that tell what the database refuses, links. Imports no app."""
