"""Detection in any number of picture files: which files, what is written, and how it resumes."""
