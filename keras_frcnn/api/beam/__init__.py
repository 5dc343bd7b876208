"""Detection on many machines, with Apache Beam; needs the extra `beam`."""
