package tidings

/*
#include <stdlib.h>
#include <tidings.h>

static tidings_status go_subscribe(tidings_client *client, const char *collection, const char *topic,
		const tidings_subscribe_options *options, uintptr_t token, uint64_t *id, tidings_error **error) {
	return tidings_client_subscribe_async(client, collection, topic, options, (void *)token, NULL, id, error);
}
*/
import "C"

import (
	"context"
	"iter"
	"sync"
	"unsafe"
)

// How many events wait in Go for a consumer; more wait in the queue of the library, under its overflow policy.
const (
	pauseAt  = 256
	resumeAt = 64
)

// SubscribeOption is a setting of a subscription.
type SubscribeOption func(*C.tidings_subscribe_options) C.tidings_status

func with(texts []string, set func([]*C.char) C.tidings_status) C.tidings_status {
	made := make([]*C.char, len(texts))
	for i, text := range texts {
		made[i] = C.CString(text)
		defer C.free(unsafe.Pointer(made[i]))
	}
	return set(made)
}

// Filter delivers only changes of records that match.
func Filter(expression string) SubscribeOption {
	return func(options *C.tidings_subscribe_options) C.tidings_status {
		return with([]string{expression}, func(t []*C.char) C.tidings_status {
			return C.tidings_subscribe_options_set_filter(options, t[0])
		})
	}
}

// Expand puts relations into the record's "expand", separated by commas.
func Expand(relations string) SubscribeOption {
	return func(options *C.tidings_subscribe_options) C.tidings_status {
		return with([]string{relations}, func(t []*C.char) C.tidings_status {
			return C.tidings_subscribe_options_set_expand(options, t[0])
		})
	}
}

// Query adds any other query parameter.
func Query(name, value string) SubscribeOption {
	return func(options *C.tidings_subscribe_options) C.tidings_status {
		return with([]string{name, value}, func(t []*C.char) C.tidings_status {
			return C.tidings_subscribe_options_add_query(options, t[0], t[1])
		})
	}
}

// Header adds a header for this topic.
func Header(name, value string) SubscribeOption {
	return func(options *C.tidings_subscribe_options) C.tidings_status {
		return with([]string{name, value}, func(t []*C.char) C.tidings_status {
			return C.tidings_subscribe_options_add_header(options, t[0], t[1])
		})
	}
}

// Queue sets how many events may wait for a slow consumer; beyond that the oldest are dropped, and a Lagged event says
// how many.
func Queue(events int) SubscribeOption {
	return func(options *C.tidings_subscribe_options) C.tidings_status {
		return C.tidings_subscribe_options_set_queue(options, C.size_t(events), C.TIDINGS_OVERFLOW_DROP_OLDEST)
	}
}

// Subscription is one listener of one topic.
type Subscription struct {
	client *Client
	token  uintptr
	id     uint64
	// Closed by the server's answer, which is in err if it is a refusal.
	ready chan struct{}

	mu sync.Mutex
	// What is taken next, from front[at:], and what has come since that was filled.
	front, queue []*Event
	at           int
	// Readers that wait, each of which wakes the next one.
	sleepers int
	paused   bool
	answered bool
	ended    bool
	err      error
	// Has an element when the queue has changed.
	changed chan struct{}
}

func (c *Client) subscribe(ctx context.Context, collection *string, topic string, settings []SubscribeOption) (*Subscription, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	options := C.tidings_subscribe_options_new()
	defer C.tidings_subscribe_options_free(options)
	for _, set := range settings {
		if status := set(options); status != C.TIDINGS_OK {
			return nil, &Error{Code: Code(status), Message: "invalid option of a subscription"}
		}
	}
	s := &Subscription{client: c, ready: make(chan struct{}), changed: make(chan struct{}, 1)}
	c.mu.Lock()
	c.last++
	s.token = c.last
	c.subscriptions[s.token] = s
	c.mu.Unlock()
	var id C.uint64_t
	err := c.call(func(ptr *C.tidings_client, text func(string) *C.char, failed **C.tidings_error) {
		var name *C.char
		if collection != nil {
			name = text(*collection)
		}
		C.go_subscribe(ptr, name, text(topic), options, C.uintptr_t(s.token), &id, failed)
	})
	if err != nil {
		c.forget(s.token)
		return nil, err
	}
	s.mu.Lock()
	s.id = uint64(id)
	s.mu.Unlock()
	select {
	case <-s.ready:
		if err := s.reason(); err != nil {
			return nil, err
		}
		return s, nil
	case <-ctx.Done():
		s.Unsubscribe()
		return nil, context.Cause(ctx)
	case <-c.done:
		return nil, ErrClosed
	}
}

func (c *Client) forget(token uintptr) {
	c.mu.Lock()
	delete(c.subscriptions, token)
	c.mu.Unlock()
}

func (s *Subscription) reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Unsubscribe ends the subscription. Doing so again does nothing.
func (s *Subscription) Unsubscribe() {
	s.mu.Lock()
	id := s.id
	s.mu.Unlock()
	_ = s.client.call(func(ptr *C.tidings_client, _ func(string) *C.char, failed **C.tidings_error) {
		C.tidings_client_unsubscribe(ptr, C.uint64_t(id), failed)
	})
}

// Events are the events, until the context is done or the subscription ends; leaving the loop, or the context,
// unsubscribes. An error is the last element: that of the context, or the reason for the end. After Unsubscribe there
// is none.
func (s *Subscription) Events(ctx context.Context) iter.Seq2[*Event, error] {
	return until(ctx, s.Next, s.Unsubscribe)
}

// until is what next gives, until that is nil or an error, which is the last element. Leaving the loop ends it.
func until[T any](ctx context.Context, next func(context.Context) (*T, error), end func()) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		defer end()
		for {
			one, err := next(ctx)
			if one == nil && err == nil {
				return
			}
			if !yield(one, err) || err != nil {
				return
			}
		}
	}
}

// Next is the next event; nil without an error when the subscription was unsubscribed.
func (s *Subscription) Next(ctx context.Context) (*Event, error) {
	for {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		s.mu.Lock()
		if s.at == len(s.front) {
			s.front, s.queue, s.at = s.queue, s.front[:0], 0
		}
		if s.at < len(s.front) {
			event := s.front[s.at]
			s.front[s.at] = nil
			s.at++
			if s.paused && s.waiting() <= resumeAt {
				s.pause(false)
			}
			wakes := s.sleepers > 0 && s.waiting() > 0
			s.mu.Unlock()
			if wakes {
				s.signal()
			}
			return event, nil
		}
		ended, err := s.ended, s.err
		if !ended {
			s.sleepers++
		}
		s.mu.Unlock()
		if ended {
			s.signal()
			return nil, err
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
		case <-s.client.done:
			s.end(ErrClosed)
		}
		s.mu.Lock()
		s.sleepers--
		s.mu.Unlock()
	}
}

func (s *Subscription) waiting() int { return len(s.front) - s.at + len(s.queue) }

// pause tells the library, with the lock held, so that it is told in order.
func (s *Subscription) pause(paused bool) {
	s.paused = paused
	id := s.id
	_ = s.client.call(func(ptr *C.tidings_client, _ func(string) *C.char, failed **C.tidings_error) {
		C.tidings_client_pause(ptr, C.uint64_t(id), C.bool(paused), failed)
	})
}

// push is called by the pump.
func (s *Subscription) push(id uint64, event *Event) {
	s.mu.Lock()
	s.id = id
	s.queue = append(s.queue, event)
	if s.waiting() >= pauseAt && !s.paused {
		s.pause(true)
	}
	wakes := s.sleepers > 0
	s.mu.Unlock()
	if wakes {
		s.signal()
	}
}

func (s *Subscription) acknowledge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.answered {
		s.answered = true
		close(s.ready)
	}
}

// end is for a subscription of which nothing more comes.
func (s *Subscription) end(why error) {
	s.mu.Lock()
	if !s.ended {
		s.ended, s.err = true, why
	}
	s.mu.Unlock()
	s.acknowledge()
	s.signal()
}

func (s *Subscription) signal() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func on(ctx context.Context, handler func(*Event)) func(*Subscription, error) error {
	return func(s *Subscription, err error) error {
		if err != nil {
			return err
		}
		go func() {
			for event, err := range s.Events(ctx) {
				if err != nil {
					return
				}
				handler(event)
			}
		}()
		return nil
	}
}
