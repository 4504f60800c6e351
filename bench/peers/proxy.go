// The peer everybody knows: Go's httputil.ReverseProxy with keep-alive to the backend and nothing else.
package main

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

func main() {
	target, err := url.Parse(os.Args[2])
	if err != nil {
		panic(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 256}
	panic(http.ListenAndServe(os.Args[1], proxy))
}
