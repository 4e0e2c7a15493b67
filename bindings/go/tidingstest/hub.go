// Package tidingstest has a server for tests: the hub of tidings, which serves records and their changes from memory.
package tidingstest

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Hub starts a server that ends with the test, and returns its URL. Its collections exist when they are first used. It
// is the program that `make go` puts beside the library, or that TIDINGS_HUB_PROGRAM names.
func Hub(t testing.TB, options ...string) string {
	t.Helper()
	program := os.Getenv("TIDINGS_HUB_PROGRAM")
	if program == "" {
		_, here, _, _ := runtime.Caller(0)
		program = filepath.Join(filepath.Dir(here), "..", "lib", runtime.GOOS+"_"+runtime.GOARCH, "hub")
	}
	// The shell reads a pipe that we hold, and takes the hub with it, also if this process panics.
	const script = `"$0" "$@" & hub=$!; read -r _; kill -9 "$hub"`
	hub := exec.Command("sh", append([]string{"-c", script, program}, options...)...)
	in, err := hub.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := hub.StdoutPipe()
	if err == nil {
		err = hub.Start()
	}
	if err != nil {
		t.Fatalf("the hub cannot be started, is it there? `make go` builds it: %v", err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = hub.Wait()
	})
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the hub said no URL: %v", err)
	}
	return strings.TrimSpace(url)
}
