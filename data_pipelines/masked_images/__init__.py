"""Images with masks of classes: what builders of segmentation datasets share."""
