"""A finance database becomes an instruction set: `build` reads from top to bottom, `check` judges anybody's rows."""
