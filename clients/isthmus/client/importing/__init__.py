"""The call that stores files of rows."""
