"""Tables of patterns and networks with look-ups that take the same time however many entries there are."""
