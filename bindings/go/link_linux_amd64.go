//go:build !tidings_dynamic

package tidings

// #cgo CFLAGS: -I${SRCDIR}/lib/linux_amd64
// #cgo LDFLAGS: ${SRCDIR}/lib/linux_amd64/libtidings.a -static-libgcc -lm -ldl -lpthread -lrt -lutil
import "C"

import _ "tidings/lib/linux_amd64"
