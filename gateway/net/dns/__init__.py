"""Name resolution: how questions travel, which server is asked, what responses mean, and how long they are cached."""
