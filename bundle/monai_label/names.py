"""Names that user, server and viewer share."""

OUTSIDE = "outside"  # the segment of background strokes; 3D Slicer sends none that is called background
INSIDE_PANEL, OUTSIDE_PANEL = "foreground_scribbles", "background_scribbles"  # of MONAI Label's scribbles panel
SUBMITTED = "final"  # MONAI Label's tag of what a user submits
TAG = "oneshot"  # of the labels that a round of training leaves for every study
TRAINED = "oneshot_segmentation"  # trainer, and the network that it makes
SHIPPED = "oneshot_ct_segmentation"  # the network that comes with the bundle
REGION = "oneshot_region"  # what grows from the strokes of one study, before anything is trained
LOOKS = "looks"  # folder of what was drawn and grown on each study, in the app's work folder
DRAWN = "drawn.nii.gz"  # in a study's folder of these
