"""NaSC-TG2: 20,000 scenes of ten classes, seen by Tiangong-2."""
