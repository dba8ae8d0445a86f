"""Plain HTTP through the proxy under attack: cases as data, one judge for all of them."""
