"""School data out of iSAMS, every night, into the products that schools use."""

from isams_pipeline.moved import forward

REGISTRIES = ("isams_pipeline.sources.registry", "isams_pipeline.partners.registry")
"""What makes all sources and all partners: imported by who meets a key that is not known yet."""

forward()
