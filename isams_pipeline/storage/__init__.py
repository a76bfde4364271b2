"""What is kept: the snapshot archive, the tables, the state database, and the folders under them."""
