package tidings

/*
#include <stdlib.h>
#include <tidings.h>
*/
import "C"

import (
	"context"
	"errors"
	"iter"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// EventSource is a client for any stream of server-sent events. Close it when it is no longer used.
type EventSource struct {
	// One reader at a time.
	reading sync.Mutex
	// Held for reading by calls into C, and for writing by whoever frees the source.
	alive sync.RWMutex
	ptr   *C.tidings_source
	bell  *os.File
}

// SourceOption is a setting of an event source.
type SourceOption func(*C.tidings_source_options) C.tidings_status

// SourceMethod sets the method, by default GET, which reconnects until the source is closed. Every other one takes one
// answer, since its request may have effects.
func SourceMethod(method string) SourceOption {
	return func(options *C.tidings_source_options) C.tidings_status {
		return with([]string{method}, func(t []*C.char) C.tidings_status {
			return C.tidings_source_options_set_method(options, t[0])
		})
	}
}

// SourceHeader adds a header to each request.
func SourceHeader(name, value string) SourceOption {
	return func(options *C.tidings_source_options) C.tidings_status {
		return with([]string{name, value}, func(t []*C.char) C.tidings_status {
			return C.tidings_source_options_add_header(options, t[0], t[1])
		})
	}
}

// SourceToken sends "Authorization: Bearer" and the token, to the origin of the URL alone.
func SourceToken(token string) SourceOption {
	return func(options *C.tidings_source_options) C.tidings_status {
		return with([]string{token}, func(t []*C.char) C.tidings_status {
			return C.tidings_source_options_set_token(options, t[0])
		})
	}
}

// SourceBody sets the body of the request, which makes its method POST unless SourceMethod sets another.
func SourceBody(body []byte) SourceOption {
	return func(options *C.tidings_source_options) C.tidings_status {
		text := C.CBytes(body)
		defer C.free(text)
		return C.tidings_source_options_set_body(options, text, C.size_t(len(body)))
	}
}

// SourceLastEventID is the id to begin after.
func SourceLastEventID(id string) SourceOption {
	return func(options *C.tidings_source_options) C.tidings_status {
		return with([]string{id}, func(t []*C.char) C.tidings_status {
			return C.tidings_source_options_set_last_event_id(options, t[0])
		})
	}
}

// SourceReadTimeout is how long nothing may come until the connection counts as dead. 0: for ever.
func SourceReadTimeout(timeout time.Duration) SourceOption {
	return func(options *C.tidings_source_options) C.tidings_status {
		return C.tidings_source_options_set_read_timeout(options, C.uint64_t(max(timeout.Milliseconds(), 0)))
	}
}

// SourceReconnect says whether to reconnect when a stream has ended, whatever the method.
func SourceReconnect(wanted bool) SourceOption {
	return func(options *C.tidings_source_options) C.tidings_status {
		return C.tidings_source_options_set_reconnect(options, C.bool(wanted))
	}
}

// SourceOnce takes one answer: its end is the end of the source.
func SourceOnce() SourceOption {
	return func(options *C.tidings_source_options) C.tidings_status {
		return C.tidings_source_options_set_once(options)
	}
}

// SourceMaxTries is how many attempts in a row may fail until the source gives up.
func SourceMaxTries(tries uint32) SourceOption {
	return func(options *C.tidings_source_options) C.tidings_status {
		return C.tidings_source_options_set_max_tries(options, C.uint32_t(tries))
	}
}

// NewEventSource makes an event source, which connects at once. All event sources of a process share one thread.
func NewEventSource(url string, settings ...SourceOption) (*EventSource, error) {
	options := C.tidings_source_options_new()
	defer C.tidings_source_options_free(options)
	for _, set := range settings {
		if status := set(options); status != C.TIDINGS_OK {
			return nil, &Error{Code: Code(status), Message: "invalid option of an event source"}
		}
	}
	text := C.CString(url)
	defer C.free(unsafe.Pointer(text))
	s := &EventSource{}
	var failed *C.tidings_error
	C.tidings_source_new(text, options, &s.ptr, &failed)
	if failed != nil {
		return nil, take(failed)
	}
	bell, err := polled(int(C.tidings_source_fd(s.ptr)))
	if err != nil {
		C.tidings_source_free(s.ptr)
		return nil, err
	}
	s.bell = bell
	return s, nil
}

// polled is the descriptor in Go's poller: one of our own, since Go closes what it polls.
func polled(fd int) (*os.File, error) {
	own, err := syscall.Dup(fd)
	if err == nil {
		syscall.CloseOnExec(own)
		err = syscall.SetNonblock(own, true)
	}
	if err != nil {
		return nil, &Error{Code: Network, Message: "no descriptor: " + err.Error()}
	}
	return os.NewFile(uintptr(own), "tidings"), nil
}

// Close ends the source. A reader that waits gets nil without an error. Closing again does nothing.
func (s *EventSource) Close() {
	s.alive.RLock()
	if s.ptr != nil {
		C.tidings_source_close(s.ptr, nil)
	}
	s.alive.RUnlock()
	s.alive.Lock()
	defer s.alive.Unlock()
	if s.ptr != nil {
		C.tidings_source_free(s.ptr)
		s.ptr = nil
		s.bell.Close()
	}
}

// SourceKind is what an event of a source reports.
type SourceKind int

// SourceOpen is for each stream that is open, SourceDisconnected for each that is not: the source tries again. SourceClosed
// is the last one. SourceUnfinished is a message in which the stream ended, and may be cut anywhere.
const (
	SourceOpen         SourceKind = C.TIDINGS_SOURCE_KIND_OPEN
	SourceMessage      SourceKind = C.TIDINGS_SOURCE_KIND_MESSAGE
	SourceComment      SourceKind = C.TIDINGS_SOURCE_KIND_COMMENT
	SourceTooLarge     SourceKind = C.TIDINGS_SOURCE_KIND_TOO_LARGE
	SourceDisconnected SourceKind = C.TIDINGS_SOURCE_KIND_DISCONNECTED
	SourceClosed       SourceKind = C.TIDINGS_SOURCE_KIND_CLOSED
	SourceUnfinished   SourceKind = C.TIDINGS_SOURCE_KIND_UNFINISHED
)

func (k SourceKind) String() string {
	return C.GoString(C.tidings_source_kind_name(C.tidings_source_kind(k)))
}

// SourceEvent is one event of an event source.
type SourceEvent struct {
	Kind SourceKind
	// Of a message: its type, "message" unless the server names another, its data and the id that counts then.
	Name, Data, ID string
	// Of an open stream.
	Status int
	URL    string
	// Why a stream is gone, or the source has ended; nil if it ended in an orderly way.
	Err error
}

// Events are the events, until the context is done or the source ends; leaving the loop closes the source. An error is the last
// element: that of the context, or the reason for the end. After Close there is none.
func (s *EventSource) Events(ctx context.Context) iter.Seq2[*SourceEvent, error] {
	return until(ctx, s.Next, s.Close)
}

// Next is the next event; nil without an error when nothing more comes.
func (s *EventSource) Next(ctx context.Context) (*SourceEvent, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	raw, err := s.bell.SyscallConn()
	if err != nil {
		return nil, nil
	}
	// The context wakes the reader by a deadline that has passed.
	_ = s.bell.SetReadDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { _ = s.bell.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var event *SourceEvent
	var failed error
	err = raw.Read(func(uintptr) bool {
		event, failed = s.take()
		return event != nil || failed != nil
	})
	switch {
	case event != nil:
		return event, nil
	case errors.Is(failed, ErrClosed):
		return nil, nil
	case failed != nil:
		return nil, failed
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, context.Cause(ctx)
	default:
		return nil, nil
	}
}

// take is an event that is there.
func (s *EventSource) take() (*SourceEvent, error) {
	s.alive.RLock()
	defer s.alive.RUnlock()
	if s.ptr == nil {
		return nil, ErrClosed
	}
	var made *C.tidings_source_event
	var failed *C.tidings_error
	C.tidings_source_next(s.ptr, 0, &made, &failed)
	if failed != nil {
		return nil, take(failed)
	}
	if made == nil {
		return nil, nil
	}
	defer C.tidings_source_event_free(made)
	var length C.size_t
	data := C.tidings_source_event_data(made, &length)
	return &SourceEvent{
		Kind: SourceKind(C.tidings_source_event_kind(made)),
		Name: C.GoString(C.tidings_source_event_name(made)), Data: string(bytes(data, length)),
		ID: C.GoString(C.tidings_source_event_id(made)), Status: int(C.tidings_source_event_http_status(made)),
		URL: C.GoString(C.tidings_source_event_url(made)), Err: borrowed(C.tidings_source_event_error(made)),
	}, nil
}
