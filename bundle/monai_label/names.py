"""Names that user, server and viewer share."""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)

OUTSIDE = "outside"  # what the segment of background strokes is asked to be called; see `is_background`
INSIDE_PANEL, OUTSIDE_PANEL = "foreground_scribbles", "background_scribbles"  # of MONAI Label's scribbles panel
SUBMITTED = "final"  # MONAI Label's tag of what a user submits
TAG = "oneshot"  # of the labels that a round of training leaves for every study
SHOWN = "original"  # the same under the tag that 3D Slicer loads with Next Sample
TRAINED = "oneshot_segmentation"  # trainer, its labels, and the network that it makes
SHIPPED = "oneshot_ct_segmentation"  # the network that comes with the bundle; offered when asked for
SUPPORT_MASK = "oneshot_support_mask"  # what grows from the strokes of one study, before anything is trained
OLD_NAMES = {"oneshot_region": SUPPORT_MASK}  # clients may send these in this version still; the server lists the new
LOOKS = "looks"  # folder of what was drawn and grown on each study, in the app's work folder
OURS = "predicted_dice"  # in a label's info: what a label of ours says, and no other
DRAWN_ON = "drawn_on"  # in a label's info: SHA-256 of the image's file that it was drawn on, or made of
OBJECT = "SOPInstanceUID"  # in a label's info: the segmentation on the DICOMweb server that it is
DICOMWEB = ("http://", "https://")  # how the address of a DICOMweb server begins


def current_name(model: str) -> str:
    """A model's name of this version; an old one is taken with a warning."""
    if model not in OLD_NAMES:
        return model
    logger.warning("the model %r is now called %r; the old name works in this version only", model, OLD_NAMES[model])
    return OLD_NAMES[model]
