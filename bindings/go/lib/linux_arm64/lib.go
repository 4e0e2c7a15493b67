// Package linux_arm64 keeps this folder in a vendored copy of the module: its library and header, which `make go` puts here.
package linux_arm64
