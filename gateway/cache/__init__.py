"""Is it answered already: the cache of answers, between the policies and the upstream on a request's way."""
