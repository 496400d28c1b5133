"""A finished run -> what people train on."""
