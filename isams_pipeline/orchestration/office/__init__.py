"""What a school's office is told: what to mend in iSAMS, as a page and as a workbook, and by mail."""
