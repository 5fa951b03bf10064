"""NaSC-TG2: 20,000 Tiangong-2 images with ten scene classes."""
