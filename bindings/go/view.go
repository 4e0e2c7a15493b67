package tidings

/*
#include <stdlib.h>
#include <tidings.h>

static tidings_status go_watch(tidings_client *client, const char *collection, const tidings_watch_options *options,
		uintptr_t token, tidings_view **view, tidings_error **error) {
	return tidings_client_watch(client, collection, options, NULL, (void *)token, NULL, view, error);
}
static tidings_status go_prove(tidings_client *client, tidings_view *view, uintptr_t token, uint64_t *id,
		tidings_error **error) {
	return tidings_client_prove_async(client, view, (void *)token, NULL, id, error);
}
*/
import "C"

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"runtime"
	"sync"
	"time"
)

// WatchOption is a setting of a live view.
type WatchOption func(*C.tidings_watch_options) C.tidings_status

// WatchFilter lists only records that match, at most 3,000 characters.
func WatchFilter(expression string) WatchOption {
	return func(options *C.tidings_watch_options) C.tidings_status {
		return with([]string{expression}, func(t []*C.char) C.tidings_status {
			return C.tidings_watch_options_set_filter(options, t[0])
		})
	}
}

// WatchSort is the order: names of fields, separated by commas, "-" before those that fall. The id is appended. Default:
// by id.
func WatchSort(fields string) WatchOption {
	return func(options *C.tidings_watch_options) C.tidings_status {
		return with([]string{fields}, func(t []*C.char) C.tidings_status {
			return C.tidings_watch_options_set_sort(options, t[0])
		})
	}
}

// WatchLimit shows a window: the first rows of the list, at least one.
func WatchLimit(rows uint) WatchOption {
	return func(options *C.tidings_watch_options) C.tidings_status {
		return C.tidings_watch_options_set_limit(options, C.size_t(rows))
	}
}

// WatchExpand puts relations into the rows' "expand", separated by commas. A change of an expanded record is not reported by
// the server.
func WatchExpand(relations string) WatchOption {
	return func(options *C.tidings_watch_options) C.tidings_status {
		return with([]string{relations}, func(t []*C.char) C.tidings_status {
			return C.tidings_watch_options_set_expand(options, t[0])
		})
	}
}

// WatchAudit is how often the view is compared with the server's list, which alone finds records that a rule hides from now
// on: at least a second, by default five minutes. 0: never.
func WatchAudit(interval time.Duration) WatchOption {
	return func(options *C.tidings_watch_options) C.tidings_status {
		return C.tidings_watch_options_set_audit(options, C.uint64_t(max(interval.Milliseconds(), 0)))
	}
}

// WatchFilterOnServer leaves it to the server alone which records match.
func WatchFilterOnServer() WatchOption {
	return func(options *C.tidings_watch_options) C.tidings_status {
		return C.tidings_watch_options_set_filter_on_server(options, true)
	}
}

// View is a live view: a list of records that is kept up to date. Close it when it is no longer used.
type View struct {
	client *Client
	token  uintptr
	// Held for reading by calls into C, and for writing by whoever frees the view.
	alive sync.RWMutex
	ptr   *C.tidings_view
	// Has an element when there may be changes, and is closed by Close.
	changed chan struct{}
	closed  chan struct{}
	// Changes that Watch has taken, until the first reader.
	mu    sync.Mutex
	first *Changes
}

// Watch makes a live view of the collection's records, and waits for the first list, for the server's refusal, or for the
// context, whose end has no effect on the view afterwards.
func (c Collection) Watch(ctx context.Context, settings ...WatchOption) (*View, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	options := C.tidings_watch_options_new()
	defer C.tidings_watch_options_free(options)
	C.tidings_watch_options_set_wait(options, false)
	for _, set := range settings {
		if status := set(options); status != C.TIDINGS_OK {
			return nil, &Error{Code: Code(status), Message: "invalid option of a view"}
		}
	}
	v := &View{client: c.client, changed: make(chan struct{}, 1), closed: make(chan struct{})}
	c.client.mu.Lock()
	c.client.last++
	v.token = c.client.last
	c.client.views[v.token] = v
	c.client.mu.Unlock()
	err := c.client.call(func(ptr *C.tidings_client, text func(string) *C.char, failed **C.tidings_error) {
		C.go_watch(ptr, text(c.name), options, C.uintptr_t(v.token), &v.ptr, failed)
	})
	for err == nil {
		var changes *Changes
		changes, err = v.Next(ctx)
		if changes != nil && changes.Len() > 0 {
			v.first = changes
			return v, nil
		}
		if changes == nil && err == nil {
			err = ErrClosed
		}
	}
	v.Close()
	return nil, err
}

// call makes a call into C that returns at once.
func (v *View) call(call func(ptr *C.tidings_view, failed **C.tidings_error)) error {
	v.alive.RLock()
	defer v.alive.RUnlock()
	if v.ptr == nil {
		return ErrClosed
	}
	var failed *C.tidings_error
	call(v.ptr, &failed)
	if failed != nil {
		return take(failed)
	}
	return nil
}

// Close ends the view. Rows and changes that were taken from it stay. Closing again does nothing.
func (v *View) Close() {
	v.client.mu.Lock()
	delete(v.client.views, v.token)
	v.client.mu.Unlock()
	v.alive.Lock()
	defer v.alive.Unlock()
	if v.ptr != nil {
		C.tidings_view_free(v.ptr)
		v.ptr = nil
		close(v.closed)
	}
}

// Rows are the rows as they are now.
func (v *View) Rows() *Rows {
	var rows *C.tidings_rows
	_ = v.call(func(ptr *C.tidings_view, failed **C.tidings_error) { C.tidings_view_rows(ptr, &rows, failed) })
	r := &Rows{ptr: rows}
	runtime.SetFinalizer(r, func(r *Rows) { C.tidings_rows_free(r.ptr) })
	return r
}

// Freshness is whether the rows are what the server has.
type Freshness int

// Everything but Proven is in doubt, for this reason; or the view has ended.
const (
	Proven           Freshness = C.TIDINGS_FRESHNESS_PROVEN
	LinkDown         Freshness = C.TIDINGS_FRESHNESS_DISCONNECTED
	Comparing        Freshness = C.TIDINGS_FRESHNESS_COMPARING
	IdentityUnproven Freshness = C.TIDINGS_FRESHNESS_IDENTITY
	ListFailed       Freshness = C.TIDINGS_FRESHNESS_LIST_FAILED
	Ended            Freshness = C.TIDINGS_FRESHNESS_ENDED
)

func (f Freshness) String() string {
	return C.GoString(C.tidings_freshness_name(C.tidings_freshness(f)))
}

// Status is whether the rows are what the server has, since when, and the error behind it, if there is one.
func (v *View) Status() (freshness Freshness, since time.Time, why error) {
	freshness, why = Ended, ErrClosed
	_ = v.call(func(ptr *C.tidings_view, _ **C.tidings_error) {
		freshness, why = Freshness(C.tidings_view_freshness(ptr)), nil
		since = time.Now().Add(-time.Duration(C.tidings_view_since_ms(ptr)) * time.Millisecond)
		if failed := C.tidings_view_error(ptr); failed != nil {
			why = take(failed)
		}
	})
	return freshness, since, why
}

// Prove compares the view with the server's list: afterwards the rows show every write that was committed before the call.
// While the link is down it waits, until the context is done.
func (v *View) Prove(ctx context.Context) error {
	_, err := v.client.wait(ctx, func(ptr *C.tidings_client, _ func(string) *C.char, token C.uintptr_t, id *C.uint64_t, failed **C.tidings_error) {
		v.alive.RLock()
		defer v.alive.RUnlock()
		// A view that was closed is NULL, which is refused.
		C.go_prove(ptr, v.ptr, token, id, failed)
	})
	return err
}

// Changes are the batches of changes, until the context is done or the view ends; leaving the loop closes the view. An error is
// the last element: that of the context, or the reason for the end. After Close there is none. The first batch resets the list.
func (v *View) Changes(ctx context.Context) iter.Seq2[*Changes, error] {
	return until(ctx, v.Next, v.Close)
}

// Next is the next batch of changes; nil without an error when the view was closed. A slow reader gets fewer and larger
// batches, and loses none.
func (v *View) Next(ctx context.Context) (*Changes, error) {
	for {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		v.mu.Lock()
		first := v.first
		v.first = nil
		v.mu.Unlock()
		if first != nil {
			return first, nil
		}
		var made *C.tidings_changes
		err := v.call(func(ptr *C.tidings_view, failed **C.tidings_error) {
			C.tidings_view_next(ptr, 0, &made, failed)
		})
		if made != nil {
			changes := &Changes{ptr: made}
			runtime.SetFinalizer(changes, func(c *Changes) { C.tidings_changes_free(c.ptr) })
			return changes, nil
		}
		if err != nil {
			select {
			case <-v.closed:
				return nil, nil
			default:
				return nil, err
			}
		}
		select {
		case <-v.changed:
		case <-v.closed:
			return nil, nil
		case <-ctx.Done():
		case <-v.client.done:
			return nil, ErrClosed
		}
	}
}

// signal is called by the pump.
func (v *View) signal() {
	select {
	case v.changed <- struct{}{}:
	default:
	}
}

// Rows are the records of a view at one moment, in their order.
type Rows struct {
	ptr *C.tidings_rows
	// Whose rows they are.
	of *Changes
}

// Len is their number.
func (r *Rows) Len() int {
	defer runtime.KeepAlive(r)
	return int(C.tidings_rows_len(r.ptr))
}

// ID is the id of a record, "" if there is none.
func (r *Rows) ID(at int) string {
	defer runtime.KeepAlive(r)
	if at < 0 {
		return ""
	}
	return C.GoString(C.tidings_rows_id(r.ptr, C.size_t(at)))
}

// JSON is a record as JSON, nil if there is none.
func (r *Rows) JSON(at int) []byte {
	defer runtime.KeepAlive(r)
	if at < 0 {
		return nil
	}
	var length C.size_t
	return bytes(C.tidings_rows_record(r.ptr, C.size_t(at), &length), length)
}

// Row reads a record.
func Row[T any](r *Rows, at int) (T, error) { return read[T](r.JSON(at)) }

func read[T any](text []byte) (T, error) {
	var record T
	if text == nil {
		return record, &Error{Code: InvalidArgument, Message: "there is no such record"}
	}
	err := json.Unmarshal(text, &record)
	return record, err
}

// bytes copies a text that has a length, and is NULL where there is none.
func bytes(text *C.char, length C.size_t) []byte {
	if text == nil {
		return nil
	}
	return []byte(C.GoStringN(text, C.int(length)))
}

// DeltaKind is what a delta does to the list.
type DeltaKind int

// Done in their order to the rows of the batch before, the deltas of a batch give its rows. An Updated row is taken From its
// place, then put To another, counted without it. ResetList is the only delta of its batch: the list is its rows.
const (
	Inserted  DeltaKind = C.TIDINGS_DELTA_KIND_INSERT
	Updated   DeltaKind = C.TIDINGS_DELTA_KIND_UPDATE
	Removed   DeltaKind = C.TIDINGS_DELTA_KIND_REMOVE
	ResetList DeltaKind = C.TIDINGS_DELTA_KIND_RESET
)

func (k DeltaKind) String() string {
	return C.GoString(C.tidings_delta_kind_name(C.tidings_delta_kind(k)))
}

// RemoveReason is why a row left.
type RemoveReason int

// The reasons: it was deleted, does not match any more, is beyond the limit, or is not listed any more, as was found by comparing.
const (
	WasDeleted RemoveReason = C.TIDINGS_REMOVE_REASON_DELETED
	LeftFilter RemoveReason = C.TIDINGS_REMOVE_REASON_LEFT_FILTER
	Displaced  RemoveReason = C.TIDINGS_REMOVE_REASON_DISPLACED
	Gone       RemoveReason = C.TIDINGS_REMOVE_REASON_GONE
)

func (r RemoveReason) String() string {
	return C.GoString(C.tidings_remove_reason_name(C.tidings_remove_reason(r)))
}

// Delta is one change of the list.
type Delta struct {
	Kind DeltaKind
	// Places; -1 where there is none.
	From, To int
	// Of a removal.
	Why RemoveReason
	// Of the record.
	ID string
	// The record, as it is now, or as it was when it left; and, of an update, what it was before.
	JSON, Old []byte
}

func (d Delta) String() string { return fmt.Sprintf("%s %s", d.Kind, d.ID) }

// Changes are what has happened to a view since the batch before, in one step.
type Changes struct{ ptr *C.tidings_changes }

// Len is the number of deltas; 0 if only the freshness has changed.
func (c *Changes) Len() int {
	defer runtime.KeepAlive(c)
	return int(C.tidings_changes_len(c.ptr))
}

// Deltas are the deltas in their order.
func (c *Changes) Deltas() iter.Seq[Delta] {
	return func(yield func(Delta) bool) {
		for at := range c.Len() {
			if !yield(c.delta(C.size_t(at))) {
				return
			}
		}
	}
}

func (c *Changes) delta(at C.size_t) Delta {
	defer runtime.KeepAlive(c)
	var length, oldLength C.size_t
	record, old := C.tidings_changes_record(c.ptr, at, &length), C.tidings_changes_old(c.ptr, at, &oldLength)
	return Delta{
		Kind: DeltaKind(C.tidings_changes_kind(c.ptr, at)),
		// SIZE_MAX is -1.
		From: int(C.tidings_changes_from(c.ptr, at)), To: int(C.tidings_changes_to(c.ptr, at)),
		Why: RemoveReason(C.tidings_changes_why(c.ptr, at)), ID: C.GoString(C.tidings_changes_id(c.ptr, at)),
		JSON: bytes(record, length), Old: bytes(old, oldLength),
	}
}

// Rows are the rows after these changes.
func (c *Changes) Rows() *Rows {
	defer runtime.KeepAlive(c)
	return &Rows{ptr: C.tidings_changes_rows(c.ptr), of: c}
}

// Freshness is whether the rows are what the server has, after these changes.
func (c *Changes) Freshness() Freshness {
	defer runtime.KeepAlive(c)
	return Freshness(C.tidings_changes_freshness(c.ptr))
}

// Err is the server's answer that has put the view in doubt, or nil.
func (c *Changes) Err() error {
	defer runtime.KeepAlive(c)
	return borrowed(C.tidings_changes_error(c.ptr))
}
