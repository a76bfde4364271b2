"""The partners, each in a folder of its own. They do not know each other."""
