"""Mode `default`: the support mask and its scribbles sent to every case by registration and label fusion."""
