package tidings_test

import (
	"net"
	"testing"
)

// silent is an address where connections are accepted and nothing is answered.
func silent(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener.Addr().String()
}
