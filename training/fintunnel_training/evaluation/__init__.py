"""How well a model judges: measures, their intervals, and the simple models that it has to beat."""
