"""The sources of a school's data: iSAMS's own APIs, Assembly, and Xporter on Demand."""
