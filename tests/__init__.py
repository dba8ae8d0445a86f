"""The tests mirror the rooms of gateway/; flows/, abuse/ and architecture/ hold what concerns more than one room."""
