//go:build !tidings_dynamic

package tidings

// #cgo CFLAGS: -I${SRCDIR}/lib/linux_arm64
// #cgo LDFLAGS: ${SRCDIR}/lib/linux_arm64/libtidings.a -static-libgcc -lm -ldl -lpthread -lrt -lutil
import "C"

import _ "tidings/lib/linux_arm64"
