"""May it pass: authentication, limits, CORS; between routing and the cache on a request's way."""
