"""What a detector does in one picture, stage by stage, as a page."""
