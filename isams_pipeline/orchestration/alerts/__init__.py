"""A person is told where a night needs one: what is wrong, who is told of it, and that each message leaves once."""
