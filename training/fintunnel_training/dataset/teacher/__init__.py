"""A larger model rewrites rationales from the input alone: asked, judged, cached, paid for within a budget."""
