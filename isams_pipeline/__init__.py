"""School data out of iSAMS, every night, into the products that schools use."""

from isams_pipeline.moved import forward

forward()
