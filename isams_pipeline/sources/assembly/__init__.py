"""Assembly: a school's data out of the Assembly Platform, which has it from iSAMS by Xporter on Demand.

Facts about the wire are from the vendor's README and specification of its clients (version 1.1) unless marked inferred.
"""
