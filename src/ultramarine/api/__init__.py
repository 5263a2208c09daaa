"""REST: one file per noun, two lines of body to a route. Permissions are part of the signature."""
