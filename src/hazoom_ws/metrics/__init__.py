"""The numbers of one application, from the places that know them."""
