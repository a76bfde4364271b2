"""A stand-in iSAMS on loopback, over a made-up school that changes a little every night."""
