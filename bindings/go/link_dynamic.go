//go:build tidings_dynamic

package tidings

// #cgo pkg-config: tidings
import "C"
