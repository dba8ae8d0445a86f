"""Programs of others that the gateway works with, and how the tests start them."""
