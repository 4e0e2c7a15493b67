package tidings

/*
#include <tidings.h>
*/
import "C"

import (
	"context"
	"iter"
	"sync"
	"time"
	"unsafe"
)

// head is tidings_packed_event; the token is no pointer for Go.
type head struct {
	subscription, call          uint64
	token                       uintptr
	index, action, flags        uint32
	topic, topicLen             uint32
	recordID, recordIDLen       uint32
	record, recordLen           uint32
	data, dataLen, reservedZero uint32
}

// They have the same size, or this does not compile.
var _ = [1]struct{}{}[unsafe.Sizeof(head{})-C.sizeof_tidings_packed_event]

const batchOf = 256

// pump delivers what is in the client's queue, whenever the descriptor is readable, until the client is closed.
func (c *Client) pump() {
	batch := C.tidings_batch_new()
	p := &pumping{client: c, batch: batch, room: make([]uint64, 8192)}
	if raw, err := c.bell.SyscallConn(); err == nil {
		_ = raw.Read(func(uintptr) bool { return p.drain() })
	}
	C.tidings_batch_free(batch)
	c.mu.Lock()
	subscriptions := c.subscriptions
	c.subscriptions = map[uintptr]*Subscription{}
	c.mu.Unlock()
	for _, s := range subscriptions {
		s.end(ErrClosed)
	}
	close(c.done)
}

type pumping struct {
	client *Client
	batch  *C.tidings_batch
	room   []uint64
	// Of the last event: many in a row are for one subscription.
	last *Subscription
}

// drain takes all that is there; Go's poller tells of a change only once. Whether the client is closed.
func (p *pumping) drain() bool {
	for {
		var count, wanted C.size_t
		size := len(p.room) * 8
		status := C.tidings_client_next_packed(p.client.ptr, p.batch, batchOf, 0,
			unsafe.Pointer(&p.room[0]), C.size_t(size), &count, &wanted, nil)
		if status != C.TIDINGS_OK {
			return true
		}
		if wanted == 0 {
			return false
		}
		base := unsafe.Pointer(&p.room[0])
		heads := unsafe.Slice((*head)(base), int(count))
		text := unsafe.Slice((*byte)(base), size)
		for i := range heads {
			p.deliver(&heads[i], text)
		}
		if int(wanted) > size {
			p.room = make([]uint64, wanted/8+1)
		}
	}
}

func (p *pumping) deliver(h *head, text []byte) {
	c := p.client
	switch Action(h.action) {
	case stateChanged:
		p.state(h)
		return
	case disconnected:
		topics := C.tidings_event_topics(p.event(h))
		var names []string
		for i := C.size_t(0); i < C.tidings_strings_len(topics); i++ {
			names = append(names, C.GoString(C.tidings_strings_get(topics, i)))
		}
		c.disconnects.report(names)
		return
	case viewChanged:
		c.mu.Lock()
		v := c.views[h.token]
		c.mu.Unlock()
		if v != nil {
			v.signal()
		}
		return
	case completed:
		c.mu.Lock()
		answered := c.calls[h.token]
		c.mu.Unlock()
		if answered != nil {
			answered <- p.completion(h)
		}
		return
	}
	s := p.last
	if s == nil || s.token != h.token {
		c.mu.Lock()
		s = c.subscriptions[h.token]
		c.mu.Unlock()
		if s == nil {
			return
		}
		p.last = s
	}
	switch Action(h.action) {
	case acknowledged:
		s.acknowledge()
	case ended:
		c.forget(h.token)
		p.last = nil
		s.end(borrowed(C.tidings_event_error(p.event(h))))
	default:
		s.push(h.subscription, p.made(h, text))
	}
}

func (p *pumping) event(h *head) *C.tidings_event {
	return C.tidings_batch_event(p.batch, C.size_t(h.index))
}

// made copies an event out of the buffer, with one allocation for its texts, which are neighbours there.
func (p *pumping) made(h *head, text []byte) *Event {
	first, end := h.topic, h.topic+h.topicLen
	end = max(end, h.recordID+h.recordIDLen, h.record+h.recordLen, h.data+h.dataLen)
	own := string(text[first:end])
	part := func(at, length uint32) string {
		if length == 0 {
			return ""
		}
		return own[at-first : at-first+length]
	}
	e := &Event{
		Action: Action(h.action), Topic: part(h.topic, h.topicLen), ID: part(h.recordID, h.recordIDLen),
		record: part(h.record, h.recordLen), data: part(h.data, h.dataLen),
	}
	if h.flags&1 != 0 {
		event := p.event(h)
		e.Lost = uint64(C.tidings_event_lagged(event))
		e.Err = borrowed(C.tidings_event_error(event))
		if e.Action == Gap {
			e.Missed = missed(event)
		}
	}
	return e
}

func missed(event *C.tidings_event) *Missed {
	moment := func(ms C.int64_t) (at time.Time) {
		if ms >= 0 {
			at = time.UnixMilli(int64(ms))
		}
		return at
	}
	return &Missed{
		Reason: C.GoString(C.tidings_gap_reason_name(C.tidings_event_gap_reason(event))),
		Since:  moment(C.tidings_event_gap_since_ms(event)), Until: moment(C.tidings_event_gap_until_ms(event)),
		For: time.Duration(max(C.tidings_event_gap_duration_ms(event), 0)) * time.Millisecond,
	}
}

func (p *pumping) completion(h *head) completion {
	event := p.event(h)
	if err := borrowed(C.tidings_event_error(event)); err != nil {
		return completion{err: err}
	}
	done := completion{record: C.GoString(C.tidings_event_record(event))}
	if response := C.tidings_event_response(event); response != nil {
		var length C.size_t
		body := C.tidings_response_body(response, &length)
		done.response = &Response{int(C.tidings_response_status(response)), C.GoBytes(unsafe.Pointer(body), C.int(length))}
	}
	return done
}

func (p *pumping) state(h *head) {
	info := C.tidings_event_state(p.event(h))
	state := State{
		Name: C.GoString(C.tidings_state_name(C.tidings_state_info_state(info))),
		Text: C.GoString(C.tidings_state_info_text(info)),
		Err:  borrowed(C.tidings_state_info_error(info)),
	}
	p.client.states.report(state)
	if p.client.logger != nil {
		p.client.logger.Info("tidings: "+state.Text, "state", state.Name)
	}
}

// State is the state of the connection.
type State struct {
	// "idle", "connecting", "live", "waiting", "suspended" or "closed"
	Name string
	// The state in words.
	Text string
	// Why, if something failed.
	Err error
}

// States are the changes of the connection, until the context is done or the client is closed. Who is slow sees the
// last 64.
func (c *Client) States(ctx context.Context) iter.Seq[State] { return c.states.until(ctx, c.done) }

// Disconnects are the topics that are still subscribed, each time when an open stream is gone: none if the client ended
// it itself.
func (c *Client) Disconnects(ctx context.Context) iter.Seq[[]string] {
	return c.disconnects.until(ctx, c.done)
}

type watchers[T any] struct {
	mu    sync.Mutex
	chans map[chan T]struct{}
}

func (w *watchers[T]) report(value T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.chans {
		select {
		case c <- value:
		default:
			// The oldest makes room.
			select {
			case <-c:
			default:
			}
			c <- value
		}
	}
}

func (w *watchers[T]) until(ctx context.Context, done chan struct{}) iter.Seq[T] {
	// From here on, not from when the loop begins.
	c := make(chan T, 64)
	w.mu.Lock()
	if w.chans == nil {
		w.chans = map[chan T]struct{}{}
	}
	w.chans[c] = struct{}{}
	w.mu.Unlock()
	return func(yield func(T) bool) {
		defer func() {
			w.mu.Lock()
			delete(w.chans, c)
			w.mu.Unlock()
		}()
		for {
			select {
			case value := <-c:
				if !yield(value) {
					return
				}
			case <-ctx.Done():
				return
			case <-done:
				return
			}
		}
	}
}
