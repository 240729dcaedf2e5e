"""Mode `default`: the support mask sent to every case by registration and label fusion."""
