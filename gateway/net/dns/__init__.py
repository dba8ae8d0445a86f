"""Name service: how questions travel, who is asked, what responses mean, and how long it is remembered."""
