"""Pages of HTML that fetch nothing: their style, and how they are made."""
