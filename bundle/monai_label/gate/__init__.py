"""What stands between clients and MONAI Label: who may ask, what is offered, and what each request may hold."""
