"""Xporter on Demand: a school's data out of iSAMS as Groupcall keeps it.

Facts about the wire are from the vendor's documents and from recorded answers unless marked inferred. Which fields it
fills for a school with iSAMS, and the form of its ids there, no source tells.
"""
