"""The user's file to rows."""
