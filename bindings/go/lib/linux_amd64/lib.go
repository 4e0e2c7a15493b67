// Package linux_amd64 keeps this folder in a vendored copy of the module: its library and header, which `make go` puts here.
package linux_amd64
