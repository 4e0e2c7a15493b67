package tidings

/*
#include <tidings.h>
*/
import "C"

import (
	"encoding/json"
	"fmt"
	"time"
	"unsafe"
)

// Action is what an event reports.
type Action uint32

// The actions. Gap, Lagged and Refused are notices of the client.
const (
	Create        Action = C.TIDINGS_ACTION_CREATE
	Update        Action = C.TIDINGS_ACTION_UPDATE
	Delete        Action = C.TIDINGS_ACTION_DELETE
	Connect       Action = C.TIDINGS_ACTION_CONNECT
	Custom        Action = C.TIDINGS_ACTION_CUSTOM
	Gap           Action = C.TIDINGS_ACTION_GAP
	Lagged        Action = C.TIDINGS_ACTION_LAGGED
	RefusedAction Action = C.TIDINGS_ACTION_REFUSED
	ended         Action = C.TIDINGS_ACTION_ENDED
	stateChanged  Action = C.TIDINGS_ACTION_STATE
	disconnected  Action = C.TIDINGS_ACTION_DISCONNECTED
	completed     Action = C.TIDINGS_ACTION_COMPLETED
	acknowledged  Action = C.TIDINGS_ACTION_ACKNOWLEDGED
	viewChanged   Action = C.TIDINGS_ACTION_CHANGED
)

// Asked once: a call into C for each event would cost more than the event.
var actionNames = func() (names [viewChanged + 1]string) {
	for action := range names {
		names[action] = C.GoString(C.tidings_action_name(C.tidings_action(action)))
	}
	return names
}()

func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return actionNames[0]
}

// Event is one event of a subscription: a change of a record, a custom message, or a notice.
type Event struct {
	Action Action
	// As it is sent to the server, options included.
	Topic string
	// Of the record, or "".
	ID string
	// With Lagged, how many events were dropped.
	Lost uint64
	// With Gap, what is known of it.
	Missed *Missed
	// With RefusedAction, why.
	Err          error
	record, data string
}

// Missed is what is known of a gap.
type Missed struct {
	// "disconnected", "identity_changed", "too_large" or "other"
	Reason string
	// The time in which changes may have been missed: from the last complete message until the server acknowledged the
	// subscription again, by this machine's clock.
	Since, Until time.Time
	// How long that is.
	For time.Duration
}

// Data is the payload as received.
func (e *Event) Data() string { return e.data }

// RecordJSON is the record as JSON text, or "".
func (e *Event) RecordJSON() string { return e.record }

// Record reads the record.
func Record[T any](e *Event) (T, error) {
	var record T
	if e.record == "" {
		return record, &Error{Code: Protocol, Message: fmt.Sprintf("a %s event of %s has no record", e.Action, e.Topic)}
	}
	err := json.Unmarshal([]byte(e.record), &record)
	return record, err
}

// Code is the kind of an error.
type Code int

// The kinds.
const (
	InvalidArgument Code = C.TIDINGS_ERR_INVALID_ARGUMENT
	InvalidURL      Code = C.TIDINGS_ERR_INVALID_URL
	InvalidTopic    Code = C.TIDINGS_ERR_INVALID_TOPIC
	Unsupported     Code = C.TIDINGS_ERR_UNSUPPORTED
	Refused         Code = C.TIDINGS_ERR_REFUSED
	Network         Code = C.TIDINGS_ERR_NETWORK
	Timeout         Code = C.TIDINGS_ERR_TIMEOUT
	Protocol        Code = C.TIDINGS_ERR_PROTOCOL
	Closed          Code = C.TIDINGS_ERR_CLOSED
)

// For errors.Is, which compares the code.
var (
	ErrClosed  = &Error{Code: Closed, Message: "the client is closed"}
	ErrRefused = &Error{Code: Refused, Message: "refused"}
	ErrTimeout = &Error{Code: Timeout, Message: "timeout"}
	ErrNetwork = &Error{Code: Network, Message: "network"}
)

// Error is why a call failed or a subscription ended.
type Error struct {
	Code Code
	// The HTTP status of a refusal, or 0.
	Status  int
	Message string
	// Of a refusal.
	Body []byte
}

func (e *Error) Error() string { return e.Message }

// Is compares the code.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Code == e.Code
}

// take makes an error of one that is ours, and frees that.
func take(failed *C.tidings_error) error {
	defer C.tidings_error_free(failed)
	return borrowed(failed)
}

func borrowed(failed *C.tidings_error) error {
	if failed == nil {
		return nil
	}
	var length C.size_t
	body := C.tidings_error_body(failed, &length)
	return &Error{
		Code: Code(C.tidings_error_status(failed)), Status: int(C.tidings_error_http_status(failed)),
		Message: C.GoString(C.tidings_error_message(failed)), Body: C.GoBytes(unsafe.Pointer(body), C.int(length)),
	}
}
