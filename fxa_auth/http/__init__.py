"""HTTP: the route table, one pipeline for every request, and the site that answers what never becomes a request."""
