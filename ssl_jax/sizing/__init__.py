"""From shapes to cost: what a run will be before it is started."""
